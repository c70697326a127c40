"""How busy each GPU was, in flat arrays: one number per GPU and field, whatever was reported.

Reports are added up here and dropped, so memory depends on the number of GPUs and not on
how long they have been reporting (notes/nvml_prometheus.md §4.2). A field that was not
measured adds nothing: missing is never 0.
"""

from array import array

from msgspec import Struct

from scheduler.fleet.latest import FIELDS
from scheduler.wire.reports import SaidReport

# A GPU does nothing for anybody while it is at or below all of these (R18; notes §2.4): an H100
# rests at 70 W, with an idle context at 110 to 130 W, and a context has some hundred MiB.
IDLE_SM, IDLE_WATTS, IDLE_MIB = 0.01, 160.0, 2048.0
_NOTHING = float("nan")


class GpuRollup(Struct, frozen=True, gc=False):
    """A GPU over one stretch of time, by the reports that had each field; NaN where none had.

    `seconds` is how long that stretch was, without what was told to other processes.
    """

    node: str
    gpu: int
    seconds: float
    reports: int
    sm_mean: float
    sm_most: float
    memory_most_mib: float
    watts_mean: float


class UseMemory:
    """What is known of each GPU's use. A node's GPUs have places from `base` on, by index."""

    def __init__(self) -> None:
        # Counts are small, and small ints are there already: lists are the quicker for them.
        self._reports: list[int] = []
        self._sm_count: list[int] = []
        self._watts_count: list[int] = []
        self._sm_sum, self._sm_most = array("d"), array("f")
        self._watts_sum, self._memory_most = array("d"), array("f")
        # The instant from which every report said idle; None while one did not, or said nothing.
        self._idle_since: list[float | None] = []
        self._free: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._reports)

    def places(self, count: int) -> int:
        """Return the first of `count` places in a row, of a node that left or new ones."""
        if left := self._free.get(count):
            return left.pop()
        base = len(self._reports)
        for whole in (self._reports, self._sm_count, self._watts_count):
            whole.extend([0] * count)
        for real in (self._sm_sum, self._watts_sum, self._sm_most, self._memory_most):
            real.extend([0.0] * count)
        self._idle_since.extend([None] * count)
        return base

    def leave(self, base: int, count: int) -> None:
        """Give a node's places back."""
        self._clear(base, count)
        for place in range(base, base + count):
            self._idle_since[place] = None
        self._free.setdefault(count, []).append(base)

    def interrupt(self, base: int, count: int) -> None:
        """Begin a node's idleness anew: a part of what it did was not told here."""
        for place in range(base, base + count):
            self._idle_since[place] = None

    def add(  # noqa: C901, PLR0912, PLR0915  # 23,000 times a second: calls would double it
        self, report: SaidReport, base: int, last: list[float], now: float
    ) -> bool:
        """Count a report, and fill in what it says last of each GPU, as `Latest` has it.

        What it says of a GPU that its node does not have is left out. Return whether it tells
        of any GPU whose use it was.
        """
        reports, idle_since, count = self._reports, self._idle_since, len(last) // FIELDS
        sm_sum, sm_count, sm_most = self._sm_sum, self._sm_count, self._sm_most
        watts_sum, watts_count = self._watts_sum, self._watts_count
        memory_most, tells_runs = self._memory_most, False
        for use in report.use:
            if use.index >= count:
                continue
            place, at = base + use.index, FIELDS * use.index
            reports[place] += 1
            sm, memory, watts = use.sm_active, use.memory_mib, use.power_watts
            # What was not measured is not idle.
            idle = sm is not None and memory is not None and watts is not None
            if sm is not None:
                last[at], most = sm.last, sm.most
                sm_sum[place] += sm.mean
                sm_count[place] += 1
                if most > sm_most[place]:  # noqa: PLR1730  # a call costs more
                    sm_most[place] = most
                if most > IDLE_SM:
                    idle = False
            if (tensor := use.tensor_active) is not None:
                last[at + 1] = tensor.last
            if memory is not None:
                last[at + 2], most = memory.last, memory.most
                if most > memory_most[place]:  # noqa: PLR1730  # likewise
                    memory_most[place] = most
                if most > IDLE_MIB:
                    idle = False
            if watts is not None:
                last[at + 3] = watts.last
                watts_sum[place] += watts.mean
                watts_count[place] += 1
                if watts.most > IDLE_WATTS:
                    idle = False
            if (heat := use.temperature_celsius) is not None:
                last[at + 4] = heat.last
            if not idle:
                idle_since[place] = None
            elif idle_since[place] is None:
                idle_since[place] = now
            if use.runs:
                tells_runs = True
        return tells_runs

    def idle_since(self, base: int, gpu: int) -> float | None:
        """Return since when every report of a GPU has said that it does nothing."""
        return self._idle_since[base + gpu]

    def rolled_up(self, node: str, base: int, count: int, seconds: float) -> list[GpuRollup]:
        """Return what a node's GPUs did since the last time, and begin anew."""
        rows = []
        for place in range(base, base + count):
            if reports := self._reports[place]:
                sm, watts = self._sm_count[place], self._watts_count[place]
                rows.append(
                    GpuRollup(
                        node,
                        place - base,
                        seconds,
                        reports,
                        sm_mean=self._sm_sum[place] / sm if sm else _NOTHING,
                        sm_most=self._sm_most[place] if sm else _NOTHING,
                        memory_most_mib=self._memory_most[place],
                        watts_mean=self._watts_sum[place] / watts if watts else _NOTHING,
                    )
                )
        if rows:
            self._clear(base, count)
        return rows

    def _clear(self, base: int, count: int) -> None:
        end, zeros = base + count, [0] * count
        for whole in (self._reports, self._sm_count, self._watts_count):
            whole[base:end] = zeros
        for real in (self._sm_sum, self._watts_sum, self._sm_most, self._memory_most):
            real[base:end] = array(real.typecode, zeros)
