"""Usage: an interval per lease, closed once, and a decayed balance per account (R3).

The balance is `(value, as_of)` and is brought forward when a lease is settled. Nothing
ticks, and intervals are never changed afterwards, so any bill can be worked out anew.
"""

from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core import metering
from scheduler.core.model import AccountName, QuotaClass, Usage
from scheduler.db.engine import insert_into
from scheduler.db.outbox import note_changes
from scheduler.db.policies import policy_in_force
from scheduler.db.rows import RunRow
from scheduler.db.tables import usage, usage_intervals

# A balance of nothing is true at any time.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


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
    half_life = (await policy_in_force(conn)).rules.half_life
    lease = (closed.gpus, closed.factor, closed.started_at, ended_at)
    before = await _balance(conn, closed.account)
    after = metering.settle(before, closed.account, lease, half_life)
    stored = {"h100e_seconds": after.h100e_seconds, "as_of": after.as_of}
    await conn.execute(update(usage).where(usage.c.account == closed.account).values(**stored))
    await note_changes(conn, [("usage", closed.account)])


async def _balance(conn: AsyncConnection, account: str) -> Usage:
    """Return the account's balance, locked, so that two settlements add up."""
    zero = insert_into(conn, usage).values(account=account, h100e_seconds=0.0, as_of=_EPOCH)
    await conn.execute(zero.on_conflict_do_nothing())
    query = select(usage).where(usage.c.account == account).with_for_update()
    row = (await conn.execute(query)).one()
    return Usage(AccountName(row.account), row.h100e_seconds, row.as_of)
