"""R6, R12 and R2: what may start while others wait, nobody starves, and the other orders."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.explain import Reason
from scheduler.core.model import QuotaClass
from scheduler.core.ordering import entry
from scheduler.core.plan import plan
from scheduler.core.policy import Backfill, Order, Rules
from scheduler.core.snapshot import DropRun, Put
from scheduler.core.world import World
from tests import build
from tests.build import DAY, HOUR, MINUTE, NOON
from tests.core.small import SHARED, TREE, decide, reasons, started


def one_queue(nodes=2, **rules):
    return build.policy(pools=[build.pool(nodes=nodes)], rules=Rules(**rules))


def waiting_head(gpus=8):
    """hub-1 is busy for an hour; the head wants both nodes, so it waits for that."""
    return [
        build.run("r1", "national", {"hub-1": range(8)}),
        build.job("j1", gpus=gpus, count=2),
    ]


@pytest.mark.parametrize(
    ("backfill", "starts"),
    [(Backfill.STRICT, []), (Backfill.EASY, ["j2"]), (Backfill.HOLDS, ["j2"])],
)
def test_r6_what_starts_behind_a_blocked_head(backfill, starts):
    """j2 ends before the head's planned start, j3 would delay it."""
    policy = one_queue(order=Order.FIFO, backfill=backfill)
    jobs = [
        build.job("j2", gpus=4, time_limit=HOUR),
        build.job("j3", gpus=4, time_limit=2 * HOUR),
    ]
    scene = build.snapshot(build.nodes(), waiting_head(), jobs)
    assert started(decide(policy, scene)) == starts


@pytest.mark.parametrize("order", list(Order))
def test_r6_strictly_in_order_the_first_may_borrow_what_its_own_quota_does_not_give(order):
    """The in-quota pass refuses it: that ends the pass and not yet the cycle."""
    policy = replace(SHARED, rules=Rules(order=order, backfill=Backfill.STRICT))
    own = build.run("r1", "a", {"hub-1": range(8)})
    first, second = build.job("j1", "a", gpus=8), build.job("j2", "a", gpus=8)
    result = decide(policy, build.snapshot(build.nodes(), own, first, second))
    assert [(start.job, start.quota_class) for start in result.starts] == [
        ("j1", QuotaClass.BORROWED)
    ]


def test_r6_strictly_in_order_one_that_refuses_recall_ends_the_cycle_for_all_behind_it():
    policy = replace(SHARED, rules=Rules(order=Order.FIFO, backfill=Backfill.STRICT))
    own = build.run("r1", "a", {"hub-1": range(8)})
    first = build.job("j1", "a", gpus=8, preemptible=False)
    result = decide(policy, build.snapshot(build.nodes(), own, first, build.job("j2", "b")))
    assert started(result) == []
    assert reasons(result, "j1") == {"hub": Reason.NOT_PREEMPTIBLE}
    assert reasons(result, "j2") == {None: Reason.STRICT_ORDER}


def test_r6_easy_plans_a_start_for_the_first_blocked_job_alone():
    policy = one_queue(order=Order.FIFO, backfill=Backfill.EASY)
    jobs = [build.job("j2", gpus=7, count=2), build.job("j3", gpus=6, count=2)]
    result = decide(policy, build.snapshot(build.nodes(), waiting_head(), jobs))
    assert [reserve.job for reserve in result.reserves] == ["j1"]
    assert result.reserves[0].start_at == NOON + HOUR


def test_r6_easy_plans_a_start_for_a_head_whose_own_account_fills_the_pool():
    """All it may borrow is what the pool has: its own run is what its gang waits for."""
    rows = [build.quota(name, 0, borrow=16) for name in ("a", "b")]
    rules = Rules(order=Order.FIFO, backfill=Backfill.EASY, share_preemption=False)
    policy = build.policy(TREE, [build.pool(nodes=2)], rows, rules=rules)
    busy = build.run("r1", "a", {"hub-1": range(8)}, quota_class=QuotaClass.BORROWED)
    jobs = [
        build.job("j1", "a", 8, 2),
        build.job("j2", "b", 8, time_limit=2 * HOUR),
        build.job("j3", "b", 8, time_limit=HOUR),
    ]
    result = decide(policy, build.snapshot(build.nodes(), busy, jobs))
    assert [(r.job, r.start_at) for r in result.reserves] == [("j1", NOON + HOUR)]
    assert started(result) == ["j3"]


def test_r6_only_so_much_stands_idle_for_planned_starts_but_always_for_the_first():
    """All nodes are half busy; the gangs would keep 8 and 6 of 32 GPUs idle."""
    runs = [build.run(f"r{n}", "national", {f"hub-{n}": range(4)}) for n in range(1, 5)]
    jobs = [build.job("j1", gpus=8, count=2), build.job("j2", gpus=7, count=2)]
    scene = build.snapshot(build.nodes(count=4), runs, jobs)

    def planned(share):
        result = decide(one_queue(4, hold_share=share), scene)
        return [reserve.job for reserve in result.reserves]

    assert planned(0) == ["j1"]
    assert planned(43) == ["j1"]
    assert planned(44) == ["j1", "j2"]


