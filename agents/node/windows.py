"""Counters over the time between two reports: the last value, the mean and the most.

A counter that a sample lacks is not in its window; one that no sample had has no window.
"""

from collections.abc import Mapping
from operator import attrgetter

from agents.node.samples import GpuSample, Statistic

COUNTERS: Mapping[str, str] = {
    "utilisation_percent": "readings.utilisation_percent",
    "memory_used_bytes": "readings.memory_used_bytes",
    "power_milliwatts": "readings.power_milliwatts",
    "temperature_celsius": "readings.temperature_celsius",
    "sm_clock_mhz": "readings.sm_clock_mhz",
    "graphics": "gpm.graphics",
    "sm_active": "gpm.sm_active",
    "sm_occupancy": "gpm.sm_occupancy",
    "tensor": "gpm.tensor",
    "dram": "gpm.dram",
    "pcie_tx": "gpm.pcie_tx",
    "pcie_rx": "gpm.pcie_rx",
    "nvlink_tx": "gpm.nvlink_tx",
    "nvlink_rx": "gpm.nvlink_rx",
}
"""What is kept in windows, and where a sample has it."""
_values = attrgetter(*COUNTERS.values())


class Windows:
    """The windows of a machine's GPUs; for one thread at a time."""

    def __init__(self) -> None:
        self._sums: dict[str, list[list[float] | None]] = {}

    def add(self, sample: GpuSample) -> None:
        """Take a sample into its GPU's windows."""
        sums = self._sums.get(sample.gpu.uuid)
        if sums is None:
            sums = self._sums[sample.gpu.uuid] = [None] * len(COUNTERS)
        for place, value in enumerate(_values(sample)):
            if value is None:
                continue
            window = sums[place]
            if window is None:
                sums[place] = [value, value, value, 1]
                continue
            window[0] = value
            window[1] += value
            window[2] = max(window[2], value)
            window[3] += 1

    def take(self) -> Mapping[str, Mapping[str, Statistic]]:
        """Return the windows by UUID and counter, and begin new ones."""
        sums, self._sums = self._sums, {}
        return {
            uuid: {
                name: Statistic(window[0], window[1] / window[3], window[2], int(window[3]))
                for name, window in zip(COUNTERS, counters, strict=True)
                if window is not None
            }
            for uuid, counters in sums.items()
        }


def merged(
    earlier: Mapping[str, Mapping[str, Statistic]], later: Mapping[str, Mapping[str, Statistic]]
) -> Mapping[str, Mapping[str, Statistic]]:
    """Return the windows over two times that follow one another."""
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
