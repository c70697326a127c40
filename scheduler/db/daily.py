"""Leases as daily usage looks at them, and what running ones are committed to of budgets."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.budgets import cost
from scheduler.core.daily import Lease
from scheduler.core.lenders import Parties
from scheduler.core.model import AccountName, BudgetId, QuotaClass
from scheduler.core.policy import Policy
from scheduler.db.tables import budget_totals, jobs, runs, usage_intervals

_AT_ONCE = 1_000  # some 15 ms of work, during which nobody else is served


def _leases() -> Select[Any]:
    times = usage_intervals.c
    return (
        select(
            times.account,
            times.gpus,
            times.factor,
            runs.c.quota_class,
            jobs.c.reservation.is_not(None).label("is_paid"),
            runs.c.leased_at,
            times.started_at,
            times.ended_at,
        )
        .join(runs, runs.c.id == times.run_id)
        .join(jobs, jobs.c.id == runs.c.job_id)
    )


async def leases_between(
    conn: AsyncConnection, since: datetime, until: datetime
) -> AsyncIterator[Lease]:
    """Yield the leases that had GPUs between two times, in any order; never all in memory."""
    times = usage_intervals.c
    query = _leases().where(
        times.started_at < until, or_(times.ended_at.is_(None), times.ended_at > since)
    )
    async with conn.stream(query) as rows:
        async for page in rows.partitions(_AT_ONCE):
            for row in page:
                yield Lease(
                    account=AccountName(row.account),
                    gpus=row.gpus,
                    factor=row.factor,
                    quota_class=QuotaClass(row.quota_class),
                    is_paid=bool(row.is_paid),
                    leased_at=row.leased_at,
                    since=row.started_at,
                    until=row.ended_at,
                )


async def used_of_budgets(conn: AsyncConnection) -> dict[BudgetId, int]:
    """Return what ended leases used of each budget, in thousandths of an H100e-second (R4)."""
    query = select(budget_totals.c.budget, budget_totals.c.milli_h100e_seconds)
    return {BudgetId(row[0]): int(row[1]) for row in await conn.execute(query)}


async def committed_of_budgets(conn: AsyncConnection, policy: Policy) -> dict[BudgetId, int]:
    """Return what runs that hold GPUs may use of each budget up to their limits, as above (R4)."""
    parties = Parties(policy)
    query = (
        _leases()
        .add_columns(runs.c.ends_by, runs.c.stop_at)
        .where(~runs.c.acknowledged, runs.c.ended_at.is_(None))
        .where(runs.c.quota_class != QuotaClass.BACKGROUND.value, jobs.c.reservation.is_(None))
    )
    found: dict[BudgetId, int] = {}
    for row in await conn.execute(query) if policy.budgets else ():
        chain = parties.chain(AccountName(row.account))
        ends = row.ends_by if row.stop_at is None else min(row.ends_by, row.stop_at)
        amount = cost(row.gpus, row.factor, ends - row.leased_at)
        for budget in policy.budgets:
            if budget.account in chain and budget.valid_from <= row.leased_at < budget.valid_to:
                found[budget.id] = found.get(budget.id, 0) + amount
    return found
