"""The names under which dashboards know GPU counters, and where a sample has each.

Names, units and help follow NVIDIA's dcgm-exporter, so that its dashboards and alerts work
unchanged. Its counters are exposed without a type here: Prometheus's library demands the
suffix `_total` of a counter, and these names have none.
Source: DCGM's field identifiers; dcgm-exporter's default counters.
"""

from dataclasses import dataclass
from functools import cache
from operator import attrgetter

from agents.node.samples import GpuSample, MigDevice

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Series:
    """One name. `divide` brings a sample's unit to that of the name."""

    name: str
    help: str
    path: str
    divide: float = 1
    kind: str = "gauge"

    def of(self, sample: GpuSample | MigDevice) -> float | None:
        """Return the value as the name has it, or None where the driver does not say."""
        value: float | None = _at(self.path)(sample)
        return value if value is None or self.divide == 1 else value / self.divide


_at = cache(attrgetter)


def _dev(name: str, text: str, path: str, divide: float = 1, kind: str = "gauge") -> Series:
    return Series(f"DCGM_FI_DEV_{name}", text, path, divide, kind)


def _sum(name: str, text: str, path: str) -> Series:
    return _dev(name, text, path, kind="unknown")


def _prof(name: str, text: str, path: str) -> Series:
    return Series(f"DCGM_FI_PROF_{name}", text, f"gpm.{path}")


PROFILING = (
    _prof("GR_ENGINE_ACTIVE", "Ratio of time the graphics engine is active.", "graphics"),
    _prof("SM_ACTIVE", "Ratio of cycles an SM has at least one warp.", "sm_active"),
    _prof("SM_OCCUPANCY", "Ratio of warps resident on an SM to the most.", "sm_occupancy"),
    _prof("PIPE_TENSOR_ACTIVE", "Ratio of cycles the tensor pipe is active.", "tensor"),
    _prof("DRAM_ACTIVE", "Ratio of cycles the device memory is active.", "dram"),
    _prof("PIPE_FP64_ACTIVE", "Ratio of cycles the fp64 pipe is active.", "fp64"),
    _prof("PIPE_FP32_ACTIVE", "Ratio of cycles the fp32 pipe is active.", "fp32"),
    _prof("PIPE_FP16_ACTIVE", "Ratio of cycles the fp16 pipe is active.", "fp16"),
    _prof("PCIE_TX_BYTES", "Bytes sent over PCIe per second.", "pcie_tx"),
    _prof("PCIE_RX_BYTES", "Bytes received over PCIe per second.", "pcie_rx"),
    _prof("NVLINK_TX_BYTES", "Bytes sent over NVLink per second.", "nvlink_tx"),
    _prof("NVLINK_RX_BYTES", "Bytes received over NVLink per second.", "nvlink_rx"),
)

DEVICE = (
    _dev("GPU_UTIL", "GPU utilization (in %).", "readings.utilisation_percent"),
    _dev("MEM_COPY_UTIL", "Memory utilization (in %).", "readings.memory_utilisation_percent"),
    _dev("ENC_UTIL", "Encoder utilization (in %).", "condition.encoder_percent"),
    _dev("DEC_UTIL", "Decoder utilization (in %).", "condition.decoder_percent"),
    _dev("SM_CLOCK", "SM clock frequency (in MHz).", "readings.sm_clock_mhz"),
    _dev("MEM_CLOCK", "Memory clock frequency (in MHz).", "readings.memory_clock_mhz"),
    _dev("GPU_TEMP", "GPU temperature (in C).", "readings.temperature_celsius"),
    _dev("MEMORY_TEMP", "Memory temperature (in C).", "readings.memory_temperature_celsius"),
    _dev("POWER_USAGE", "Power draw (in W).", "readings.power_milliwatts", 1000),
    _dev("POWER_MGMT_LIMIT", "Power limit (in W).", "condition.power_limit_milliwatts", 1000),
    _sum(
        "TOTAL_ENERGY_CONSUMPTION",
        "Energy since the driver was loaded (in mJ).",
        "condition.energy_millijoules",
    ),
    _dev("FB_USED", "Framebuffer memory used (in MiB).", "readings.memory_used_bytes", MIB),
    _dev("FB_FREE", "Framebuffer memory free (in MiB).", "readings.memory_free_bytes", MIB),
    _dev(
        "FB_RESERVED",
        "Framebuffer memory reserved (in MiB).",
        "readings.memory_reserved_bytes",
        MIB,
    ),
    _dev(
        "CLOCK_THROTTLE_REASONS",
        "Why clocks are held down (bit mask).",
        "readings.clock_event_reasons",
    ),
    _sum("PCIE_REPLAY_COUNTER", "PCIe retries.", "condition.pcie_replays"),
    _sum(
        "UNCORRECTABLE_REMAPPED_ROWS",
        "Rows remapped for uncorrectable errors.",
        "readings.remapped_uncorrectable",
    ),
    _sum(
        "CORRECTABLE_REMAPPED_ROWS",
        "Rows remapped for correctable errors.",
        "readings.remapped_correctable",
    ),
    _dev("ROW_REMAP_FAILURE", "Whether a remap has failed.", "readings.remap_failed"),
    _dev("ROW_REMAP_PENDING", "Whether a remap awaits a reset.", "readings.remap_pending"),
    _sum("ECC_SBE_VOL_TOTAL", "Single-bit errors since reload.", "condition.ecc_corrected"),
    _sum("ECC_DBE_VOL_TOTAL", "Double-bit errors since reload.", "condition.ecc_uncorrected"),
    _sum("ECC_SBE_AGG_TOTAL", "Single-bit errors ever.", "condition.ecc_corrected_ever"),
    _sum("ECC_DBE_AGG_TOTAL", "Double-bit errors ever.", "condition.ecc_uncorrected_ever"),
    _sum("NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "NVLink CRC errors.", "condition.nvlink_crc_errors"),
    _sum("NVLINK_REPLAY_ERROR_COUNT_TOTAL", "NVLink replays.", "condition.nvlink_replays"),
    _sum("NVLINK_RECOVERY_ERROR_COUNT_TOTAL", "NVLink recoveries.", "condition.nvlink_recoveries"),
)

SLICE = (
    _dev("FB_USED", "", "memory_used_bytes", MIB),
    _dev("FB_FREE", "", "memory_free_bytes", MIB),
    *PROFILING,
)
"""What a MIG slice has of its own, under the names of whole GPUs."""

OURS = (
    Series(
        "commonpool_gpu_recovery_action",
        "What the driver asks for: 0 nothing, 1 reset, 2 reboot, 3 drain P2P, 4 drain and reset,"
        " 5 recover the IMEX domain, 6 bus reset, 7 system reboot.",
        "readings.recovery_action",
    ),
    Series("commonpool_gpu_nvlinks_up", "NVLinks that are up.", "condition.nvlinks_up"),
    Series("commonpool_gpu_pcie_link_width", "PCIe lanes in use.", "condition.pcie_width"),
)


def nvlink_kib(sample: GpuSample) -> float | None:
    """Return all NVLink data ever sent and received, which DCGM has as one number."""
    sent, received = sample.readings.nvlink_tx_kib, sample.readings.nvlink_rx_kib
    return None if sent is None or received is None else sent + received
