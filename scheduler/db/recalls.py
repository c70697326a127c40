"""Owners' recalls: decided with a lease, over when its run begins to work (R10).

Or of an idle lease that was lent: over when the background work on it has ended (R18).

What a row adds to its run is the promise as it was made: agreements, tiers and the teardown
may be others in a later policy. How long it took is told by the run itself.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.model import AccountName, PoolId, QuotaClass, Run, RunId
from scheduler.core.policy import Policy
from scheduler.core.recalls import Recall
from scheduler.db.recall_tables import recalls
from scheduler.db.tables import runs

MOST = 20_000
"""Recalls that are looked at, the latest: enough for a p99, whatever the hub's size."""


async def record(
    conn: AsyncConnection,
    leased: Iterable[Run],
    leaves: Mapping[RunId, datetime],
    policy: Policy,
) -> None:
    """Keep what owners were promised whose new runs wait until others leave; `leaves` says when."""
    rows = [
        {
            "run_id": run.id,
            "lender": run.account,
            "pool": run.pool,
            "decided_at": run.leased_at,
            "notice_seconds": (notice := _notice(run, leaves)).total_seconds(),
            "promised_seconds": (notice + policy.rules.teardown).total_seconds(),
        }
        for run in leased
        if run.quota_class is QuotaClass.IN_QUOTA and run.after
    ]
    if rows:
        await conn.execute(insert(recalls), rows)


def _notice(run: Run, leaves: Mapping[RunId, datetime]) -> timedelta:
    latest = max((leaves[name] for name in run.after if name in leaves), default=run.leased_at)
    return max(latest - run.leased_at, timedelta(0))


async def recalls_since(
    conn: AsyncConnection, since: datetime, most: int = MOST
) -> tuple[Recall, ...]:
    """Return the recalls that were decided since then, the latest first."""
    query = (
        select(recalls, runs.c.started_at, runs.c.ended_at)
        .join(runs, runs.c.id == recalls.c.run_id)
        .where(recalls.c.decided_at >= since)
        .order_by(recalls.c.decided_at.desc(), recalls.c.run_id)
        .limit(most)
    )
    return tuple(
        Recall(
            lender=AccountName(row.lender),
            pool=PoolId(row.pool),
            decided_at=row.decided_at,
            notice=timedelta(seconds=row.notice_seconds),
            promised=timedelta(seconds=row.promised_seconds),
            # Who sat on an idle lease is out of the way when it has ended.
            started_at=row.ended_at if row.guest else row.started_at,
            ended=row.ended_at is not None,
        )
        for row in await conn.execute(query)
    )
