"""How many jobs are in a state, counted no further than anybody is told."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.lifecycle import JobState
from scheduler.db.jobs import Owner
from scheduler.db.tables import jobs


async def count_jobs(
    conn: AsyncConnection, owner: Owner | None, states: Sequence[JobState], at_most: int
) -> Mapping[JobState, int]:
    """Return how many of a person's jobs are in each state, None: of everybody's.

    Each is counted up to `at_most`, so that it costs the same whoever asks.
    """
    columns = []
    for state in states:
        query = select(jobs.c.sequence).where(
            jobs.c.state == state.value, jobs.c.deleted_at.is_(None)
        )
        if owner is not None:
            query = query.where(owner.clause())
        some = query.limit(at_most).subquery()
        columns.append(select(func.count()).select_from(some).scalar_subquery())
    row = (await conn.execute(select(*columns))).one()
    return dict(zip(states, row, strict=True))
