"""More of scheduling.md §4, played on: what comes after a preemption, cycle by cycle."""

from datetime import timedelta

import pytest

from scheduler.core.model import QuotaClass
from scheduler.core.plan import plan
from scheduler.core.policy import Policy, Rules
from scheduler.core.snapshot import DropRun, Put, Usage
from scheduler.core.world import World, requeued_job
from tests import build
from tests.build import DAY, HOUR, MINUTE, NOON
from tests.core.small import TREE, decide, started

BORROWED = {"quota_class": QuotaClass.BORROWED}
BORROWERS = [build.quota("a", 0, borrow=16), build.quota("b", 0, borrow=16)]


def played(policy: Policy, world: World, cycles: int) -> list[tuple[str, str]]:
    """Plan every half hour, let victims end at once, and return who ended for whom."""
    moved, now = [], NOON + 2 * HOUR
    for _ in range(cycles):
        result = plan(world, policy, now)
        moved += [(str(p.run), str(p.by)) for p in result.preempts]
        world.advance(result)
        for run in [run for run in world.runs.values() if run.draining]:
            world.apply(DropRun(run.id))
            world.apply(Put(requeued_job(run, None)))
        now += 30 * MINUTE
    return moved


def test_a_victim_whose_share_fell_to_zero_is_not_next_again():
    """Volcano #4947: `a` lost all it had to `b`, and is first by share, but takes nothing back."""
    lent = build.run("r1", "a", {"hub-1": range(8), "hub-2": range(8)}, limit=DAY, **BORROWED)
    policy = build.policy(TREE, quotas=BORROWERS, rules=Rules(preempt_delay=timedelta(0)))
    # The second ends before the victim's own planned start, which the first one's limit sets.
    jobs = [build.job("j1", "b", 4, time_limit=DAY), build.job("j2", "b", 4, time_limit=10 * HOUR)]
    world = World(policy, build.snapshot(build.nodes(), lent, jobs))
    moved = played(policy, world, 12)
    assert [run for run, _ in moved] == ["cp-r1-1"]
    assert {str(run.job) for run in world.runs.values()} == {"j1", "j2"}


def test_priorities_that_move_with_use_end_no_run():
    """HTCondor: who used much comes later in the queue, but history never preempts (R3)."""
    halves = [
        build.run("r1", "a", {"hub-1": range(8)}, limit=DAY, **BORROWED),
        build.run("r2", "b", {"hub-2": range(8)}, limit=DAY, **BORROWED),
    ]
    policy = build.policy(TREE, quotas=BORROWERS, rules=Rules(preempt_delay=timedelta(0)))
    jobs = [build.job("j1", "a", 8, time_limit=DAY), build.job("j2", "b", 8, time_limit=DAY)]
    for rich in ("a", "b"):
        use = Usage(build.account(rich).name, 1e9, NOON)
        world = World(policy, build.snapshot(build.nodes(), halves, jobs, use))
        assert played(policy, world, 12) == []


@pytest.mark.parametrize(
    ("nominal", "starts"),
    [
        pytest.param(12, [], id="R11: in quota once the victim is gone, it would break b's node"),
        pytest.param(8, ["j1"], id="R8: borrowed, so b could take the node back"),
    ],
)
def test_a_start_that_is_in_quota_once_its_victim_is_gone_keeps_cells(nominal, starts):
    """R1, R11: only hub-3 has room, the one whole node left that `b` is guaranteed.

    The institution of `a` is over its nominal by the guest's run; without that it is within, so
    that the start is one that nobody may take back.
    """
    tree = [
        build.account("national", None),
        build.account("inst"),
        build.account("a", "inst", weight=2),
        build.account("guest", "inst"),
        build.account("b"),
        build.account("third"),
    ]
    rows = [
        build.quota("inst", 16, borrow=8),
        build.quota("a", nominal, borrow=8),
        build.quota("guest", 0, borrow=8),
        build.quota("b", 8),
        build.quota("third", 0, borrow=10),
    ]
    runs = [
        build.run("r1", "a", {"hub-1": range(3)}, limit=DAY),
        build.run("r2", "a", {"hub-2": range(3)}, limit=DAY),
        build.run("r3", "third", {"hub-1": range(3, 8)}, limit=DAY, **BORROWED),
        build.run("r4", "third", {"hub-2": range(3, 8)}, limit=DAY, **BORROWED),
        build.run("r5", "guest", {"hub-3": range(8)}, limit=DAY, **BORROWED),
    ]
    # A second planned start may be made, so that the job is tried as a borrower too.
    rules = Rules(reserve_depth=2)
    policy = build.policy(tree, [build.pool(nodes=3)], rows, rules=rules)
    scene = build.snapshot(build.nodes(count=3), runs, build.job("j1", "a", 6))
    result = decide(policy, scene, NOON + 2 * HOUR)
    assert started(result) == starts
    assert [str(p.run) for p in result.preempts] == ["cp-r5-1"] * len(starts)
