"""How often GPUs were taken back lately from those who had borrowed them, pool by pool."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.model import QuotaClass, StopReason
from scheduler.db.tables import runs

_RECALLED = tuple(reason.value for reason in StopReason if reason.is_preemption)
_LENT = (int(QuotaClass.BORROWED), int(QuotaClass.BACKGROUND))


@dataclass(frozen=True, slots=True)
class Lent:
    """Borrowed and background runs that began to work and ended, and how many were recalled."""

    runs: int
    recalled: int


async def lent_runs(
    conn: AsyncConnection, pools: Collection[str], since: datetime
) -> Mapping[str, Lent]:
    """Return what became of lent runs that ended since then; pools without any are left out."""
    recalled = func.sum(case((runs.c.stop_reason.in_(_RECALLED), 1), else_=0))
    query = (
        select(runs.c.pool, func.count().label("runs"), recalled.label("recalled"))
        .where(
            runs.c.pool.in_(sorted(pools)),
            runs.c.quota_class.in_(_LENT),
            runs.c.started_at.is_not(None),
            runs.c.ended_at >= since,
        )
        .group_by(runs.c.pool)
    )
    return {row.pool: Lent(row.runs, row.recalled) for row in await conn.execute(query)}
