"""One job's rollups and charged intervals, for its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.job_cost import Taken
from scheduler.core.model import QuotaClass
from scheduler.db.node_tables import gpu_rollups
from scheduler.db.tables import jobs, runs, usage_intervals

_ROLLUP = gpu_rollups.c


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run's GPUs over one stretch; None is what nobody measured.

    `busy` and `measured` are in GPU-seconds: their quotient is the mean activity.
    """

    at: datetime
    seconds: int
    gpus: int
    busy: float | None
    measured: int
    most: float | None
    memory_mib: float | None

    def with_next(self, other: "Stretch") -> "Stretch":
        """Return both as one stretch that ends with the later."""
        return Stretch(
            other.at,
            self.seconds + other.seconds,
            max(self.gpus, other.gpus),
            _sum(self.busy, other.busy),
            self.measured + other.measured,
            _most(self.most, other.most),
            _most(self.memory_mib, other.memory_mib),
        )


@dataclass(frozen=True, slots=True)
class GpuTotal:
    """One GPU of a run over the run's life."""

    node: str
    gpu: int
    busy: float | None
    measured: int
    most: float | None
    memory_mib: float | None


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


def _most(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)


def _measures() -> tuple[ColumnElement[Any], ...]:
    measured = case((_ROLLUP.sm_mean.is_not(None), _ROLLUP.seconds), else_=0)
    return (
        func.sum(_ROLLUP.seconds * _ROLLUP.sm_mean),
        func.sum(measured),
        func.max(_ROLLUP.sm_most),
        func.max(_ROLLUP.memory_most_mib),
    )


async def stretches_of(conn: AsyncConnection, run: str) -> list[Stretch]:
    """Return what a run's GPUs did together, in order: at most some 10,000 in 35 days."""
    query = (
        select(_ROLLUP.at, func.max(_ROLLUP.seconds), func.count(), *_measures())
        .where(_ROLLUP.run_id == run)
        .group_by(_ROLLUP.at)
        .order_by(_ROLLUP.at)
    )
    return [
        Stretch(at, seconds, gpus, busy, int(measured), most, memory)
        for at, seconds, gpus, busy, measured, most, memory in await conn.execute(query)
    ]


async def totals_of(conn: AsyncConnection, run: str) -> dict[tuple[str, int], GpuTotal]:
    """Return what each GPU of a run did over the run's life, where rollups tell."""
    query = (
        select(_ROLLUP.node_id, _ROLLUP.gpu, *_measures())
        .where(_ROLLUP.run_id == run)
        .group_by(_ROLLUP.node_id, _ROLLUP.gpu)
    )
    return {
        (node, gpu): GpuTotal(node, gpu, busy, int(measured), most, memory)
        for node, gpu, busy, measured, most, memory in await conn.execute(query)
    }


async def taken_by(conn: AsyncConnection, names: Sequence[str]) -> Mapping[str, Taken]:
    """Return the counted interval of each of these runs."""
    times = usage_intervals.c
    query = (
        select(
            times.run_id,
            times.gpus,
            times.factor,
            runs.c.quota_class,
            jobs.c.reservation,
            times.started_at,
            times.ended_at,
            runs.c.ends_by,
        )
        .join(runs, runs.c.id == times.run_id)
        .join(jobs, jobs.c.id == runs.c.job_id)
        .where(times.run_id.in_(names))
    )
    rows = await conn.execute(query) if names else ()
    return {
        name: Taken(gpus, factor, QuotaClass(kind), reserved is not None, since, until, ends_by)
        for name, gpus, factor, kind, reserved, since, until, ends_by in rows
    }
