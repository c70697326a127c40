"""R4: what is spent, plus what runs may use up to their limits, plus the job: within budget."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.core.explain import Reason
from scheduler.core.model import BudgetId, PriorityClass, QuotaClass, RunState
from scheduler.core.snapshot import Claim, Spent
from tests import build
from tests.build import HOUR, NOON
from tests.core.small import TREE, decide, reasons, started

TEAMS = [build.account("national", None), build.account("a"), build.account("a1", "a")]


def rich(*budgets, accounts=TEAMS, **more):
    """A hub of 16 H100 where budgets alone limit what starts."""
    names = [a.name for a in accounts if a.parent]
    rows = [build.quota(name, 16) for name in names[:1]] + [
        build.quota(name, 16 if name == "a1" else 0, borrow=16) for name in names[1:]
    ]
    return build.policy(accounts, quotas=rows, budgets=budgets, **more)


def spent(name, hours):
    grant = BudgetId(name)
    return {grant: Spent(grant, hours * 3600)}


@pytest.mark.parametrize("who", ["a1", "a", "national"])
@pytest.mark.parametrize(("hours", "starts"), [(8, ["j1"]), (7, [])])
def test_r4_a_start_is_within_the_budget_of_its_account_and_of_each_above(who, hours, starts):
    policy = rich(build.budget("grant", who, hours))
    assert started(decide(policy, build.snapshot(build.nodes(), build.job("j1", "a1", 8)))) == (
        starts
    )


def test_r4_what_runs_may_still_use_and_what_is_spent_count():
    """8 spent + 8 of a run to its limit + 4 of the job = 20."""
    run = build.run("r1", "a1", {"hub-1": range(4)}, limit=2 * HOUR)
    for hours, starts in ((20, ["j1"]), (19, [])):
        policy = rich(build.budget("grant", "a", hours))
        scene = build.snapshot(build.nodes(), run, build.job("j1", "a1", 4))
        assert started(decide(policy, replace(scene, spent=spent("grant", 8)))) == starts


def test_r4_the_verdict_names_the_budget_and_its_numbers():
    policy = rich(build.budget("grant", "a", 10))
    scene = build.snapshot(build.nodes(), build.job("j1", "a1", 8))
    result = decide(policy, replace(scene, spent=spent("grant", 4)))
    (hold,) = result.holds
    (verdict,) = [v for v in hold.verdicts if v.reason is Reason.BUDGET]
    numbers = dict(verdict.numbers)
    assert (numbers["budget"], numbers["account"]) == ("grant", "a")
    assert (numbers["left"], numbers["limit"]) == (6, 10)


def test_r4_a_shorter_job_behind_one_that_is_too_dear_starts():
    """The same shape, two hours and one: the budget covers eight GPU-hours."""
    policy = rich(build.budget("grant", "a", 8))
    jobs = [
        build.job("j1", "a1", 8, time_limit=2 * HOUR),
        build.job("j2", "a1", 8, time_limit=HOUR),
        build.job("j3", "a1", 8, time_limit=HOUR),
    ]
    result = decide(policy, build.snapshot(build.nodes(), jobs))
    assert started(result) == ["j2"]
    assert set(reasons(result, "j1").values()) == {Reason.BUDGET}
    assert [r.job for r in result.reserves] == []


def test_r4_background_work_is_not_charged_and_starts_when_all_is_spent():
    policy = rich(build.budget("grant", "a", 8))
    idle = build.run("r1", "a1", {"hub-1": range(4)}, quota_class=QuotaClass.BACKGROUND)
    jobs = [
        build.job("j1", "a1", 4, priority=PriorityClass.BACKGROUND, time_limit=100 * HOUR),
        build.job("j2", "a1", 8),
    ]
    result = decide(policy, build.snapshot(build.nodes(), idle, jobs))
    assert started(result) == ["j2", "j1"]
    none = build.snapshot(build.nodes(), jobs[0])
    assert started(decide(policy, replace(none, spent=spent("grant", 8)))) == ["j1"]


def test_r4_a_reservation_costs_its_budget_used_or_not():
    """8 GPUs for an hour are set aside: of 12 hours 4 are left."""
    later = build.reservation("demo", "a1", starts_at=NOON + 5 * HOUR, ends_at=NOON + 6 * HOUR)
    policy = rich(build.budget("grant", "a", 12), reservations=(later,))
    for gpus, starts in ((4, ["j1"]), (5, [])):
        scene = build.snapshot(build.nodes(), build.job("j1", "a1", gpus))
        assert started(decide(policy, scene)) == starts


def test_r4_a_budget_counts_only_between_its_dates_and_for_its_own_subtree():
    over = build.budget("grant", "a", 1, valid_from=NOON - 2 * HOUR, valid_to=NOON)
    other = build.budget("other", "b", 1)
    policy = rich(over, other, accounts=[*TEAMS, TREE[2]])
    assert started(decide(policy, build.snapshot(build.nodes(), build.job("j1", "a1", 8)))) == [
        "j1"
    ]


def test_r4_dearer_hardware_costs_more():
    """R15: an A100 costs 0.315 of an H100: 8 for an hour are 2.52 H100e-hours."""
    for hours, starts in ((3, ["j1"]), (2, [])):
        policy = rich(build.budget("grant", "a", hours), pools=(build.pool(gpu_model="A100"),))
        scene = build.snapshot(build.nodes(), build.job("j1", "a1", 8))
        assert started(decide(policy, scene)) == starts


@pytest.mark.parametrize(("seconds", "starts"), [(0, ["j1"]), (1, [])])
def test_r4_a_budget_is_kept_to_the_second(seconds, starts):
    """An H100 for eight hours is all of the budget; one second more is too much."""
    limit = 8 * HOUR + timedelta(seconds=seconds)
    job = build.job("j1", "a1", 1, time_limit=limit)
    scene = build.snapshot(build.nodes(), job)
    assert started(decide(rich(build.budget("grant", "a", 8)), scene)) == starts


@pytest.mark.parametrize(("hours", "starts"), [(8, ["j1"]), (7, [])])
def test_r4_a_run_that_was_told_to_end_counts_until_then(hours, starts):
    """4 of the run in the half hour that it has left, and not 8 to its limit; 4 of the job."""
    told = {"stop_at": NOON + HOUR / 2, "draining": True, "state": RunState.STOPPING}
    run = build.run("r1", "a1", {"hub-1": range(8)}, **told)
    policy = rich(build.budget("grant", "a", hours))
    scene = build.snapshot(build.nodes(), run, build.job("j1", "a1", 4))
    assert started(decide(policy, scene)) == starts


@pytest.mark.parametrize("payer", ["a1", "a", "national"])
@pytest.mark.parametrize(("hours", "starts"), [(20, ["j1"]), (19, [])])
def test_r4_r7_what_runs_in_a_reservation_is_paid_for_once_by_whoever_is_above(
    payer, hours, starts
):
    """16 of the reservation, in which a run has 8 GPUs; 4 of the job beside it."""
    kept = build.reservation("demo", "a1", 2, nodes=frozenset({"hub-1", "hub-2"}))
    run = build.run("r1", "a1", {"hub-1": range(8)}, reservation=kept.id)
    policy = rich(
        build.budget("grant", payer, hours), pools=[build.pool(nodes=3)], reservations=(kept,)
    )
    scene = build.snapshot(build.nodes(count=3), run, build.job("j1", "a1", 4))
    claimed = {kept.id: Claim(kept.id, NOON)}
    assert started(decide(policy, replace(scene, claims=claimed))) == starts
