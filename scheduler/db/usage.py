"""Usage: an interval per lease, closed once, and a decayed balance per account (R3).

The balance is `(value, as_of)` and is brought forward when a lease is settled. Nothing
ticks, and intervals are never changed afterwards, so any bill can be worked out anew.
"""

from datetime import datetime
from math import log

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.hardware import H100E
from scheduler.core.model import QuotaClass
from scheduler.db.engine import insert_into
from scheduler.db.outbox import note_changes
from scheduler.db.policies import policy_in_force
from scheduler.db.rows import RunRow
from scheduler.db.tables import usage, usage_intervals


async def open_interval(conn: AsyncConnection, run: RunRow, account: str, factor: int) -> None:
    """Begin to count a lease: reserved but unused time counts too (R3)."""
    await conn.execute(
        insert(usage_intervals).values(
            run_id=run.id,
            account=account,
            pool=run.pool,
            gpus=run.gpus,
            factor=factor,
            started_at=run.leased_at,
        )
    )


async def begin_at(conn: AsyncConnection, run_id: str, now: datetime) -> None:
    """Count from now: until now the GPUs were another run's, and only one of them pays."""
    await conn.execute(
        update(usage_intervals)
        .where(usage_intervals.c.run_id == run_id, usage_intervals.c.ended_at.is_(None))
        .values(started_at=now)
    )


async def settle(conn: AsyncConnection, run: RunRow, ended_at: datetime) -> None:
    """Close a lease's interval and add it to its account's balance, exactly once.

    A second call finds the interval closed and does nothing. Background work is
    metered and not charged (R2).
    """
    closed = (
        await conn.execute(
            update(usage_intervals)
            .where(usage_intervals.c.run_id == run.id, usage_intervals.c.ended_at.is_(None))
            .values(ended_at=ended_at)
            .returning(
                usage_intervals.c.account,
                usage_intervals.c.gpus,
                usage_intervals.c.factor,
                usage_intervals.c.started_at,
            )
        )
    ).one_or_none()
    if closed is None or run.quota_class is QuotaClass.BACKGROUND:
        return
    half_life = (await policy_in_force(conn)).rules.half_life.total_seconds()
    rate = closed.gpus * closed.factor / H100E
    lasted = max(0.0, (ended_at - closed.started_at).total_seconds())
    # The integral of rate * 2^-((end - s) / half_life) over the interval.
    added = rate * half_life / log(2) * (1 - 0.5 ** (lasted / half_life))
    await _add(conn, closed.account, added, ended_at, half_life)
    await note_changes(conn, [("usage", closed.account)])


async def _add(
    conn: AsyncConnection, account: str, added: float, ended_at: datetime, half_life: float
) -> None:
    await conn.execute(
        insert_into(conn, usage)
        .values(account=account, h100e_seconds=0.0, as_of=ended_at)
        .on_conflict_do_nothing()
    )
    row = (
        await conn.execute(
            select(usage.c.h100e_seconds, usage.c.as_of)
            .where(usage.c.account == account)
            .with_for_update()
        )
    ).one()
    # Reports arrive out of order: whichever of the two is older fades to the other's instant.
    as_of = max(row.as_of, ended_at)
    kept = row.h100e_seconds * 0.5 ** ((as_of - row.as_of).total_seconds() / half_life)
    faded = added * 0.5 ** ((as_of - ended_at).total_seconds() / half_life)
    await conn.execute(
        update(usage)
        .where(usage.c.account == account)
        .values(h100e_seconds=kept + faded, as_of=as_of)
    )
