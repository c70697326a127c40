"""Was the first start that a job was told the true one? Kept per job, counted over days.

The first forecast is what a person plans by, so later ones do not replace it. A job starts
when its GPUs are leased; a second attempt settles nothing.

Source: scheduling.md §5, "ETA hit rates are published".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Integer, and_, delete, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.engine import insert_into
from scheduler.db.tables import UtcDateTime, eta_records, jobs

MOST_RECORDS = 100_000
"""Forecasts that are kept: enough for a rate, whatever the hub's size."""

# SQLite takes some 32,000 parameters in a statement.
_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Eta:
    """A start as it was foreseen at `made_at`: between `low_at` and `high_at`, with 80 %."""

    job_id: str
    made_at: datetime
    low_at: datetime
    likely_at: datetime
    high_at: datetime


@dataclass(frozen=True, slots=True)
class HitRate:
    """Of `started` jobs that had been told a start, `hits` started within its interval."""

    started: int
    hits: int

    @property
    def part(self) -> float | None:
        """Return the part of hits, from 0 to 1; None where nothing was counted."""
        return self.hits / self.started if self.started else None


async def record(conn: AsyncConnection, etas: Sequence[Eta]) -> None:
    """Keep forecasts of jobs that have none yet; those whose job has never been are ignored."""
    named = [eta.job_id for eta in etas]
    there: set[str] = set()
    for at in range(0, len(named), _AT_ONCE):
        some = select(jobs.c.id).where(jobs.c.id.in_(named[at : at + _AT_ONCE]))
        there.update((await conn.execute(some)).scalars())
    rows = [
        {
            "job_id": eta.job_id,
            "made_at": eta.made_at,
            "low_at": eta.low_at,
            "likely_at": eta.likely_at,
            "high_at": eta.high_at,
        }
        for eta in etas
        if eta.job_id in there
    ]
    if rows:
        await conn.execute(insert_into(conn, eta_records).on_conflict_do_nothing(), rows)


async def settle(conn: AsyncConnection, job_ids: Sequence[str], started_at: datetime) -> None:
    """Hold the forecasts of jobs that start now against it; each is settled once."""
    started = literal(started_at, UtcDateTime())
    within = and_(eta_records.c.low_at <= started, started <= eta_records.c.high_at)
    for at in range(0, len(job_ids), _AT_ONCE):
        await conn.execute(
            update(eta_records)
            .where(
                eta_records.c.job_id.in_(job_ids[at : at + _AT_ONCE]),
                eta_records.c.started_at.is_(None),
            )
            .values(started_at=started_at, hit=within)
        )


async def hit_rate(conn: AsyncConnection, since: datetime) -> HitRate:
    """Return how often jobs that started since then did so within what they were first told."""
    query = select(func.count(), func.coalesce(func.sum(eta_records.c.hit.cast(Integer)), 0)).where(
        eta_records.c.started_at >= since
    )
    started, hits = (await conn.execute(query)).one()
    return HitRate(started, int(hits))


async def prune(conn: AsyncConnection, before: datetime, most: int = MOST_RECORDS) -> int:
    """Forget forecasts made before then, and the oldest beyond so many; return how many."""
    newest = select(eta_records.c.made_at).order_by(eta_records.c.made_at.desc())
    edge = (await conn.execute(newest.offset(most).limit(1))).scalar_one_or_none()
    gone = eta_records.c.made_at < before
    if edge is not None:
        gone = gone | (eta_records.c.made_at <= edge)
    return (await conn.execute(delete(eta_records).where(gone))).rowcount
