"""What ended leases have used of each budget (R4), and when reservations were first used (R7).

A total is brought forward in the transaction that closes a lease's interval, once, because
that happens once. Intervals are never changed afterwards, so when another policy comes into
force, with other budgets or another tree, all is worked out anew from them.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core import metering
from scheduler.core.metering import EndedLease
from scheduler.core.model import QuotaClass, ReservationId
from scheduler.core.policy import Policy
from scheduler.db.engine import insert_into
from scheduler.db.outbox import note_changes
from scheduler.db.tables import budget_totals, jobs, reservation_claims, runs, usage_intervals

# Any constant does that no other lock of ours has (`engine`, `supervise`).
_SETTLING_LOCK = 0x636F6D6D03

_CHARGED = (
    select(
        usage_intervals.c.account,
        usage_intervals.c.gpus,
        usage_intervals.c.factor,
        runs.c.leased_at,
        usage_intervals.c.started_at,
        usage_intervals.c.ended_at,
    )
    .join(runs, runs.c.id == usage_intervals.c.run_id)
    .join(jobs, jobs.c.id == runs.c.job_id)
    .where(
        usage_intervals.c.ended_at.is_not(None),
        runs.c.quota_class != QuotaClass.BACKGROUND.value,
        jobs.c.reservation.is_(None),
    )
)


async def take_turn(conn: AsyncConnection) -> None:
    """Settle alone, until the transaction ends.

    Else a policy that is applied meanwhile would count a lease twice or not at all, and
    those who settle leases of several accounts would wait for one another's rows in circles.
    """
    if conn.dialect.name == "postgresql":
        await conn.execute(text(f"SELECT pg_advisory_xact_lock({_SETTLING_LOCK})"))


async def spend(conn: AsyncConnection, policy: Policy, lease: EndedLease) -> None:
    """Add an ended lease to the budgets that it counts in; to be called once, in turn."""
    for budget, amount in sorted(metering.budget_use(policy, [lease]).items()):
        first = insert_into(conn, budget_totals).values(budget=budget, milli_h100e_seconds=amount)
        total = budget_totals.c.milli_h100e_seconds + amount
        await conn.execute(
            first.on_conflict_do_update(
                index_elements=["budget"], set_={"milli_h100e_seconds": total}
            )
        )
        await note_changes(conn, [("spent", budget)])


async def work_out(conn: AsyncConnection, policy: Policy) -> None:
    """Make totals and claims those of this policy, from the leases that there were."""
    await take_turn(conn)
    await conn.execute(delete(budget_totals))
    if policy.budgets:
        used = await _used(conn, policy)
        totals = [
            {"budget": budget.id, "milli_h100e_seconds": used.get(budget.id, 0)}
            for budget in policy.budgets
        ]
        await conn.execute(insert(budget_totals), totals)
    await _work_out_claims(conn, policy)


async def _used(conn: AsyncConnection, policy: Policy) -> dict[str, int]:
    began = min(budget.valid_from for budget in policy.budgets)
    ends = max(budget.valid_to for budget in policy.budgets)
    query = _CHARGED.where(runs.c.leased_at >= began, runs.c.leased_at < ends)
    used: dict[str, int] = {}
    # A long history is not held in memory whole.
    async with conn.stream(query) as rows:
        async for page in rows.partitions(10_000):
            amounts = metering.budget_use(policy, (EndedLease(*row) for row in page))
            for budget, amount in amounts.items():
                used[budget] = used.get(budget, 0) + amount
    return used


async def claim(conn: AsyncConnection, names: Iterable[ReservationId], now: datetime) -> None:
    """Note that jobs of these reservations start now; an earlier start stands (R7)."""
    for name in sorted(names):
        first = insert_into(conn, reservation_claims).values(reservation=name, at=now)
        new = first.on_conflict_do_nothing().returning(reservation_claims.c.reservation)
        noted = (await conn.execute(new)).scalars().all()
        await note_changes(conn, [("claim", each) for each in noted])


async def _work_out_claims(conn: AsyncConnection, policy: Policy) -> None:
    """Find first starts anew: a name may have been another reservation's before."""
    await conn.execute(delete(reservation_claims))
    for row in policy.reservations:
        first = await _first_start(conn, row.id, (row.starts_at, row.ends_at))
        if first is not None:
            await claim(conn, [row.id], first)


async def _first_start(
    conn: AsyncConnection, name: ReservationId, between: Sequence[datetime]
) -> datetime | None:
    query = (
        select(func.min(runs.c.leased_at))
        .join(jobs, jobs.c.id == runs.c.job_id)
        .where(
            jobs.c.reservation == name,
            runs.c.leased_at >= between[0],
            runs.c.leased_at < between[1],
        )
    )
    first: datetime | None = (await conn.execute(query)).scalar_one()
    return first
