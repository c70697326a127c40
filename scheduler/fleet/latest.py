"""What each GPU's last report said, for whoever looks at the fleet now.

Flat like `use.py`, and at the same places: five small floats a GPU, so 352,000 GPUs take
7 MiB and a page of them no SQL. What a report does not say is absent here too: an agent
that has gone blind must not leave its last values standing.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from scheduler.wire.reports import ForeignUse, GpuReport, NodeReport, SamplerState

_NOTHING = float("nan")
FIELDS = 5
"""Of a GPU, in the order of `GpuNow`."""


@dataclass(frozen=True, slots=True)
class GpuNow:
    """A GPU as its last report had it; None: it was not said. Activities are of 0 to 1."""

    sm_active: float | None = None
    tensor_active: float | None = None
    memory_mib: float | None = None
    power_watts: float | None = None
    temperature_celsius: float | None = None


@dataclass(frozen=True, slots=True)
class Ailment:
    """Why a GPU is not well, as its node says."""

    gpu: int
    why: str


@dataclass(frozen=True, slots=True)
class Said:
    """What a node says that seldom changes, beside what the database keeps of it."""

    sampler: SamplerState = SamplerState.OK
    ailments: tuple[Ailment, ...] = ()
    foreign: tuple[ForeignUse, ...] = ()
    memory_mib: tuple[int | None, ...] = ()
    """What each GPU has, by index; empty where all are alike unknown."""
    tells_runs: bool = False


def said(report: NodeReport) -> Said:
    """Return the part of a report that is kept until it says something new."""
    sizes = {gpu.index: gpu.memory_mib for gpu in report.gpus}
    known = any(size is not None for size in sizes.values())
    return Said(
        report.sampler,
        tuple(Ailment(gpu.index, _why(gpu)) for gpu in report.gpus if not gpu.healthy),
        report.foreign,
        tuple(sizes.get(index) for index in range(1 + max(sizes))) if known else (),
        report.tells_runs,
    )


def _why(gpu: GpuReport) -> str:
    return gpu.why_unhealthy or "its node says that it is not well, and not why"


class Latest:
    """The last values of each GPU, at the places that `UseMemory` gives its node."""

    def __init__(self) -> None:
        self._values = array("f")

    def leave(self, base: int, count: int) -> None:
        """Forget a node's GPUs."""
        self.put(base, [_NOTHING] * (FIELDS * count))

    def of(self, base: int, gpu: int) -> GpuNow:
        """Return a GPU's last values."""
        at = FIELDS * (base + gpu)
        found = self._values[at : at + FIELDS]
        return GpuNow(*(None if isnan(value) else round(value, 4) for value in found))

    def put(self, base: int, values: Sequence[float]) -> None:
        """Take in what the last report of a node said, NaN where it said nothing."""
        first = FIELDS * base
        missing = first + len(values) - len(self._values)
        if missing > 0:
            self._values.extend([_NOTHING] * missing)
        self._values[first : first + len(values)] = array("f", values)
