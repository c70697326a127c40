"""What a policy must not forget: pools that runs hold, accounts whose jobs have not ended."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.lifecycle import JobState
from scheduler.db.tables import jobs, runs

_TERMINAL = [state.value for state in JobState if state.is_terminal]


@dataclass(frozen=True, slots=True)
class InUse:
    """Open runs by pool, and jobs that have not ended by account; ids in order."""

    runs_of_pool: Mapping[str, tuple[str, ...]]
    jobs_of_account: Mapping[str, tuple[str, ...]]


async def in_use(conn: AsyncConnection) -> InUse:
    """Return what is in use now."""
    open_runs = await conn.execute(
        select(runs.c.pool, runs.c.id).where(runs.c.ended_at.is_(None)).order_by(runs.c.id)
    )
    open_jobs = await conn.execute(
        select(jobs.c.account, jobs.c.id)
        .where(jobs.c.state.not_in(_TERMINAL))
        .order_by(jobs.c.sequence)
    )
    return InUse(_grouped(open_runs.tuples()), _grouped(open_jobs.tuples()))


def _grouped(pairs: Iterable[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, member in pairs:
        found[name].append(member)
    return {name: tuple(members) for name, members in found.items()}
