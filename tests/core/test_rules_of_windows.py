"""R7: nodes kept for a reservation or for maintenance, from one time to another."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.core.explain import Reason
from scheduler.core.model import AccountName, NodeId, ReservationId, StopReason
from scheduler.core.plan import plan
from scheduler.core.snapshot import Claim
from scheduler.core.world import World
from tests import build
from tests.build import HOUR, MINUTE, NOON
from tests.core.small import HALVES, TREE, decide, reasons, started

DEMO = ReservationId("demo")
LATER = {"starts_at": NOON + 2 * HOUR, "ends_at": NOON + 4 * HOUR}


def kept(*rows, **more):
    return build.policy(TREE, quotas=HALVES, reservations=rows, **more)


def where(result):
    return {start.job: [slot.node for slot in start.slots] for start in result.starts}


def test_r7_nothing_starts_that_would_run_into_a_window():
    """hub-1 is kept in two hours: three hours fit on hub-2 alone, an hour fits before it."""
    policy = kept(build.reservation("demo", "a", **LATER))
    long = [build.job(f"j{n}", "b", 8, time_limit=3 * HOUR) for n in (1, 2)]
    result = decide(policy, build.snapshot(build.nodes(), long))
    assert where(result) == {"j1": ["hub-2"]}
    short = [build.job(f"j{n}", "b", 8, time_limit=2 * HOUR) for n in (1, 2)]
    assert len(decide(policy, build.snapshot(build.nodes(), short)).starts) == 2


@pytest.mark.parametrize(
    ("who", "reason"), [("a", Reason.RESERVED_WINDOW), (None, Reason.MAINTENANCE)]
)
def test_r7_the_verdict_names_the_window(who, reason):
    policy = kept(build.reservation("demo", who, 2, **LATER))
    job = build.job("j1", "b", 8, time_limit=3 * HOUR)
    assert reasons(decide(policy, build.snapshot(build.nodes(), job)), "j1") == {"hub": reason}


def test_r7_jobs_of_a_reservation_run_on_its_nodes_alone():
    """Both want 8; the reservation has hub-1 now, and nobody else may use it."""
    policy = kept(build.reservation("demo", "a", ends_at=NOON + 4 * HOUR))
    jobs = [
        build.job("j1", "a", 8, reservation=DEMO),
        build.job("j2", "a", 8, reservation=DEMO),
        build.job("j3", "b", 8),
        build.job("j4", "b", 8),
    ]
    result = decide(policy, build.snapshot(build.nodes(), jobs))
    assert where(result) == {"j1": ["hub-1"], "j3": ["hub-2"]}


@pytest.mark.parametrize(
    ("now", "limit", "starts"),
    [
        pytest.param(NOON - MINUTE, HOUR, [], id="not before it opens"),
        pytest.param(NOON, HOUR, ["j1"], id="from its start to its end"),
        pytest.param(NOON, HOUR + MINUTE, [], id="not beyond its end"),
        pytest.param(NOON + 10 * MINUTE, HOUR, [], id="not when too little is left"),
        pytest.param(NOON + HOUR, MINUTE, [], id="not after it"),
    ],
)
def test_r7_jobs_of_a_reservation_start_and_end_inside(now, limit, starts):
    policy = kept(build.reservation("demo", "a"))
    job = build.job("j1", "a", 8, time_limit=limit, reservation=DEMO, submitted_at=NOON - HOUR)
    assert started(decide(policy, build.snapshot(build.nodes(), job), now)) == starts


def test_r7_a_reservation_that_nobody_comes_to_is_released_and_a_claimed_one_is_not():
    policy = kept(build.reservation("demo", "a", 2, ends_at=NOON + 4 * HOUR))
    scene = build.snapshot(build.nodes(), build.job("j1", "b", 8))
    assert started(decide(policy, scene, NOON + 29 * MINUTE)) == []
    assert started(decide(policy, scene, NOON + 30 * MINUTE)) == ["j1"]
    claimed = replace(scene, claims={DEMO: Claim(DEMO, NOON + MINUTE)})
    assert started(decide(policy, claimed, NOON + 30 * MINUTE)) == []


def test_r7_maintenance_is_never_released():
    policy = kept(build.reservation("work", None, 2, ends_at=NOON + 4 * HOUR))
    scene = build.snapshot(build.nodes(), build.job("j1", "b", 8))
    assert started(decide(policy, scene, NOON + 3 * HOUR)) == []


def test_r7_planning_alone_claims_nothing():
    """The cycle's own claim is taken back at its end, like all that it tries."""
    policy = kept(build.reservation("demo", "a", ends_at=NOON + 4 * HOUR))
    world = World(policy, build.snapshot(build.nodes(), build.job("j1", "a", 8, reservation=DEMO)))
    assert started(plan(world, policy, NOON)) == ["j1"]
    assert world.claims == {}


