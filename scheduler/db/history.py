"""How long runs ran: what run times are predicted from."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.model import RunState
from scheduler.db.tables import jobs, runs

MOST_RUNS = 100_000


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that worked and is over. `ran` is from when it began to work to its end.

    `gpus` are those of its job's shape; `outcome` tells an end of its own (succeeded, failed)
    from one that somebody else made (stopped, preempted, lost).
    """

    user: str
    account: str
    gpus: int
    name: str
    ran: timedelta
    ended_at: datetime
    outcome: RunState


async def finished_runs(
    conn: AsyncConnection, since: datetime, most: int = MOST_RUNS
) -> list[FinishedRun]:
    """Return the runs that ended since then, newest first, at most so many.

    Runs that never began to work are left out: they say nothing about run times.
    """
    query = (
        select(
            jobs.c.user,
            jobs.c.account,
            (jobs.c.nodes * jobs.c.gpus_per_node).label("gpus"),
            jobs.c.name,
            runs.c.started_at,
            runs.c.ended_at,
            runs.c.state,
        )
        .join(jobs, jobs.c.id == runs.c.job_id)
        .where(runs.c.ended_at >= since, runs.c.started_at.is_not(None))
        .order_by(runs.c.ended_at.desc(), runs.c.id)
        .limit(most)
    )
    return [
        FinishedRun(
            user=row.user,
            account=row.account,
            gpus=row.gpus,
            name=row.name,
            ran=row.ended_at - row.started_at,
            ended_at=row.ended_at,
            outcome=RunState(row.state),
        )
        for row in await conn.execute(query)
    ]
