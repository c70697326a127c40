"""What `commonpool top` draws: tiers, pools, nodes and GPUs, as rows that fit the terminal.

Pure: from the hub's pages to values, so that a test needs no terminal. What was not measured
is a dash and never 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from portal.format import rough
from scheduler.core.model import Tier
from scheduler.wire.telemetry import GpuTelemetry, NodeTelemetry

NOTHING = "–"  # noqa: RUF001  # a dash for nothing
LONG_IDLE = timedelta(minutes=5)
_GIB = 1024


class Sort(StrEnum):
    """What orders the nodes of a pool."""

    NAME = "name"
    SM = "sm"
    MEMORY = "memory"
    POWER = "power"
    TEMPERATURE = "temperature"
    IDLE = "idle"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Sums:
    """What a number of GPUs do together; None: none of them was measured."""

    gpus: int
    held: int
    sick: int
    foreign: int
    sm_active: float | None
    memory_used_mib: float | None
    power_watts: float | None
    temperature_celsius: float | None
    idle_held: int
    """Leased GPUs that have done nothing for `LONG_IDLE`."""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node with its sums."""

    node: NodeTelemetry
    sums: Sums


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A pool with its nodes, in the order asked for."""

    pool: str
    site: str
    gpu_model: str
    sums: Sums
    nodes: tuple[NodeRow, ...]
    simulated: bool


@dataclass(frozen=True, slots=True)
class TierRow:
    """A tier with its pools."""

    tier: Tier
    sums: Sums
    pools: tuple[PoolRow, ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    """All that was asked for, as it was `at`."""

    at: datetime
    tiers: tuple[TierRow, ...]
    sums: Sums
    people: Mapping[str, int] = field(default_factory=dict)
    """GPUs by account."""


def fleet(
    nodes: Sequence[NodeTelemetry], at: datetime, order: Sort = Sort.NAME, *, busy: bool = False
) -> Fleet:
    """Arrange nodes; `busy` leaves out nodes where nobody is and nothing is wrong."""
    shown = [node for node in nodes if not busy or not _is_dull(node)]
    tiers = []
    for tier in sorted({node.tier for node in shown}, key=lambda tier: tier.rank):
        pools = tuple(_pools([node for node in shown if node.tier is tier], at, order))
        mine = [gpu for node in shown if node.tier is tier for gpu in node.gpus]
        tiers.append(TierRow(tier, sums(mine, at), pools))
    every = [gpu for node in shown for gpu in node.gpus]
    people: dict[str, int] = {}
    for gpu in every:
        for one in gpu.held_by:
            people[one.account] = people.get(one.account, 0) + 1
    return Fleet(at, tuple(tiers), sums(every, at), people)


def _is_dull(node: NodeTelemetry) -> bool:
    return node.usable and not any(g.held_by or g.foreign or not g.healthy for g in node.gpus)


def _pools(nodes: Sequence[NodeTelemetry], at: datetime, order: Sort) -> Iterator[PoolRow]:
    for name in sorted({node.pool for node in nodes}):
        mine = [node for node in nodes if node.pool == name]
        rows = [NodeRow(node, sums(node.gpus, at)) for node in mine]
        rows.sort(key=lambda row: (_rank(row, order, at), row.node.node))
        yield PoolRow(
            name,
            mine[0].site,
            mine[0].gpu_model,
            sums([gpu for node in mine for gpu in node.gpus], at),
            tuple(rows),
            any(node.simulated for node in mine),
        )


def _rank(row: NodeRow, order: Sort, at: datetime) -> float:
    """Return what a node is ordered by, the most first; what was not measured comes last."""
    if order is Sort.NAME:
        return 0
    if order is Sort.TROUBLE:
        return -(1000 * (not row.node.usable) + row.sums.sick + row.sums.foreign)
    if order is Sort.IDLE:
        longest = [at - gpu.idle_since for gpu in row.node.gpus if gpu.idle_since and gpu.held_by]
        return -max(longest, default=timedelta()).total_seconds()
    value = {
        Sort.SM: row.sums.sm_active,
        Sort.MEMORY: row.sums.memory_used_mib,
        Sort.POWER: row.sums.power_watts,
        Sort.TEMPERATURE: row.sums.temperature_celsius,
    }[order]
    return 1 if value is None else -value


def sums(gpus: Sequence[GpuTelemetry], at: datetime) -> Sums:
    """Return what these GPUs do together: power and memory added, activity on average."""
    active = [gpu.sm_active for gpu in gpus if gpu.sm_active is not None]
    memory = [gpu.memory_used_mib for gpu in gpus if gpu.memory_used_mib is not None]
    power = [gpu.power_watts for gpu in gpus if gpu.power_watts is not None]
    heat = [gpu.temperature_celsius for gpu in gpus if gpu.temperature_celsius is not None]
    return Sums(
        gpus=len(gpus),
        held=sum(bool(gpu.held_by) for gpu in gpus),
        sick=sum(not gpu.healthy for gpu in gpus),
        foreign=sum(one.processes for gpu in gpus for one in gpu.foreign),
        sm_active=sum(active) / len(active) if active else None,
        memory_used_mib=sum(memory) if memory else None,
        power_watts=sum(power) if power else None,
        temperature_celsius=max(heat) if heat else None,
        idle_held=sum(is_idle_too_long(gpu, at) for gpu in gpus),
    )


def is_idle_too_long(gpu: GpuTelemetry, at: datetime) -> bool:
    """Return whether somebody has a GPU and has done nothing with it for long."""
    return bool(gpu.held_by) and gpu.idle_since is not None and at - gpu.idle_since >= LONG_IDLE


def state(node: NodeTelemetry) -> str:
    """Return whether a node takes work, and why not."""
    if not node.usable:
        return node.why_unusable or "takes no work"
    if node.sampler not in {"ok", "starting"}:
        return f"sampler {node.sampler}"
    return "ok"


def gpu_state(gpu: GpuTelemetry) -> str:
    """Return a GPU's health, and who is on it without a lease."""
    parts = [] if gpu.healthy else [gpu.why_unhealthy or "not well"]
    count = sum(one.processes for one in gpu.foreign)
    if count:
        runs = sorted({one.run for one in gpu.foreign if one.run})
        of = f" of {', '.join(runs)}" if runs else ""
        parts.append(f"{count} foreign process{'' if count == 1 else 'es'}{of}")
    return "; ".join(parts) or "ok"


def who(gpu: GpuTelemetry) -> str:
    """Return who has a GPU: run, account and user, as far as the hub told us."""
    said = ""
    for one in gpu.held_by:
        names = " ".join(part for part in (one.run, one.account, one.user) if part)
        between = " + guest " if one.guest else " → "
        said += f"{between if said else ''}{names}{' (leaving)' if one.draining else ''}"
    return said


def idle(gpu: GpuTelemetry, at: datetime) -> str:
    """Return for how long a GPU has done nothing; empty while it works or nobody measures."""
    return "" if gpu.idle_since is None else rough(at - gpu.idle_since)


def percent(part: float | None) -> str:
    """Return a part of 1."""
    return NOTHING if part is None else f"{part * 100:.0f}%"


def gib(mib: float | None) -> str:
    """Return memory in GiB."""
    return NOTHING if mib is None else f"{mib / _GIB:.1f}G"


def watts(power: float | None) -> str:
    """Return power, in kW where that is shorter."""
    if power is None:
        return NOTHING
    return f"{power:.0f}W" if power < 10_000 else f"{power / 1000:.1f}kW"  # noqa: PLR2004


def celsius(heat: float | None) -> str:
    """Return a temperature."""
    return NOTHING if heat is None else f"{heat:.0f}°"
