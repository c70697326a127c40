"""Which per-GPU names `/metrics` has: those that are worth their place, or all.

A Prometheus needs about 5 KiB for each series, so a site of 4,000 nodes pays 160 MiB for each
name. The default is what the shipped rules and dashboards and Grafana's dashboard 12239 ask for,
and what says why a job is slow; the rest is dcgm-exporter's, for those who have uses for it.
Source: notes/nvml_prometheus.md §2.1 and §3 (budget of 25 to 30 series a GPU).
"""

from enum import StrEnum


class MetricSet(StrEnum):
    """How much is shown of each GPU."""

    DEFAULT = "default"
    ALL = "all"


_DEVICE = (
    "GPU_UTIL",
    "SM_CLOCK",
    "MEM_CLOCK",
    "GPU_TEMP",
    "MEMORY_TEMP",
    "POWER_USAGE",
    "TOTAL_ENERGY_CONSUMPTION",
    "FB_USED",
    "FB_FREE",
    "CLOCK_THROTTLE_REASONS",
    "XID_ERRORS",
    "ROW_REMAP_FAILURE",
    "ROW_REMAP_PENDING",
    "ECC_DBE_VOL_TOTAL",
)
_PROFILING = (
    "GR_ENGINE_ACTIVE",
    "SM_ACTIVE",
    "SM_OCCUPANCY",
    "PIPE_TENSOR_ACTIVE",
    "DRAM_ACTIVE",
    "PCIE_TX_BYTES",
    "PCIE_RX_BYTES",
    "NVLINK_TX_BYTES",
    "NVLINK_RX_BYTES",
)
_OURS = (
    "up",
    "recovery_action",
    "nvlinks_up",
    "leased_processes",
    "foreign_processes",
    "unknown_processes",
    # One for each job on a GPU, and one for each XID that came.
    "job_info",
    "xid_events",
)
DEFAULT = frozenset(
    [f"DCGM_FI_DEV_{name}" for name in _DEVICE]
    + [f"DCGM_FI_PROF_{name}" for name in _PROFILING]
    + [f"commonpool_gpu_{name}" for name in _OURS]
)
"""As Prometheus's library has them: a counter without `_total`."""


def is_in(metrics: MetricSet, name: str) -> bool:
    """Return whether a per-GPU name is in a set."""
    return metrics is MetricSet.ALL or name in DEFAULT
