"""What ended leases are added to: budgets of their account's chain, once (R4); claims (R7)."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from scheduler.core import metering
from scheduler.core.metering import EndedLease
from scheduler.core.snapshot import Claim, Spent
from scheduler.db.planning import load_snapshot
from scheduler.db.tables import outbox, usage
from tests import build
from tests.build import HOUR, MINUTE, NOON
from tests.db.small_hub import POLICY, RESERVATION, RESERVED, Hub, budget
from tests.db.store import put_in_force

EMPTY = {"all": Spent("all", 0), "own": Spent("own", 0)}


async def spent(hub):
    async with hub.db.reading() as conn:
        snapshot = await load_snapshot(conn, hub.policy)
    assert (await hub.look()).snapshot().spent == snapshot.spent
    return dict(snapshot.spent)


async def a_lease(hub, minutes=10, *, background=False):
    """Let a job of `own` hold two GPUs for so long and succeed."""
    await hub.submit(("own", 2, background))
    await hub.turn()
    await hub.tell(0)
    await hub.wait(minutes)
    await _end(hub)


async def _end(hub):
    await hub.tell(0)
    await hub.tell(0)
    await hub.sync()


@pytest.fixture
async def hub(db):
    hub = Hub(db)
    await hub.begin()
    return hub


async def test_an_ended_lease_is_spent_of_every_budget_above_its_account(hub):
    assert await spent(hub) == EMPTY
    await a_lease(hub)
    assert await spent(hub) == {"all": Spent("all", 1200), "own": Spent("own", 1200)}
    async with hub.db.reading() as conn:
        assert not {row.kind for row in await conn.execute(select(outbox))} & {"spent"}


async def test_background_work_is_spent_of_no_budget(hub):
    await a_lease(hub, background=True)
    assert await spent(hub) == EMPTY


async def test_a_lease_counts_by_when_it_began_and_then_wholly(hub):
    await hub.apply(replace(POLICY, budgets=(budget("brief", "own", days=1 / 24),)))
    await hub.wait(55)
    await hub.nodes_report()
    await a_lease(hub, minutes=20)
    assert await spent(hub) == {"brief": Spent("brief", 2400)}
    await a_lease(hub)
    assert await spent(hub) == {"brief": Spent("brief", 2400)}


async def test_another_policy_finds_what_its_budgets_would_have_spent(hub):
    await a_lease(hub)
    guests = replace(POLICY, budgets=(budget("guests", "guest"), budget("mine", "own")))
    await hub.apply(guests)
    assert await spent(hub) == {"guests": Spent("guests", 0), "mine": Spent("mine", 1200)}
    moved = [
        replace(each, parent="guest") if each.name == "own" else each for each in POLICY.accounts
    ]
    await hub.apply(replace(guests, accounts=tuple(moved)))
    assert (await spent(hub))["guests"] == Spent("guests", 1200)


async def test_runs_of_a_reservation_are_paid_for_by_it_and_claim_it(db):
    hub = Hub(db, RESERVED)
    await hub.begin()
    await hub.wait(20)
    await hub.nodes_report()
    first = hub.now
    await hub.come(2)
    await hub.turn()
    async with db.reading() as conn:
        assert "claim" in {row.kind for row in await conn.execute(select(outbox))}
    await hub.tell(0)
    await hub.wait(5)
    await _end(hub)
    await hub.come(1)
    await hub.turn()
    snapshot = (await hub.look()).snapshot()
    assert len(snapshot.runs) == 1
    assert snapshot.claims == {RESERVATION.id: Claim(RESERVATION.id, first)}
    assert await spent(hub) == EMPTY
    async with db.reading() as conn:
        assert (await conn.execute(select(usage))).all() == []
        assert (await load_snapshot(conn, RESERVED)).claims == snapshot.claims


async def test_a_claim_of_an_earlier_reservation_of_the_same_name_does_not_count(db):
    hub = Hub(db, RESERVED)
    await hub.begin()
    await hub.wait(20)
    await hub.nodes_report()
    await hub.come(2)
    await hub.turn()
    next_week = replace(
        RESERVATION,
        starts_at=RESERVATION.starts_at + timedelta(days=7),
        ends_at=RESERVATION.ends_at + timedelta(days=7),
    )
    await hub.apply(replace(RESERVED, reservations=(next_week,)))
    assert (await hub.look()).claims == {}
    await hub.apply(RESERVED)
    assert set((await hub.look()).claims) == {RESERVATION.id}


async def test_a_lease_that_ends_while_a_policy_is_applied_is_counted_once(hub):
    """The two take turns, in whatever order they come."""
    for number in range(4):
        await hub.submit(("own", 1, False))
        await hub.turn()
        await hub.tell(0)
        await hub.wait(1)
        await hub.well(0)
        await hub.well(0)
        other = replace(POLICY, budgets=(budget(f"mine{number}", "own"),))

        async def apply(other=other):
            async with hub.db.transaction() as conn:
                await put_in_force(conn, other)

        await asyncio.gather(hub.sync(), apply())
        hub.policy, hub.world = other, None
        assert await spent(hub) == {f"mine{number}": Spent(f"mine{number}", 60 * (number + 1))}


LEASES = st.builds(
    EndedLease,
    st.sampled_from(["own", "guest", "gone"]),
    st.integers(1, 8),
    st.integers(1, 3000),
    st.integers(-90, 90).map(lambda minutes: NOON + MINUTE * minutes),
    st.just(NOON),
    st.integers(-5, 10_000_000).map(lambda ms: NOON + timedelta(milliseconds=ms)),
)
BUDGETS = (budget("all", "national"), replace(budget("own", "own"), valid_to=NOON + HOUR))
TREE = build.policy(
    [build.account("national", None), build.account("own"), build.account("guest")],
    budgets=BUDGETS,
)


@given(leases=st.lists(LEASES, max_size=8), cut=st.integers(0, 8))
def test_use_of_budgets_is_the_same_in_whatever_order_and_parts_it_is_added(leases, cut):
    """R4: exact, so totals that were brought forward equal totals worked out anew."""
    whole = metering.budget_use(TREE, leases)
    parts = [
        metering.budget_use(TREE, some) for some in (reversed(leases[cut:]), reversed(leases[:cut]))
    ]
    names = {name for part in parts for name in part}
    assert whole == {name: sum(part.get(name, 0) for part in parts) for name in names}


def test_what_is_spent_is_rounded_up_so_that_no_budget_is_exceeded():
    assert metering.spent("b", 1001) == Spent("b", 2)
    assert metering.spent("b", 1000) == Spent("b", 1)
