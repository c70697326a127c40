"""Whose GPUs borrowed runs had is kept with them, on both databases (R1, R10)."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from scheduler.core.ledger import NANO, By, Sums
from scheduler.core.model import Agreement, AgreementId, PoolId, Sector
from scheduler.db.ledger_tables import loans
from scheduler.db.loans import Wanted, each_loan, some_loans
from tests import build
from tests.build import DAY, MINUTE, NOON
from tests.db.small_hub import POLICY, Hub
from tests.db.test_recalls import leave, lent_out


async def told(db, since=NOON - DAY, until=NOON + DAY, accounts=None):
    async with db.reading() as conn:
        return [one async for one in each_loan(conn, Wanted(since, until, accounts))]


async def test_a_borrowed_run_is_a_loan_from_its_lease_to_its_end(db):
    hub = await lent_out(db)
    recalled_at = hub.now
    await hub.wait(2)
    await leave(hub)
    found = {loan.run: loan for loan in await told(db)}
    assert set(found) == {"cp-j1-1", "cp-j2-1"}
    gone = next(loan for loan in found.values() if loan.ended_at is not None)
    stays = next(loan for loan in found.values() if loan.ended_at is None)
    assert (gone.lender.account, gone.borrower.account, gone.gpus) == ("own", "guest", 2)
    assert (gone.lender.sector, gone.borrower.sector) == (Sector.ACADEMIC, Sector.INDUSTRY)
    assert (gone.recalled_at, stays.recalled_at) == (recalled_at, None)
    assert gone.amount(NOON, hub.now) == 2 * 7 * 60 * NANO


async def test_a_later_policy_with_other_sectors_and_lenders_changes_no_loan(db):
    hub = await lent_out(db)
    before = await told(db)
    moved = replace(
        POLICY,
        accounts=tuple(replace(each, sector=Sector.ALLIED) for each in POLICY.accounts),
        pools=(replace(POLICY.pools[0], tier=build.Tier.TEAM),),
        quotas=(build.quota("own", 0, borrow=4), build.quota("guest", 4)),
    )
    await hub.apply(moved)
    await hub.cycle()
    assert await told(db) == before


async def test_one_run_may_have_gpus_of_several_lenders_and_they_add_up(db):
    accounts = [build.account(name) for name in ("one", "two")]
    policy = replace(
        POLICY,
        accounts=(*POLICY.accounts, *accounts),
        quotas=tuple(
            build.quota(name, nominal, borrow=4)
            for name, nominal in (("guest", 0), ("own", 2), ("one", 1), ("two", 1))
        ),
        budgets=(),
    )
    hub = Hub(db, policy)
    await hub.begin()
    await hub.submit(("guest", 2, False))
    await hub.cycle()
    await hub.submit(("guest", 2, False))
    await hub.cycle()
    parts = {}
    for loan in await told(db, until=hub.now + MINUTE):
        parts.setdefault(loan.run, {})[loan.lender.account] = loan.gpus
    # In proportion to what each left idle, and nothing twice.
    assert parts == {"cp-j1-1": {"one": 1, "own": 1}, "cp-j2-1": {"own": 1, "two": 1}}
    sums = Sums(By.ACCOUNT, NOON, NOON + MINUTE)
    for loan in await told(db):
        sums.add(loan)
    assert sum(one.net for one in sums.balances.values()) == 0


async def test_an_outsiders_loan_is_of_who_signed_the_agreement(db):
    signed = Agreement(
        AgreementId("deal"),
        "own",
        "guest",
        frozenset({PoolId("hub")}),
        4,
        timedelta(minutes=1),
        NOON - DAY,
        NOON + DAY,
    )
    policy = replace(
        POLICY,
        pools=(replace(POLICY.pools[0], owner="own"),),
        quotas=(),
        agreements=(signed,),
        budgets=(),
    )
    hub = Hub(db, policy)
    await hub.begin()
    await hub.submit(("guest", 2, False))
    await hub.cycle()
    (loan,) = await told(db, until=NOON + MINUTE)
    assert (loan.lender.account, loan.agreement, loan.gpus) == ("own", "deal", 2)


async def test_loans_of_some_accounts_of_a_window_and_in_pages(db):
    hub = await lent_out(db)
    assert await told(db, NOON - DAY, NOON) == []
    assert await told(db, accounts=("stranger",)) == []
    assert len(await told(db, accounts=("guest",))) == 2
    async with db.reading() as conn:
        wanted = Wanted(NOON, hub.now)
        (newest,) = await some_loans(conn, wanted, None, 1)
        (older,) = await some_loans(conn, wanted, newest.id, 5)
        stored = (await conn.execute(select(loans.c.id))).scalars().all()
    assert sorted(stored) == [older.id, newest.id]
