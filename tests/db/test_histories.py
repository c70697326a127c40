"""Random histories of one small hub: jobs, cycles, reports late and twice, time that passes.

After each thing that happens the same claims must hold. They are what the tables cannot
say by themselves.
"""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from sqlalchemy import select

from scheduler.core import metering
from scheduler.core.ledger import By, Sums
from scheduler.core.lifecycle import JobState
from scheduler.core.model import QuotaClass
from scheduler.core.snapshot import Claim
from scheduler.db.loans import Wanted, each_loan
from scheduler.db.planning import load_snapshot
from scheduler.db.tables import jobs, lease_gpus, runs, usage, usage_intervals
from tests.build import NOON
from tests.db.small_hub import POLICY, RESERVED, Hub, budget

SECOND = timedelta(seconds=1)
OPEN = {"starting", "running", "stopping"}


async def claims(hub: Hub):
    """Check all that must hold at every moment."""
    world = await hub.look()
    async with hub.db.reading() as conn:
        all_jobs = (await conn.execute(select(jobs))).mappings().all()
        all_runs = (await conn.execute(select(runs))).mappings().all()
        leased = (await conn.execute(select(lease_gpus))).all()
        intervals = (await conn.execute(select(usage_intervals))).all()
        balances = {row.account: row for row in await conn.execute(select(usage))}
        lent = [loan async for loan in each_loan(conn, Wanted(NOON, hub.now))]
        loaded = await load_snapshot(conn, hub.policy)
    open_runs = {run["id"]: run for run in all_runs if run["ended_at"] is None}
    _one_run_per_job(all_jobs, open_runs)
    _no_gpu_twice(leased, open_runs)
    paid = {job["id"] for job in all_jobs if job["reservation"] is not None}
    _settled_once([run for run in all_runs if run["job_id"] not in paid], intervals, balances)
    _spent(hub.policy, all_jobs, all_runs, intervals, loaded)
    _claimed(hub.policy, all_jobs, all_runs, loaded)
    _balanced(all_runs, intervals, lent, hub.now)
    assert world.snapshot() == loaded
    assert len(hub.site.begun) == len(set(hub.site.begun))
    for is_guest in (True, False):
        occupied = Counter(hub.site.occupied(is_guest))
        assert max(occupied.values(), default=1) == 1


def _one_run_per_job(all_jobs, open_runs):
    working = Counter(run["job_id"] for run in open_runs.values())
    assert {job["id"]: int(job["state"] in OPEN) for job in all_jobs} == {
        job["id"]: working[job["id"]] for job in all_jobs
    }


def _no_gpu_twice(leased, open_runs):
    """Leases have two layers, and a GPU one holder in each (R18)."""
    held = Counter((row.node_id, row.gpu, row.guest) for row in leased if not row.draining)
    assert max(held.values(), default=1) == 1
    expected = {
        (run["id"], node, gpu, bool(run["draining"]), run["over"] is not None)
        for run in open_runs.values()
        for node, gpus in run["slots"]
        for gpu in gpus
    }
    assert {
        (row.run_id, row.node_id, row.gpu, bool(row.draining), bool(row.guest)) for row in leased
    } == expected
    for run in open_runs.values():
        if run["over"] is not None:
            host = open_runs[run["over"]]
            assert run["quota_class"] == QuotaClass.BACKGROUND
            assert _gpus(run) <= _gpus(host)


def _gpus(run):
    return {(node, gpu) for node, gpus in run["slots"] for gpu in gpus}


def _balanced(all_runs, intervals, lent, now):
    """Check that what was borrowed was lent by somebody, and that the ledger sums to zero (R1)."""
    gpus = Counter()
    for loan in lent:
        gpus[loan.run] += loan.gpus
        assert (loan.lender.account, loan.borrower.account) == ("own", "guest")
    borrowed = {run["id"]: run["gpus"] for run in all_runs if run["quota_class"] == 2}
    began = {row.run_id for row in intervals if row.started_at < now and row.ended_at != NOON}
    assert gpus == {name: borrowed[name] for name in borrowed if name in began}
    for by in By:
        sums = Sums(by, NOON, now)
        for loan in lent:
            sums.add(loan)
        assert sum(balance.net for balance in sums.balances.values()) == 0


def _settled_once(all_runs, intervals, balances):
    ends = {run["id"]: run["ended_at"] for run in all_runs}
    assert {row.run_id: row.ended_at for row in intervals if row.run_id in ends} == ends
    classes = {run["id"]: run["quota_class"] for run in all_runs}
    for account in ("own", "guest"):
        spent = None
        closed = [row for row in intervals if row.account == account and row.ended_at]
        for row in sorted(closed, key=lambda row: row.ended_at):
            if classes.get(row.run_id, 3) == 3:
                continue  # background, or paid for by a reservation
            lease = (row.gpus, row.factor, row.started_at, row.ended_at)
            spent = metering.settle(spent, account, lease, POLICY.rules.half_life)
        stored = balances[account].h100e_seconds if account in balances else 0.0
        assert stored == pytest.approx(spent.h100e_seconds if spent else 0.0)


