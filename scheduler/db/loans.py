"""Loans: recorded with the lease of a borrowed run, read back with the interval it is charged for.

Who lends is worked out from what is in use in the transaction that stores the lease, and by the
policy that planned it; the row keeps it, so a later policy changes nothing that was.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.ledger import Loan
from scheduler.core.lenders import Parties, Party, PoolLending
from scheduler.core.model import (
    AccountName,
    AgreementId,
    PoolId,
    QuotaClass,
    Run,
    RunId,
    Sector,
    StopReason,
    Tier,
)
from scheduler.core.policy import Policy
from scheduler.db.ledger_tables import loans
from scheduler.db.tables import job_events, jobs, runs, usage_intervals

_AT_ONCE = 1_000  # some 30 ms of work, during which nobody else is served
_OPEN = (~runs.c.acknowledged, runs.c.ended_at.is_(None), ~runs.c.draining)
_Sums = Mapping[str, dict[AccountName, int]]


async def record(conn: AsyncConnection, leased: Sequence[Run], policy: Policy) -> None:
    """Keep whose GPUs the borrowed ones of these new runs have; to be called once."""
    borrowing = {run.pool for run in leased if run.quota_class is QuotaClass.BORROWED}
    if not borrowing:
        return
    used, lent = await _used(conn, borrowing), await _lent(conn, borrowing)
    for run in leased:  # they are stored already, and are counted one after the other
        if run.quota_class is not QuotaClass.BACKGROUND and run.pool in borrowing:
            used[run.pool][run.account] -= run.gpus
    tables = {
        pool.id: PoolLending(policy, pool, used[pool.id], lent[pool.id])
        for pool in policy.pools
        if pool.id in borrowing
    }
    tiers = {pool.id: pool.tier for pool in policy.pools}
    parties = Parties(policy)
    rows = [
        {**row, "tier": tiers[run.pool].value}
        for run in leased
        if run.pool in tables
        for row in _rows(run, tables[run.pool], parties)
    ]
    await conn.execute(insert(loans), rows)


def _rows(run: Run, table: PoolLending, parties: Parties) -> list[dict[str, Any]]:
    """Return the loans of a run that starts now; count it also where it has none."""
    if run.quota_class is QuotaClass.IN_QUOTA:
        table.use(run.account, run.gpus)
    if run.quota_class is not QuotaClass.BORROWED:
        return []
    borrower = _columns("borrower", parties.party(run.account))
    return [
        {
            "run_id": run.id,
            "gpus": part.gpus,
            **_columns("lender", parties.party(part.lender)),
            **borrower,
        }
        for part in table.lend(run.account, run.gpus, run.agreement)
    ]


def _columns(role: str, party: Party) -> dict[str, str]:
    return {
        role: party.account,
        f"{role}_institution": party.institution,
        f"{role}_sector": party.sector.value,
    }


async def _used(conn: AsyncConnection, pools: Collection[PoolId]) -> _Sums:
    query = (
        select(runs.c.pool, jobs.c.account, func.sum(runs.c.gpus))
        .join(jobs, jobs.c.id == runs.c.job_id)
        .where(*_OPEN, runs.c.pool.in_(sorted(pools)))
        .where(runs.c.quota_class != QuotaClass.BACKGROUND.value)
        .group_by(runs.c.pool, jobs.c.account)
    )
    return await _sums(conn, query)


async def _lent(conn: AsyncConnection, pools: Collection[PoolId]) -> _Sums:
    query = (
        select(runs.c.pool, loans.c.lender, func.sum(loans.c.gpus))
        .join(runs, runs.c.id == loans.c.run_id)
        .where(*_OPEN, runs.c.pool.in_(sorted(pools)))
        .group_by(runs.c.pool, loans.c.lender)
    )
    return await _sums(conn, query)


async def _sums(conn: AsyncConnection, query: Select[str, str, int]) -> _Sums:
    found: defaultdict[str, dict[AccountName, int]] = defaultdict(lambda: defaultdict(int))
    for pool, account, gpus in await conn.execute(query):
        found[pool][AccountName(account)] = int(gpus)
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which loans: charged for between two times; `accounts` None is everybody's.

    Else only those where one of these accounts lends or borrows.
    """

    since: datetime
    until: datetime
    accounts: Collection[str] | None = None


async def each_loan(conn: AsyncConnection, wanted: Wanted) -> AsyncIterator[Loan]:
    """Yield loans, the oldest first; a long history is never held in memory whole."""
    async with conn.stream(_loans(wanted).order_by(loans.c.id)) as rows:
        async for page in rows.partitions(_AT_ONCE):
            for row in page:
                yield _loan(row)


async def some_loans(
    conn: AsyncConnection, wanted: Wanted, before: int | None, limit: int
) -> Sequence[Loan]:
    """Return loans, the newest first, of those with a lower id than `before`."""
    query = _loans(wanted).order_by(loans.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(loans.c.id < before)
    return [_loan(row) for row in await conn.execute(query)]


def _loans(wanted: Wanted) -> Select[Any]:
    times = usage_intervals.c
    recalled = (
        select(func.min(job_events.c.at))
        .where(
            job_events.c.job_id == runs.c.job_id,
            job_events.c.run_id == runs.c.id,
            job_events.c.event == StopReason.RECALLED.value,
        )
        .scalar_subquery()
    )
    columns = (times.pool, times.factor, times.started_at, times.ended_at, runs.c.agreement)
    query = (
        select(loans, *columns, runs.c.simulated, recalled.label("recalled_at"))
        .join(runs, runs.c.id == loans.c.run_id)
        .join(usage_intervals, times.run_id == loans.c.run_id)
        .where(times.started_at < wanted.until)
        .where(or_(times.ended_at.is_(None), times.ended_at > wanted.since))
    )
    if wanted.accounts is None:
        return query
    own = sorted(wanted.accounts)
    return query.where(or_(loans.c.lender.in_(own), loans.c.borrower.in_(own)))


def _loan(row: Row[Any]) -> Loan:
    agreement = None if row.agreement is None else AgreementId(row.agreement)
    return Loan(
        id=row.id,
        run=RunId(row.run_id),
        lender=_party(row.lender, row.lender_institution, row.lender_sector),
        borrower=_party(row.borrower, row.borrower_institution, row.borrower_sector),
        pool=PoolId(row.pool),
        tier=Tier(row.tier),
        gpus=row.gpus,
        factor=row.factor,
        agreement=agreement,
        started_at=row.started_at,
        ended_at=row.ended_at,
        recalled_at=row.recalled_at,
        is_simulated=bool(row.simulated),
    )


def _party(account: str, institution: str, sector: str) -> Party:
    return Party(AccountName(account), AccountName(institution), Sector(sector))
