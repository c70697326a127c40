"""Why jobs wait, for a page of them: queries do not grow in number with the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.lifecycle import JobState
from scheduler.core.model import PriorityClass
from scheduler.db.rows import HoldRow, JobRow, ReservationRow, verdicts_of
from scheduler.db.shapes import shape_key, slots_of
from scheduler.db.tables import holds, jobs, reservations


async def holds_of(conn: AsyncConnection, waiting: Sequence[JobRow]) -> Mapping[str, HoldRow]:
    """Return by job id why each waits: its own verdict, else its (account, shape) group's.

    A job that no cycle has looked at yet is not in the answer.
    """
    keys = {job.id: (job.account, shape_key(job.shape)) for job in waiting}
    if not keys:
        return {}
    query = select(
        holds.c.account, holds.c.shape_key, holds.c.job_id, holds.c.verdicts, holds.c.decided_at
    ).where(
        holds.c.account.in_({account for account, _ in keys.values()}),
        holds.c.shape_key.in_({key for _, key in keys.values()}),
        or_(holds.c.job_id.is_(None), holds.c.job_id.in_(keys)),
    )
    found: dict[Any, Any] = {
        row.job_id or (row.account, row.shape_key): row for row in await conn.execute(query)
    }
    positions = await _positions(conn, keys)
    covering = {job: found.get(job) or found.get(group) for job, group in keys.items()}
    return {
        job: HoldRow(
            verdicts=verdicts_of(row.verdicts),
            decided_at=row.decided_at,
            position=positions.get(job, 0),
            own=row.job_id is not None,
        )
        for job, row in covering.items()
        if row is not None
    }


async def _positions(
    conn: AsyncConnection, keys: Mapping[str, tuple[str, str]]
) -> Mapping[str, int]:
    """Number each account's queue (R2): by priority, then age, then submission."""
    rank = case({p.value: p.rank for p in PriorityClass}, value=jobs.c.priority)
    numbered = (
        select(
            jobs.c.id,
            func.row_number()
            .over(
                partition_by=jobs.c.account,
                order_by=(rank, jobs.c.submitted_at, jobs.c.sequence),
            )
            .label("position"),
        )
        .where(
            jobs.c.state == JobState.PENDING.value,
            jobs.c.account.in_({account for account, _ in keys.values()}),
        )
        .subquery()
    )
    query = select(numbered.c.id, numbered.c.position).where(numbered.c.id.in_(keys))
    return {row.id: row.position for row in await conn.execute(query)}


async def reservations_of(
    conn: AsyncConnection, job_ids: Sequence[str]
) -> Mapping[str, ReservationRow]:
    """Return planned starts (R6) by job id, of those jobs that have one."""
    if not job_ids:
        return {}
    rows = await conn.execute(select(reservations).where(reservations.c.job_id.in_(job_ids)))
    return {
        row.job_id: ReservationRow(row.job_id, row.pool, slots_of(row.slots), row.start_at)
        for row in rows
    }
