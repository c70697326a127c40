"""The picture of `commonpool top`: what `topview` arranged, as lines that fit the terminal.

Columns give way on narrow terminals, the least needed first; names and states never do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rich.table import Table
from rich.text import Text

from portal import topview
from portal.format import TIER_WORDS, count
from portal.topview import Fleet, NodeRow, PoolRow, Sums
from scheduler.wire.telemetry import GpuTelemetry

_BAR, _CELLS = "▏▎▍▌▋▊▉█", 6
_BAD, _WARN, _DIM = "red", "yellow", "bright_black"


class Detail(StrEnum):
    """How far down the tree is drawn."""

    POOLS = "pools"
    NODES = "nodes"
    USED = "used"
    """Nodes, and the GPUs that somebody has or that something is wrong with."""
    GPUS = "gpus"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the picture; all cells are for one thing of the tree."""

    name: str
    who: Text
    sm: float | None
    memory: str
    power: str
    heat: str
    idle: str
    state: Text
    style: str = ""


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    least: int
    """The width of a terminal from which on it is there."""


_COLUMNS = (
    _Column("SM", 0),
    _Column("memory", 70),
    _Column("power", 56),
    _Column("temp", 84),
    _Column("idle", 48),
)
_BARS_FROM, _WHO_FROM = 110, 40


def lines(fleet: Fleet, detail: Detail) -> tuple[Line, ...]:
    """Return every line of the picture, from the top."""
    return tuple(_lines(fleet, detail))


def _lines(fleet: Fleet, detail: Detail) -> Iterator[Line]:
    for tier in fleet.tiers:
        yield _of_sums(f"{TIER_WORDS[tier.tier]} tier", tier.sums, style="bold")
        for pool in tier.pools:
            yield _of_sums(_pool_name(pool), pool.sums, style="bold cyan")
            if detail is not Detail.POOLS:
                for row in pool.nodes:
                    yield from _node(row, detail, fleet.at)


def _pool_name(pool: PoolRow) -> str:
    where = "" if pool.site == pool.pool else f" @ {pool.site}"
    return f" {pool.pool}{where}, {pool.gpu_model}" + (" SIMULATED" if pool.simulated else "")


def _node(row: NodeRow, detail: Detail, at: datetime) -> Iterator[Line]:
    word = topview.state(row.node)
    told = Text(word, style=_DIM if word == "ok" else _BAD)
    if not row.node.measured:
        told.append("; not heard by this hub", style=_WARN)
    yield _of_sums(f"  {row.node.node}", row.sums, told)
    for gpu in row.node.gpus:
        worth = gpu.held_by or gpu.foreign or not gpu.healthy
        if detail is Detail.GPUS or (detail is Detail.USED and worth):
            yield _gpu(gpu, at)


def _of_sums(name: str, sums: Sums, state: Text | None = None, style: str = "") -> Line:
    who = f"{sums.held} of {count(sums.gpus, 'GPU')} in use"
    return Line(
        name,
        Text(who),
        sums.sm_active,
        topview.gib(sums.memory_used_mib),
        topview.watts(sums.power_watts),
        topview.celsius(sums.temperature_celsius),
        f"{sums.idle_held} idle" if sums.idle_held else "",
        state if state is not None else _trouble(sums),
        style,
    )


def _trouble(sums: Sums) -> Text:
    parts = [f"{sums.sick} sick"] if sums.sick else []
    parts += [f"{sums.foreign} foreign"] if sums.foreign else []
    return Text(", ".join(parts), style=_BAD)


def _gpu(gpu: GpuTelemetry, at: datetime) -> Line:
    word = topview.gpu_state(gpu)
    late = topview.is_idle_too_long(gpu, at)
    return Line(
        f"    GPU {gpu.index}",
        Text(topview.who(gpu) or "free", style="" if gpu.held_by else _DIM),
        gpu.sm_active,
        topview.gib(gpu.memory_used_mib),
        topview.watts(gpu.power_watts),
        topview.celsius(gpu.temperature_celsius),
        topview.idle(gpu, at),
        Text(word, style=_DIM if word == "ok" else _BAD),
        _WARN if late else "",
    )


def table(shown: Sequence[Line], width: int) -> Table:
    """Return these lines as a table for a terminal of so many columns."""
    there = [column for column in _COLUMNS if width >= column.least]
    found = Table(box=None, pad_edge=False, expand=True, padding=(0, 1, 0, 0))
    found.add_column("tier, pool, node, GPU", no_wrap=True, overflow="ellipsis", ratio=3)
    if width >= _WHO_FROM:
        found.add_column("who", no_wrap=True, overflow="ellipsis", ratio=4)
    for column in there:
        found.add_column(column.heading, no_wrap=True, justify="right")
    if width >= _BARS_FROM:
        found.add_column("", no_wrap=True, width=_CELLS)
    found.add_column("state", no_wrap=True, overflow="ellipsis", ratio=4)
    for line in shown:
        cells = dict(
            zip(
                (column.heading for column in _COLUMNS),
                (topview.percent(line.sm), line.memory, line.power, line.heat, line.idle),
                strict=True,
            )
        )
        found.add_row(
            Text(line.name),
            *([line.who] if width >= _WHO_FROM else []),
            *(Text(cells[column.heading]) for column in there),
            *([Text(bar(line.sm), style="green")] if width >= _BARS_FROM else []),
            line.state,
            style=line.style,
        )
    return found


def bar(part: float | None) -> str:
    """Return a part of 1 as a bar of six cells."""
    eighths = round((part or 0.0) * _CELLS * 8)
    return "█" * (eighths // 8) + (_BAR[eighths % 8 - 1] if eighths % 8 else "")


def heading(fleet: Fleet) -> Text:
    """Return the fleet in one line."""
    sums = fleet.sums
    parts = [
        f"{sums.held} of {count(sums.gpus, 'GPU')} in use",
        f"SM {topview.percent(sums.sm_active)}",
        topview.watts(sums.power_watts),
    ]
    parts += [f"{sums.idle_held} leased and idle"] if sums.idle_held else []
    parts += [f"{sums.sick} sick"] if sums.sick else []
    parts += (
        [count(sums.foreign, "foreign process").replace("processs", "processes")]
        if (sums.foreign)
        else []
    )
    people = sorted(fleet.people.items(), key=lambda pair: (-pair[1], pair[0]))
    parts += [f"{name} {gpus}" for name, gpus in people[:4]]
    return Text(" · ".join(parts), overflow="ellipsis", no_wrap=True)