@pytest.mark.parametrize(("least", "planned"), [(1, ["j1"]), (2, ["j1"]), (3, [])])
def test_r6_gangs_below_reserve_nodes_get_no_planned_start(least, planned):
    result = decide(one_queue(reserve_nodes=least), build.snapshot(build.nodes(), waiting_head()))
    assert [reserve.job for reserve in result.reserves] == planned


def test_r12_under_a_steady_load_of_small_jobs_a_gang_starts_in_bounded_time():
    """Small jobs of 2 hours never stop coming; no shape is promised a start but by its age."""
    rows = [build.quota(name, 0, borrow=32) for name in ("a", "b")]
    rules = Rules(reserve_nodes=100, hold_gangs_after=10 * HOUR, share_preemption=False)
    policy = build.policy(TREE, [build.pool(nodes=4)], rows, rules=rules)
    world, now, number = World(policy, build.snapshot(build.nodes(count=4))), NOON, 100
    world.apply(Put(build.run("r1", "b", {"hub-1": [0]}, quota_class=QuotaClass.BORROWED)))
    world.apply(Put(build.job("j1", "a", 8, 4, time_limit=HOUR)))
    held = None
    while now < NOON + 3 * DAY:
        for run in [run for run in world.runs.values() if run.ends_by <= now]:
            world.apply(DropRun(run.id))
        for _ in range(40 - len(world.jobs)):
            number += 1
            limit = timedelta(minutes=30 + number % 90)
            world.apply(Put(build.job(f"j{number}", "b", submitted_at=now, time_limit=limit)))
        result = plan(world, policy, now)
        world.advance(result)
        if any(reserve.job == "j1" for reserve in result.reserves):
            held = held or now
        if "j1" in started(result):
            break
        now += 10 * MINUTE
    assert held is not None
    assert held >= NOON + 10 * HOUR
    assert now - held <= 2 * HOUR + 30 * MINUTE + MINUTE + 10 * MINUTE  # limit, notice, teardown


def shared(**rules):
    rows = [build.quota("a", 8, borrow=8), build.quota("b", 8, borrow=8)]
    return build.policy(TREE, quotas=rows, rules=Rules(order=Order.BALANCED, **rules))


@pytest.mark.parametrize(("hours", "first"), [(47, "j2"), (49, "j1")])
def test_r2_balanced_counts_use_now_as_coming_later(hours, first):
    """`a` holds half of all GPUs: with four days, as if its job had come two days later."""
    busy = build.run("r1", "a", {"hub-1": range(8)}, limit=5 * HOUR)
    jobs = [
        build.job("j1", "a", 8, submitted_at=NOON - hours * HOUR),
        build.job("j2", "b", 8, submitted_at=NOON),
    ]
    policy = build.policy(
        TREE,
        quotas=[build.quota("a", 0, borrow=16), build.quota("b", 0, borrow=16)],
        rules=Rules(order=Order.BALANCED),
    )
    result = decide(policy, build.snapshot(build.nodes(), busy, jobs))
    assert started(result) == [first]


def test_r2_balanced_goes_by_age_whatever_was_used_in_the_past():
    jobs = [
        build.job("j1", "a", 8, 2, submitted_at=NOON - MINUTE),
        build.job("j2", "b", 8, 2, submitted_at=NOON),
    ]
    assert started(decide(shared(), build.snapshot(build.nodes(), jobs))) == ["j1"]


def test_r2_short_first_goes_by_predicted_time_and_starves_nobody():
    """An hour shorter counts as `short_first` hours of age; a day of waiting outweighs it."""
    policy = one_queue(short_first=4)
    long = build.job("j1", gpus=8, count=2, predicted=3 * HOUR)
    short = build.job("j2", gpus=8, count=2, predicted=HOUR)
    assert started(decide(policy, build.snapshot(build.nodes(), [long, short]))) == ["j2"]
    old = build.job("j1", gpus=8, count=2, predicted=3 * HOUR, submitted_at=NOON - DAY)
    assert started(decide(policy, build.snapshot(build.nodes(), [old, short]))) == ["j1"]
    plain = build.snapshot(build.nodes(), [long, short])
    assert started(decide(one_queue(), plain)) == ["j1"]


@given(
    run_times=st.lists(st.timedeltas(MINUTE, 3650 * DAY), min_size=2, max_size=9),
    most=st.timedeltas(MINUTE, 30 * DAY),
)
def test_r2_nobody_is_overtaken_by_short_work_that_comes_later_than_the_bound(run_times, most):
    """However long it is predicted to run; and the shorter of two goes no later than the other."""
    rules = Rules(short_first=1000, short_first_max=most)
    jobs = [build.job(f"j{n}", predicted=time) for n, time in enumerate(sorted(run_times))]
    handicaps = [entry(job, rules)[1] - job.submitted_at for job in jobs]
    assert handicaps == sorted(handicaps)
    assert all(timedelta(0) <= handicap < most for handicap in handicaps)