def test_r7_a_job_that_starts_in_a_reservation_claims_it():
    policy = kept(build.reservation("demo", "a", ends_at=NOON + 4 * HOUR))
    world = World(policy, build.snapshot(build.nodes(), build.job("j1", "a", 8, reservation=DEMO)))
    world.advance(decide(policy, world.snapshot()))
    assert world.claims[DEMO].at == NOON


def test_r7_a_run_is_told_to_end_in_time_for_maintenance():
    """The notice of the national tier is 30 minutes: not earlier, and not what ends before."""
    policy = kept(build.reservation("work", None, reason="new firmware", **LATER))
    runs = [
        build.run("r1", "a", {"hub-1": range(4)}, limit=5 * HOUR),
        build.run("r2", "a", {"hub-1": range(4, 8)}, limit=2 * HOUR),
        build.run("r3", "b", {"hub-2": range(8)}, limit=5 * HOUR),
    ]
    scene = build.snapshot(build.nodes(), runs)
    assert decide(policy, scene, NOON + 89 * MINUTE).preempts == ()
    (preempt,) = decide(policy, scene, NOON + 90 * MINUTE).preempts
    assert (preempt.run, preempt.by) == ("cp-r1-1", None)
    assert (preempt.reason, preempt.notice) == (StopReason.RESERVED, 30 * MINUTE)
    assert "in maintenance" in preempt.why
    assert "new firmware" in preempt.why
    late = decide(policy, scene, NOON + 110 * MINUTE)
    assert [p.notice for p in late.preempts] == [10 * MINUTE]


def test_r7_a_run_is_told_to_end_once():
    policy = kept(build.reservation("work", None, **LATER))
    world = World(
        policy, build.snapshot(build.nodes(), build.run("r1", "a", {"hub-1": [0]}, limit=5 * HOUR))
    )
    now = NOON + 2 * HOUR
    world.advance(decide(policy, world.snapshot(), now))
    assert decide(policy, world.snapshot(), now + MINUTE).preempts == ()


def test_r7_the_runs_of_a_reservation_are_not_told_to_end_for_it():
    policy = kept(build.reservation("demo", "a"))
    mine = build.run("r1", "a", {"hub-1": range(8)}, limit=HOUR / 2, reservation=DEMO)
    assert decide(policy, build.snapshot(build.nodes(), mine), NOON + MINUTE).preempts == ()


def test_r7_a_reservation_is_charged_from_its_start_to_its_end_used_or_not():
    """R3: 8 H100 for an hour; of a no-show, its first half hour."""
    policy = kept(build.reservation("demo", "a"))
    claim = {DEMO: Claim(DEMO, NOON)}

    def used(now, claims):
        world = World(policy, replace(build.snapshot(build.nodes()), claims=claims))
        return world.usage_at(now).get(AccountName("a"), 0.0) / 3600

    assert used(NOON, claim) == 0
    assert used(NOON + HOUR, claim) == pytest.approx(8, rel=0.01)
    assert used(NOON + 2 * HOUR, claim) == pytest.approx(8, rel=0.01)
    assert used(NOON + 2 * HOUR, {}) == pytest.approx(4, rel=0.01)


def test_r7_two_windows_at_one_time_have_different_nodes():
    both = [build.reservation("demo", "a", **LATER), build.reservation("work", None, **LATER)]
    job = build.job("j1", "b", 1, time_limit=3 * HOUR)
    scene = build.snapshot(build.nodes(), job)
    assert started(decide(kept(*both), scene)) == []
    assert started(decide(kept(both[0]), scene)) == ["j1"]
    third = build.snapshot(build.nodes(count=3), job)
    policy = kept(*both, pools=[build.pool(nodes=3)])
    assert where(decide(policy, third)) == {"j1": ["hub-3"]}


def test_r7_windows_one_after_the_other_may_have_the_same_node():
    first = build.reservation("demo", "a", **LATER)
    after = build.reservation("work", starts_at=NOON + 4 * HOUR, ends_at=NOON + 5 * HOUR)
    job = build.job("j1", "b", 8, time_limit=timedelta(hours=8))
    result = decide(kept(first, after), build.snapshot(build.nodes(), job))
    assert where(result) == {"j1": ["hub-2"]}


def test_r7_named_nodes_are_the_ones_that_are_kept():
    row = build.reservation("work", None, nodes=frozenset({NodeId("hub-2")}), **LATER)
    job = build.job("j1", "b", 8, time_limit=3 * HOUR)
    result = decide(kept(row), build.snapshot(build.nodes(), job))
    assert where(result) == {"j1": ["hub-1"]}
