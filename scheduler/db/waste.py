"""Leases and rollups of a window, for the waste report (R18)."""

from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.model import AccountName
from scheduler.core.waste import Leased, Seen
from scheduler.db.node_tables import gpu_rollups
from scheduler.db.tables import jobs, runs, usage_intervals


async def leased_since(conn: AsyncConnection, since: datetime) -> list[Leased]:
    """Return the leases that were in use then or later."""
    columns = usage_intervals.c
    query = select(columns.account, columns.gpus, columns.started_at, columns.ended_at).where(
        or_(columns.ended_at.is_(None), columns.ended_at > since)
    )
    return [Leased(AccountName(r[0]), r[1], r[2], r[3]) for r in await conn.execute(query)]


async def seen_since(conn: AsyncConnection, since: datetime) -> list[Seen]:
    """Return what reports said of leased GPUs since then, by account."""
    seconds, busy = gpu_rollups.c.seconds, gpu_rollups.c.sm_mean
    query = (
        select(jobs.c.account, func.sum(seconds), func.sum(seconds * busy))
        .join(runs, runs.c.id == gpu_rollups.c.run_id)
        .join(jobs, jobs.c.id == runs.c.job_id)
        .where(gpu_rollups.c.at > since, busy.is_not(None))
        .group_by(jobs.c.account)
    )
    return [Seen(AccountName(r[0]), float(r[1]), float(r[2])) for r in await conn.execute(query)]
