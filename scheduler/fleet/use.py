"""How busy each GPU was, in flat arrays: one number per GPU and field, whatever was reported.

Reports are added up here and dropped, so memory depends on the number of GPUs and not on
how long they have been reporting (notes/nvml_prometheus.md §4.2). A field that was not
measured adds nothing: missing is never 0.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan

from scheduler.wire.reports import GpuUse, NodeReport

# A GPU does nothing for anybody while it is at or below all of these (R18; notes §2.4): an H100
# rests at 70 W, with an idle context at 110 to 130 W, and a context has some hundred MiB.
IDLE_SM, IDLE_WATTS, IDLE_MIB = 0.01, 160.0, 2048.0
_NOTHING = float("nan")


@dataclass(frozen=True, slots=True)
class GpuRollup:
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
        self._reports = array("I")
        self._sm_sum, self._sm_count, self._sm_most = array("d"), array("I"), array("f")
        self._watts_sum, self._watts_count = array("d"), array("I")
        self._memory_most = array("f")
        # The instant from which every report said idle; NaN while one did not, or said nothing.
        self._idle_since = array("d")
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
        self._idle_since.extend([_NOTHING] * count)
        return base

    def leave(self, base: int, count: int) -> None:
        """Give a node's places back."""
        self._clear(base, count)
        for place in range(base, base + count):
            self._idle_since[place] = _NOTHING
        self._free.setdefault(count, []).append(base)

    def interrupt(self, base: int, count: int) -> None:
        """Begin a node's idleness anew: a part of what it did was not told here."""
        for place in range(base, base + count):
            self._idle_since[place] = _NOTHING

    def add(self, report: NodeReport, base: int, count: int, now: float) -> None:
        """Count a report. What it says of a GPU that its node does not have is left out."""
        reports, sm_sum, sm_count = self._reports, self._sm_sum, self._sm_count
        for use in report.use:
            if use.index >= count:
                continue
            place = base + use.index
            reports[place] += 1
            if (sm := use.sm_active) is not None:
                sm_sum[place] += sm.mean
                sm_count[place] += 1
                self._sm_most[place] = max(self._sm_most[place], sm.most)
            if not _is_idle(use):
                self._idle_since[place] = _NOTHING
            elif isnan(self._idle_since[place]):
                self._idle_since[place] = now
            self._add_rest(place, use)

    def _add_rest(self, place: int, use: GpuUse) -> None:
        memory, watts = use.memory_mib, use.power_watts
        if memory is not None and memory.most > self._memory_most[place]:
            self._memory_most[place] = memory.most
        if watts is not None:
            self._watts_sum[place] += watts.mean
            self._watts_count[place] += 1

    def idle_since(self, base: int, gpu: int) -> float | None:
        """Return since when every report of a GPU has said that it does nothing."""
        since = self._idle_since[base + gpu]
        return None if isnan(since) else since

    def rolled_up(self, node: str, base: int, count: int, seconds: float) -> Iterator[GpuRollup]:
        """Return what a node's GPUs did since the last time, and begin anew."""
        for gpu in range(count):
            place = base + gpu
            if self._reports[place]:
                sm, watts = self._sm_count[place], self._watts_count[place]
                yield GpuRollup(
                    node=node,
                    gpu=gpu,
                    seconds=seconds,
                    reports=self._reports[place],
                    sm_mean=self._sm_sum[place] / sm if sm else _NOTHING,
                    sm_most=self._sm_most[place] if sm else _NOTHING,
                    memory_most_mib=self._memory_most[place],
                    watts_mean=self._watts_sum[place] / watts if watts else _NOTHING,
                )
        self._clear(base, count)

    def _clear(self, base: int, count: int) -> None:
        for place in range(base, base + count):
            self._reports[place] = self._sm_count[place] = self._watts_count[place] = 0
            self._sm_sum[place] = self._watts_sum[place] = 0.0
            self._sm_most[place] = self._memory_most[place] = 0.0


def _is_idle(use: GpuUse) -> bool:
    """Return whether a GPU did nothing all the time; what was not measured is not idle."""
    sm, memory, watts = use.sm_active, use.memory_mib, use.power_watts
    if sm is None or sm.most > IDLE_SM or memory is None or watts is None:
        return False
    return memory.most <= IDLE_MIB and watts.most <= IDLE_WATTS
