"""Counters over the time between two reports: the last value, the mean and the most.

A counter that a sample lacks is not in its window; one that no sample had has no window.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter

from agents.node.samples import GpuSample, Statistic

_OF_READINGS = (
    "utilisation_percent",
    "memory_used_bytes",
    "power_milliwatts",
    "temperature_celsius",
    "sm_clock_mhz",
)
_OF_MONITORS = (
    "graphics",
    "sm_active",
    "sm_occupancy",
    "tensor",
    "dram",
    "pcie_tx",
    "pcie_rx",
    "nvlink_tx",
    "nvlink_rx",
)
COUNTERS = (*_OF_READINGS, *_OF_MONITORS)
"""What is kept in windows."""
_readings = attrgetter(*_OF_READINGS)
_monitors = attrgetter(*_OF_MONITORS)
_MOST_KEPT = 64
"""Samples are added up when a window is taken, and before that when there are so many."""

_Values = tuple[float | None, ...]


class Windows:
    """The windows of a machine's GPUs; for one thread at a time."""

    def __init__(self) -> None:
        self._kept: dict[str, list[_Values]] = {}
        self._folded: Mapping[str, Mapping[str, Statistic]] = {}

    def add(self, sample: GpuSample) -> None:
        """Take a sample into its GPU's windows."""
        kept = self._kept.setdefault(sample.gpu.uuid, [])
        kept.append(_readings(sample.readings) + _monitors(sample.gpm))
        if len(kept) >= _MOST_KEPT:
            self._folded, self._kept = self._all(), {}

    def take(self) -> Mapping[str, Mapping[str, Statistic]]:
        """Return the windows by UUID and counter, and begin new ones."""
        taken = self._all()
        self._folded, self._kept = {}, {}
        return taken

    def _all(self) -> Mapping[str, Mapping[str, Statistic]]:
        lately = {uuid: _added_up(kept) for uuid, kept in self._kept.items()}
        return merged(self._folded, lately)


def _added_up(kept: Sequence[_Values]) -> Mapping[str, Statistic]:
    found = {}
    for name, column in zip(COUNTERS, zip(*kept, strict=True), strict=True):
        values = [value for value in column if value is not None]
        if values:
            count = len(values)
            found[name] = Statistic(values[-1], sum(values) / count, max(values), count)
    return found


def merged(
    earlier: Mapping[str, Mapping[str, Statistic]], later: Mapping[str, Mapping[str, Statistic]]
) -> Mapping[str, Mapping[str, Statistic]]:
    """Return the windows over two times that follow one another."""
    if not earlier:  # As after each report that was taken.
        return later
    return {
        uuid: {
            name: _joined(earlier.get(uuid, {}).get(name), later.get(uuid, {}).get(name))
            for name in {**earlier.get(uuid, {}), **later.get(uuid, {})}
        }
        for uuid in {**earlier, **later}
    }


def _joined(one: Statistic | None, two: Statistic | None) -> Statistic:
    known = [statistic for statistic in (one, two) if statistic is not None]
    samples = sum(statistic.samples for statistic in known)
    return Statistic(
        last=known[-1].last,
        mean=sum(statistic.mean * statistic.samples for statistic in known) / samples,
        most=max(statistic.most for statistic in known),
        samples=samples,
    )
