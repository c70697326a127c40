"""What is known of a GPU at an instant, as values. `None` means: the driver does not say.

A counter that a driver does not support is absent and never 0, because 0 says «idle» or
«no errors», on which decisions rest. What is made anew each second for each GPU is a named
tuple: a frozen dataclass of twenty fields takes ten times as long to make, one of seven twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from scheduler.wire.reports import SamplerState


class Fault(StrEnum):
    """Why nothing can be read from a GPU that this machine has."""

    LOST = "lost"
    """It left the bus (after XID 79, say): only a reset or a power cycle brings it back."""
    RESET_REQUIRED = "reset_required"
    MISSING = "missing"
    """It was here before, and the driver no longer lists it."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of this machine. `index` is ours and stays, while NVML's shifts when one goes."""

    uuid: str
    index: int
    model: str
    bus_id: str = ""
    minor: int | None = None


class Gpm(NamedTuple):
    """What Hopper's performance monitors counted since the sample before.

    Activities are ratios of 0 to 1; traffic is in bytes per second.
    Source: NVML's GPU Performance Monitoring (GPM), metrics 1-13, 20, 21, 60, 61.
    """

    graphics: float | None = None
    sm_active: float | None = None
    sm_occupancy: float | None = None
    tensor: float | None = None
    dram: float | None = None
    fp64: float | None = None
    fp32: float | None = None
    fp16: float | None = None
    pcie_tx: float | None = None
    pcie_rx: float | None = None
    nvlink_rx: float | None = None
    nvlink_tx: float | None = None


class Readings(NamedTuple):
    """What changes from second to second, and the counters that come with it for nothing."""

    utilisation_percent: int | None = None
    memory_utilisation_percent: int | None = None
    memory_total_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_free_bytes: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    power_milliwatts: int | None = None
    temperature_celsius: int | None = None
    clock_event_reasons: int | None = None
    """A bit mask: 0x4 is the power cap at load; 0x8, 0x40 and 0x80 are hardware slowdowns."""
    memory_temperature_celsius: int | None = None
    nvlink_tx_kib: int | None = None
    nvlink_rx_kib: int | None = None
    remapped_correctable: int | None = None
    remapped_uncorrectable: int | None = None
    remap_pending: int | None = None
    remap_failed: int | None = None
    recovery_action: int | None = None
    """What the driver asks for: 0 nothing, 1 reset the GPU, 2 reboot, 3 drain P2P, 4 drain and
    reset, 5 recover the IMEX domain, 6 bus reset, 7 system reboot; newer drivers only."""


class Condition(NamedTuple):
    """What changes seldom and costs more to ask."""

    energy_millijoules: int | None = None
    pcie_replays: int | None = None
    encoder_percent: int | None = None
    decoder_percent: int | None = None
    power_limit_milliwatts: int | None = None
    ecc_enabled: bool | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    ecc_corrected_ever: int | None = None
    ecc_uncorrected_ever: int | None = None
    """`ever` outlives the driver's reload; without it, since the reload."""
    sram_threshold_exceeded: bool | None = None
    nvlinks: int | None = None
    nvlinks_up: int | None = None
    nvlink_replays: int | None = None
    nvlink_recoveries: int | None = None
    nvlink_crc_errors: int | None = None
    pcie_generation: int | None = None
    pcie_generation_most: int | None = None
    pcie_width: int | None = None
    pcie_width_most: int | None = None
    mig_enabled: bool | None = None
    fabric: "Fabric | None" = None


@dataclass(frozen=True, slots=True)
class Fabric:
    """The NVLink domain that a GPU belongs to; alone in one HGX, `cluster` is all zeros."""

    cluster: str
    clique: int
    state: int
    """1 not started, 2 in progress, 3 completed."""
    status: int
    health_mask: int | None = None


@dataclass(frozen=True, slots=True)
class MigDevice:
    """A slice of a GPU with a life of its own. `profile` is such as `1g.10gb`."""

    uuid: str
    gpu_instance: int
    compute_instance: int
    profile: str
    memory_used_bytes: int | None = None
    memory_free_bytes: int | None = None
    gpm: Gpm = field(default_factory=Gpm)


@dataclass(frozen=True, slots=True)
class Process:
    """A process on a GPU. `pid` counts in the host's namespace.

    `sm_active`, of 0 to 1, is asked for only where a GPU has several processes.
    """

    pid: int
    memory_bytes: int | None = None
    gpu_instance: int | None = None
    sm_active: float | None = None


class GpuSample(NamedTuple):
    """All that one look at one GPU said; with a `fault` it said nothing else."""

    gpu: Gpu
    fault: Fault | None = None
    readings: Readings = Readings()
    gpm: Gpm = Gpm()
    condition: Condition = Condition()
    processes: tuple[Process, ...] | None = None
    mig: tuple[MigDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class Xid:
    """A fault that the driver announced. Source: NVIDIA's XID catalogue."""

    uuid: str
    number: int


@dataclass(frozen=True, slots=True)
class Driver:
    """The software under the GPUs, as it names itself."""

    version: str
    nvml: str
    cuda: str


class Statistic(NamedTuple):
    """One counter over a window of time, by the samples that had it."""

    last: float
    mean: float
    most: float
    samples: int


@dataclass(frozen=True, slots=True)
class NodeView:
    """What the agent knows of its machine at an instant; what is not fresh is not in it."""

    state: SamplerState
    detail: str = ""
    driver: Driver | None = None
    gpus: tuple[Gpu, ...] = ()
    """Every GPU that this machine has, also those that cannot be read now."""
    samples: Mapping[str, GpuSample] = field(default_factory=dict)
    """By UUID: a fault, or a sample that is fresh."""
    unreadable: int = 0
    """GPUs that the driver counts but cannot name, and that were never seen before."""
    xids: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """How often each XID came on each GPU since this process began."""
    last_xids: Mapping[str, int] = field(default_factory=dict)
    hears_xids: bool = False
    """Whether the driver announces XIDs at all: without, no XID means nothing."""
    errors: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Driver calls that failed for no known reason, by function and error."""
    passes: int = 0
    pass_seconds: float | None = None