def _spent(policy, all_jobs, all_runs, intervals, loaded):
    """Budgets hold what ended leases used, counted once, to the thousandth (R4)."""
    paid = {job["id"] for job in all_jobs if job["reservation"] is not None}
    charged = {
        run["id"]: run for run in all_runs if run["quota_class"] != 3 and run["job_id"] not in paid
    }
    expected = dict.fromkeys((budget.id for budget in policy.budgets), 0)
    for row in intervals:
        run = charged.get(row.run_id)
        if run is None or row.ended_at is None:
            continue
        for each in policy.budgets:
            over = each.account in ("national", row.account)
            if over and each.valid_from <= run["leased_at"] < each.valid_to:
                seconds = (row.ended_at - row.started_at) // SECOND
                expected[each.id] += row.gpus * row.factor * max(0, seconds)
    assert {name: spent.h100e_seconds for name, spent in loaded.spent.items()} == {
        name: -(-amount // 1000) for name, amount in expected.items()
    }


def _claimed(policy, all_jobs, all_runs, loaded):
    """A reservation was first come for when the first run of it was leased (R7)."""
    named = {job["id"]: job["reservation"] for job in all_jobs}
    for row in policy.reservations:
        came = [run["leased_at"] for run in all_runs if named[run["job_id"]] == row.id]
        assert loaded.claims.get(row.id) == (Claim(row.id, min(came)) if came else None)


INDEX = st.integers(0, 7)
ASK = st.tuples(
    st.sampled_from(["own", "guest"]), st.integers(1, 2), st.sampled_from([False, False, True])
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), ASK),
        st.tuples(st.sampled_from(["cycle", "turn", "turn", "turn"]), st.none()),
        st.tuples(st.sampled_from(["orders", "sync", "watch", "nodes_report"]), st.none()),
        st.tuples(st.sampled_from(["well", "ill", "tell", "cancel", "again", "foreign"]), INDEX),
        st.tuples(st.just("wait"), st.sampled_from([1, 3, 11, 45])),
    ),
    max_size=30,
)
LENT_STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["lend", "lend", "take_back"]), INDEX),
        st.tuples(st.sampled_from(["turn", "turn", "orders", "sync", "watch"]), st.none()),
        st.tuples(st.sampled_from(["well", "tell", "tell", "ill", "cancel", "again"]), INDEX),
        st.tuples(st.just("submit"), ASK),
        st.tuples(st.just("submit"), st.tuples(st.just("guest"), st.integers(1, 2), st.just(True))),
        st.tuples(st.just("wait"), st.sampled_from([1, 3, 11, 45])),
    ),
    max_size=30,
)
BUSY = [("submit", ("guest", 2, False)), ("submit", ("guest", 2, False)), ("cycle", None)]


async def _play(db, steps, policy=POLICY):
    hub = Hub(db, policy)
    await hub.begin()
    for what, value in steps:
        note(f"{hub.now:%H:%M} {what} {value}")
        await getattr(hub, what)(value)
        await claims(hub)
    return hub


ONE_DATABASE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=20, deadline=None, suppress_health_check=ONE_DATABASE)
@given(steps=STEPS)
async def test_whatever_happens_the_claims_hold(db, steps):
    await _play(db, [*BUSY, ("orders", None), ("sync", None), *steps])


@settings(max_examples=20, deadline=None, suppress_health_check=ONE_DATABASE)
@given(steps=LENT_STEPS, who=st.sampled_from(["own", "guest"]))
async def test_whatever_is_lent_and_taken_back_the_claims_hold(db, steps, who):
    """R18: never more than one on a GPU in each layer, and what is stored is what was planned."""
    begun = [("submit", (who, 2, False))] * 2 + [("turn", None), ("tell", 0), ("tell", 1)]
    seated = [("lend", 0), ("lend", 1), ("submit", ("guest", 2, True)), ("turn", None)]
    await _play(db, [*begun, *seated, *steps])


OTHERS = [
    POLICY,
    RESERVED,
    replace(RESERVED, budgets=(budget("guests", "guest"), budget("brief", "own", days=0.05))),
]
MORE_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(1, 2)),
        st.tuples(st.just("apply"), st.sampled_from(OTHERS)),
        st.tuples(st.just("wait"), st.sampled_from([1, 3, 11, 45])),
        st.tuples(st.sampled_from(["turn", "watch", "nodes_report"]), st.none()),
        st.tuples(st.sampled_from(["tell", "well", "ill", "cancel"]), INDEX),
        st.tuples(st.just("submit"), ASK),
    ),
    max_size=30,
)


@settings(max_examples=20, deadline=None, suppress_health_check=ONE_DATABASE)
@given(steps=MORE_STEPS)
async def test_budgets_and_reservations_are_kept_through_whatever_policies(db, steps):
    """R4, R7: what was spent and who came is the same however it was added up."""
    await _play(db, [("come", 2), *BUSY, ("orders", None), ("sync", None), *steps], RESERVED)


@settings(max_examples=8, deadline=None, suppress_health_check=ONE_DATABASE)
@given(steps=STEPS)
async def test_after_any_history_every_job_comes_to_an_end(db, steps):
    hub = await _play(db, steps)
    for _ in range(12 * (1 + hub.submitted)):
        if await all_ended(db):
            break
        for what, value in (
            ("nodes_report", None),
            ("cycle", None),
            ("orders", None),
            ("well", 0),
            ("sync", None),
            ("wait", 1),
            ("watch", None),
        ):
            await getattr(hub, what)(value)
    await claims(hub)
    assert await all_ended(db)


async def all_ended(db):
    async with db.reading() as conn:
        states = (await conn.execute(select(jobs.c.state))).scalars().all()
    return all(JobState(state).is_terminal for state in states)
