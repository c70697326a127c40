"""Nodes that do not exist, reported with the messages that real ones use.

Every report says `simulated`, and every GPU's id starts with `SIM-`. What such a GPU does is
made up as a `GpuSample`, so that all that follows is the code of real ones.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import sin

from msgspec import structs

from agents.node import report
from agents.node.samples import Fault, Gpm, Gpu, GpuSample, NodeView, Process, Readings
from scheduler.wire.reports import NodeReport, SamplerState

_SPEC = re.compile(r"(?P<count>[0-9]{1,3})x(?P<model>[A-Za-z0-9][A-Za-z0-9._-]{0,39})")
_MOST = 64


@dataclass(frozen=True, slots=True)
class SimulatedGpus:
    """What each simulated node has."""

    count: int
    model: str


def parse(text: str) -> SimulatedGpus:
    """Read `<n>x<model>`, e.g. `8xH100`.

    Raises:
        ValueError: it is something else, or not 1 to 64 GPUs.
    """
    found = _SPEC.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not <number>x<model>, such as 8xH100")
    count = int(found["count"])
    if not 1 <= count <= _MOST:
        raise ValueError(f"{text!r}: a node has 1 to {_MOST} GPUs")
    return SimulatedGpus(count, found["model"])


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """A node of a pool, as it reports itself."""

    name: str
    pool: str
    gpus: SimulatedGpus
    boot_id: str
    block: str = ""
    started_at: datetime | None = None
    exporter: str = ""

    def gpus_of(self) -> tuple[Gpu, ...]:
        """Return its GPUs."""
        return tuple(
            Gpu(f"SIM-{self.name}-{i}", i, self.gpus.model) for i in range(self.gpus.count)
        )

    def report(self, sequence: int, now: datetime, known: report.Known | None = None) -> NodeReport:
        """Return how the node is now: without `known`, always well and never measured."""
        gpus = self.gpus_of()
        bare = NodeView(SamplerState.OK, gpus=gpus, samples={g.uuid: GpuSample(g) for g in gpus})
        told = report.Told(self.name, self.pool, self.block, self.gpus.model, self.exporter)
        process = report.Process(self.boot_id, self.started_at or now, now)
        made = report.report(told, known or report.Known(bare), process, sequence)
        if made is None:
            raise ValueError(f"simulated node {self.name} has no GPUs")
        return structs.replace(made, simulated=True, started_at=self.started_at)


@dataclass(frozen=True, slots=True)
class Load:
    """What a simulated GPU does: the processes on it, by pid, with how many cores each is busy."""

    cores: Mapping[int, float] = field(default_factory=dict)
    fault: Fault | None = None


# What an H100 SXM5 shows at rest, with an idle context, and at work (notes §2.4).
_REST_WATTS, _CONTEXT_WATTS, _BUSY_WATTS = 70.0, 115.0, 640.0
_ROOM_CELSIUS, _CELSIUS_PER_WATT = 26.0, 0.06
_MEMORY_MIB, _CONTEXT_MIB = 81_559, 620
_REST_MHZ, _BUSY_MHZ = 345, 1980
_MIB = 1024 * 1024
_ENOUGH_CORES = 0.5
"""A program that keeps so much of a core busy has its GPUs as busy as they get."""


def sample(gpu: Gpu, load: Load, moment: float, idle_cores: float) -> GpuSample:
    """Make a look at a simulated GPU up; it wavers with the `moment`, in seconds, and never jumps.

    Below `idle_cores` a run is taken to do nothing.
    """
    if load.fault is not None:
        return GpuSample(gpu, load.fault)
    wave = 0.08 * sin(moment / 7 + gpu.index * 1.3)
    each = {pid: _busy(cores, wave, idle_cores) for pid, cores in load.cores.items()}
    busy = max(each.values(), default=0.0)
    rest = _CONTEXT_WATTS if each else _REST_WATTS
    watts = rest + (_BUSY_WATTS - rest) * busy + 2 * sin(moment / 3 + gpu.index)
    used = {pid: _memory_mib(gpu, part) for pid, part in each.items()}
    return GpuSample(
        gpu,
        readings=_readings(busy, watts, min(_MEMORY_MIB, sum(used.values()))),
        gpm=_activity(busy),
        processes=tuple(
            Process(pid, used[pid] * _MIB, sm_active=part) for pid, part in each.items()
        ),
    )


def _busy(cores: float, wave: float, idle_cores: float) -> float:
    if cores < idle_cores:
        return 0.0
    return min(0.98, 0.35 + 0.5 * min(1.0, cores / _ENOUGH_CORES) + wave)


def _memory_mib(gpu: Gpu, busy: float) -> int:
    return _CONTEXT_MIB + (int(_MEMORY_MIB * (0.55 + 0.03 * gpu.index / 8)) if busy else 0)


def _readings(busy: float, watts: float, used_mib: int) -> Readings:
    return Readings(
        # As NVML has it: how much of the time anything at all ran, however small.
        utilisation_percent=100 if busy else 0,
        memory_total_bytes=_MEMORY_MIB * _MIB,
        memory_used_bytes=used_mib * _MIB,
        memory_free_bytes=(_MEMORY_MIB - used_mib) * _MIB,
        sm_clock_mhz=_BUSY_MHZ if busy else _REST_MHZ,
        power_milliwatts=round(watts * 1000),
        temperature_celsius=round(_ROOM_CELSIUS + _CELSIUS_PER_WATT * watts),
        remap_pending=0,
        remap_failed=0,
    )


def _activity(busy: float) -> Gpm:
    return Gpm(
        graphics=min(1.0, busy * 1.05),
        sm_active=busy,
        sm_occupancy=busy * 0.45,
        tensor=busy * 0.55,
        dram=busy * 0.5,
    )


def xids_of(counted: Mapping[str, int], gpus: tuple[Gpu, ...]) -> dict[tuple[str, int], int]:
    """Return what was counted by `GPU:XID` as a view has it: by UUID and XID."""
    uuids = {str(gpu.index): gpu.uuid for gpu in gpus}
    found = {}
    for key, count in counted.items():
        index, _, xid = key.partition(":")
        if index in uuids and xid.isdecimal() and count > 0:
            found[uuids[index], int(xid)] = count
    return found
