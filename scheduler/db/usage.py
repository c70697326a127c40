"""Usage: an interval per lease, closed once; a decayed balance per account (R3); budgets (R4).

The balance is `(value, as_of)` and is brought forward when a lease is settled. Nothing
ticks, and intervals are never changed afterwards, so any bill can be worked out anew.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core import metering
from scheduler.core.metering import EndedLease
from scheduler.core.model import AccountName, QuotaClass
from scheduler.core.snapshot import Usage
from scheduler.db import budgets
from scheduler.db.engine import insert_into
from scheduler.db.outbox import note_changes
from scheduler.db.policies import policy_in_force
from scheduler.db.rows import RunRow
from scheduler.db.tables import jobs, usage, usage_intervals

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
    """Close a lease's interval and add it to its account's balance and budgets, exactly once.

    A second call finds the interval closed and does nothing. Background work is metered
    and not charged (R2), and a run of a reservation is charged as the reservation (R7).
    """
    closed = await _close(conn, run, ended_at)
    if closed is None or run.quota_class is QuotaClass.BACKGROUND or await _is_paid(conn, run):
        return
    await budgets.take_turn(conn)
    policy = await policy_in_force(conn)
    await _add_to_balance(conn, closed, policy.rules.half_life)
    ended = EndedLease(
        closed.account, closed.gpus, closed.factor, run.leased_at, closed.started_at, ended_at
    )
    await budgets.spend(conn, policy, ended)


async def _close(conn: AsyncConnection, run: RunRow, ended_at: datetime) -> Row[Any] | None:
    return (
        await conn.execute(
            update(usage_intervals)
            .where(usage_intervals.c.run_id == run.id, usage_intervals.c.ended_at.is_(None))
            .values(ended_at=ended_at)
            .returning(
                usage_intervals.c.account,
                usage_intervals.c.gpus,
                usage_intervals.c.factor,
                usage_intervals.c.started_at,
                usage_intervals.c.ended_at,
            )
        )
    ).one_or_none()


async def _is_paid(conn: AsyncConnection, run: RunRow) -> bool:
    query = select(jobs.c.reservation).where(jobs.c.id == run.job_id)
    return (await conn.execute(query)).scalar_one() is not None


async def _add_to_balance(conn: AsyncConnection, closed: Row[Any], half_life: timedelta) -> None:
    lease = (closed.gpus, closed.factor, closed.started_at, closed.ended_at)
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
