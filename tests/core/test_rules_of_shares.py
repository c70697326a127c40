"""R8.1 and R9 between borrowers: who may take GPUs from whom by shares, when, and how often."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.core.model import PoolId, PriorityClass, QuotaClass, StopReason
from scheduler.core.policy import Rules
from scheduler.core.snapshot import Turnover
from tests import build
from tests.build import HOUR, MINUTE, NOON
from tests.core.small import decide, started

BORROWED = {"quota_class": QuotaClass.BORROWED}
LATER = NOON + 90 * MINUTE
"""Runs since NOON have had their least run time, and jobs since NOON have waited an hour."""


def borrowers(weight=1, nominal=0, **rules):
    """Two institutions that borrow from a third, which is idle."""
    tree = [
        build.account("national", None),
        build.account("a", weight=weight),
        build.account("b"),
        build.account("idle"),
    ]
    rows = [
        build.quota("a", nominal, borrow=16),
        build.quota("b", 0, borrow=16),
        build.quota("idle", 16 - nominal),
    ]
    return build.policy(tree, quotas=rows, rules=Rules(**rules))


def eight(number, who="a", since=NOON, **more):
    """Runs of 2 GPUs each, so that 16 are busy with eight of them."""
    return [
        build.run(
            f"r{n}",
            who,
            {f"hub-{1 + n // 4}": range(n % 4 * 2, n % 4 * 2 + 2)},
            since=since,
            limit=50 * HOUR,
            **{**BORROWED, **more},
        )
        for n in range(number)
    ]


def taken(policy, runs, *jobs, now=LATER, **tables):
    scene = replace(build.snapshot(build.nodes(), runs, *jobs), **tables)
    return decide(policy, scene, now)


def test_r8_a_borrower_with_a_smaller_share_takes_from_the_larger():
    result = taken(borrowers(), eight(8), build.job("j1", "b", 2))
    (preempt,) = result.preempts
    assert (preempt.by, preempt.reason) == ("j1", StopReason.SHARES)
    assert "held more of hub per weight than b" in preempt.why
    assert result.starts[0].quota_class is QuotaClass.BORROWED


@pytest.mark.parametrize(("asked", "ends"), [(7, True), (8, False)])
def test_r8_ties_never_preempt(asked, ends):
    """`a` and `idle` hold 8 each; with the job `b` would hold 7, or 8 as they do."""
    runs = [
        build.run(f"r{n}", who, {f"hub-{n}": range(8)}, limit=50 * HOUR, **BORROWED)
        for n, who in ((1, "a"), (2, "idle"))
    ]
    tree = [build.account("national", None), *map(build.account, ("a", "b", "idle"))]
    rows = [build.quota(name, 0, borrow=16) for name in ("a", "b", "idle")]
    result = taken(build.policy(tree, quotas=rows), runs, build.job("j1", "b", asked))
    assert bool(result.preempts) == ends


@pytest.mark.parametrize(("weight", "ends"), [(1, True), (7, True), (8, False), (100, False)])
def test_r8_shares_are_by_weight(weight, ends):
    """16 GPUs / weight against 2 / 1: at 8 they would be alike."""
    result = taken(borrowers(weight), eight(8), build.job("j1", "b", 2))
    assert bool(result.preempts) == ends


def test_r8_a_victims_account_stays_at_or_above_its_nominal():
    """`a` holds 16 with a nominal of 13: one run of 2 may go, a second may not."""
    policy = borrowers(nominal=13)
    assert len(taken(policy, eight(8), build.job("j1", "b", 2)).preempts) == 1
    assert taken(policy, eight(8), build.job("j1", "b", 4)).preempts == ()


def test_r8_a_run_in_quota_is_no_victim_of_a_borrower():
    own = eight(8, quota_class=QuotaClass.IN_QUOTA)
    assert taken(borrowers(), own, build.job("j1", "b", 2)).preempts == ()


def test_r8_background_work_always_makes_way_and_never_takes():
    """Without delay, rate or shares: it is of a lower class."""
    idle = eight(
        8, quota_class=QuotaClass.BACKGROUND, priority=PriorityClass.BACKGROUND, background=True
    )
    policy = borrowers(share_preemption=False)
    result = taken(policy, idle, build.job("j1", "b", 2), now=NOON)
    assert [p.reason for p in result.preempts] == [StopReason.RECALLED]
    back = build.job("j1", "b", 2, priority=PriorityClass.BACKGROUND)
    assert taken(borrowers(), eight(8), back).preempts == ()


def test_r8_shares_move_nothing_where_that_is_turned_off():
    policy = borrowers(share_preemption=False)
    assert taken(policy, eight(8), build.job("j1", "b", 2)).preempts == ()


@pytest.mark.parametrize(("waited", "ends"), [(59, False), (60, True)])
def test_r9_shares_wait_for_preempt_delay(waited, ends):
    job = build.job("j1", "b", 2, submitted_at=LATER - MINUTE * waited)
    assert bool(taken(borrowers(), eight(8), job).preempts) == ends


@pytest.mark.parametrize(("ran", "ends"), [(9, False), (10, True)])
def test_r9_shares_spare_who_has_just_started(ran, ends):
    runs = eight(8, since=LATER - MINUTE * ran)
    assert bool(taken(borrowers(), runs, build.job("j1", "b", 2)).preempts) == ends


def test_r9_a_run_that_this_cycle_started_does_not_end_in_it():
    """Found by the property of rest: without a least run time the plan ended its own start."""
    policy = borrowers(preempt_delay=timedelta(0), min_runtime=timedelta(0))
    jobs = [build.job("j1", "a", 8, 2), build.job("j2", "b", 2)]
    result = taken(policy, [], *jobs)
    assert result.preempts == ()
    assert len(result.starts) == 1


@pytest.mark.parametrize(("before", "moves"), [(0, 2), (1, 1), (2, 0)])
def test_r9_shares_move_a_pool_only_so_fast(before, moves):
    policy = borrowers(preempt_per_hour=2)
    jobs = [build.job(f"j{n}", "b", 2) for n in (1, 2, 3)]
    hub = PoolId("hub")
    moved = {hub: Turnover(hub, LATER - HOUR / 2, before)}
    assert len(taken(policy, eight(8), *jobs, turnovers=moved).preempts) == moves
    long_ago = {hub: Turnover(hub, LATER - HOUR, before)}
    assert len(taken(policy, eight(8), *jobs, turnovers=long_ago).preempts) == 2


@pytest.mark.parametrize(
    ("suffered", "ran", "ends"),
    [
        pytest.param(1, 1, True, id="once is not enough"),
        pytest.param(2, 1, False, id="twice, and an hour after its start"),
        pytest.param(2, 6, True, id="twice, but its immunity is over"),
    ],
)
def test_r9_who_was_preempted_often_is_immune_for_a_time(suffered, ran, ends):
    runs = eight(8, since=LATER - ran * HOUR, preemptions=suffered)
    assert bool(taken(borrowers(), runs, build.job("j1", "b", 2)).preempts) == ends


@pytest.mark.parametrize(("suffered", "ends"), [(1, True), (2, False)])
def test_r8_a_gang_is_wasted_on_a_smaller_job_only_so_often(suffered, ends):
    """Else three borrowers may go round in a circle: see `is_thrifty`."""
    runs = build.run(
        "r1",
        "a",
        {"hub-1": range(8), "hub-2": range(8)},
        limit=50 * HOUR,
        preemptions=suffered,
        **BORROWED,
    )
    policy = borrowers(immune_after=100)
    result = taken(policy, [runs], build.job("j1", "b", 2))
    assert started(result) == (["j1"] if ends else [])
