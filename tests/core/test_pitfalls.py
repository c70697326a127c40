"""Mistakes that other schedulers made (scheduling.md §4), each as one case that must not return."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from scheduler.core.explain import Reason
from scheduler.core.model import PriorityClass, QuotaClass, RunState
from scheduler.core.plan import plan
from scheduler.core.snapshot import DropRun, Put, Usage
from scheduler.core.world import World, requeued_job
from tests import build
from tests.build import DAY, HOUR, MINUTE, NOON
from tests.core.small import HALVES, SHARED, TREE, decide, reasons, started

BORROWED = {"quota_class": QuotaClass.BORROWED}


def test_a_victim_that_became_illegal_by_another_is_given_back():
    """Kueue #14543: `a` is 4 over its nominal; two gangs of 4 could go, one must stay."""
    runs = [
        build.run("own", "a", {"hub-1": range(4)}),
        build.run("r1", "a", {"hub-1": range(4, 8)}, **BORROWED),
        build.run("r2", "a", {"hub-2": range(4)}, **BORROWED),
        build.run("mine", "b", {"hub-2": range(4, 6)}),
    ]
    result = decide(SHARED, build.snapshot(build.nodes(), runs, build.job("j1", "b", 6)))
    assert [len(start.after) for start in result.starts] == [1]
    none = decide(SHARED, build.snapshot(build.nodes(), runs, build.job("j1", "b", 3, 2)))
    assert len(none.preempts) <= 1


def test_order_and_preemption_use_one_measure():
    """Kueue #3779: who may recall is the class, by the same quota that started the run."""
    lent = build.run("r1", "a", {"hub-1": range(8), "hub-2": range(8)}, **BORROWED)
    poor = Usage(TREE[1].name, 0.0, NOON)
    rich = Usage(TREE[2].name, 1e9, NOON)
    snapshot = build.snapshot(build.nodes(), lent, build.job("j1", "b", 8), poor, rich)
    assert [p.run for p in decide(SHARED, snapshot).preempts] == ["cp-r1-1"]


def test_what_is_freed_is_held_for_the_preemptor():
    """kubernetes #130429: nobody else takes the node while the victim drains."""
    lent = build.run("r1", "a", {"hub-1": range(8), "hub-2": range(8)}, **BORROWED)
    snapshot = build.snapshot(build.nodes(), lent, build.job("j1", "b", 8))
    world = World(SHARED, snapshot)
    world.advance(plan(world, SHARED, NOON))
    world.apply(DropRun(lent.id))
    world.apply(Put(build.job("j2", "a", 8, submitted_at=NOON - HOUR)))
    world.apply(Put(build.job("j3", "a", 8, submitted_at=NOON - HOUR)))
    after = plan(world, SHARED, NOON + MINUTE)
    (successor,) = (run for run in world.runs.values() if run.job == "j1")
    assert len(after.starts) == 1
    assert not {s.node for s in after.starts[0].slots} & {s.node for s in successor.slots}


def test_victims_are_taken_on_nodes_that_then_fit():
    """Kueue #5243: the cheapest victims by sum lie on two nodes, where no node would fit."""
    runs = [
        build.run("own", "a", {"hub-1": range(4), "hub-2": range(4)}),
        build.run("cheap1", "a", {"hub-1": range(4, 6)}, **BORROWED),
        build.run("cheap2", "a", {"hub-2": range(4, 6)}, **BORROWED),
        build.run("dear", "a", {"hub-1": range(6, 8)}, preemptions=3, **BORROWED),
    ]
    result = decide(SHARED, build.snapshot(build.nodes(), runs, build.job("j1", "b", 4)))
    (start,) = result.starts
    assert [slot.node for slot in start.slots] == ["hub-2"]
    assert start.after == {"cp-cheap2-1"}


def test_a_gang_that_fits_only_by_sums_does_not_start():
    """Kueue #4329, and a summed quota that fragmentation makes a lie (Kueue PR #10145)."""
    policy = build.policy([build.account("national", None)], [build.pool(nodes=2)])
    halves = [build.run(f"r{n}", "national", {f"hub-{n}": range(4)}) for n in (1, 2)]
    result = decide(policy, build.snapshot(build.nodes(), halves, build.job("j1", gpus=8)))
    assert started(result) == []
    assert reasons(result, "j1") == {"hub": Reason.CAPACITY}


def test_a_gang_is_evicted_whole():
    """Volcano #3729: one of its nodes is wanted, the whole gang drains."""
    gang = build.run("r1", "a", {"hub-1": range(8), "hub-2": range(8)}, **BORROWED)
    snapshot = build.snapshot(build.nodes(), gang, build.job("j1", "b", 1))
    world = World(SHARED, snapshot)
    world.advance(plan(world, SHARED, NOON))
    assert world.runs[gang.id].draining
    assert world.quotas[build.pool().id].path(TREE[1].name)[0].used == 0


def test_deep_jobs_are_reached_behind_a_thousand_that_cannot_start():
    """Kueue #9715: a thousand large jobs wait ahead of a small one of another shape."""
    policy = build.policy(pools=[build.pool(nodes=2)])
    busy = build.run("r1", "national", {"hub-1": range(8)})
    large = [build.job(f"j{n}", gpus=8, count=2) for n in range(1000)]
    small = build.job("j5000", gpus=1, time_limit=HOUR / 2)
    result = decide(policy, build.snapshot(build.nodes(), busy, large, small))
    assert started(result) == ["j5000"]
    assert len(result.holds) == 2


def test_a_head_of_one_model_does_not_block_another():
    """Kueue #8309."""
    policy = build.policy(pools=[build.pool("hub"), build.pool("old", gpu_model="V100")])
    busy = build.run("r1", "national", {"hub-1": range(8), "hub-2": range(8)})
    jobs = [
        build.job("j1", gpus=8, gpu_models=frozenset({"H100"})),
        build.job("j2", gpus=8, gpu_models=frozenset({"V100"})),
    ]
    machines = build.nodes() + build.nodes("old")
    assert started(decide(policy, build.snapshot(machines, busy, jobs))) == ["j2"]


def test_a_run_is_counted_once_and_cleared():
    """Kueue #12786: the same event twice, then the end: nothing stays behind."""
    run = build.run("r1", "a", {"hub-1": range(8)})
    world = World(SHARED, build.snapshot(build.nodes()))
    before = world.state()
    for event in (Put(run), Put(run), DropRun(run.id), DropRun(run.id)):
        world.apply(event)
    assert world.state() == before


def test_backfill_looks_as_far_as_the_longest_limit():
    """Slurm's manual (bf_window): a head that waits for a month-long run is not overtaken."""
    month = build.run("r1", "national", {"hub-1": range(8)}, limit=20 * 24 * HOUR)
    head = build.job("j1", gpus=8, count=2)
    late = build.job("j2", gpus=8, time_limit=21 * 24 * HOUR)
    fits = build.job("j3", gpus=8, time_limit=19 * 24 * HOUR)
    result = decide(build.policy(), build.snapshot(build.nodes(), month, head, fits))
    assert started(result) == ["j3"]
    assert decide(build.policy(), build.snapshot(build.nodes(), month, head, late)).starts == ()


def test_a_large_job_does_not_starve_behind_small_ones_of_its_own_account():
    """Kueue #534: an account's small jobs do not refill the quota its large one waits for."""
    small = [build.run(f"r{n}", "a", {"hub-1": [n]}, limit=HOUR) for n in range(2)]
    policy = build.policy(TREE, [build.pool(nodes=2)], [build.quota("a", 8), build.quota("b", 8)])
    jobs = [
        build.job("j1", "a", 8, submitted_at=NOON - HOUR),
        build.job("j2", "a", 1, time_limit=2 * HOUR),
        build.job("j3", "a", 1, time_limit=HOUR),
    ]
    result = decide(policy, build.snapshot(build.nodes(), small, jobs))
    assert started(result) == ["j3"]
    assert [(r.job, r.start_at) for r in result.reserves] == [
        ("j1", NOON + HOUR),
        ("j2", NOON + 2 * HOUR),
    ]
    assert reasons(result, "j2") == {"hub": Reason.RESERVED}


def test_one_job_of_many_pools_holds_only_one_of_them():
    """Slurm's manual: one job in many partitions blocks the others."""
    policy = build.policy(pools=[build.pool("hub", nodes=1), build.pool("two", nodes=1)])
    busy = [
        build.run("r1", "national", {"hub-1": range(4)}, limit=HOUR),
        build.run("r2", "national", {"two-1": range(4)}, "two", limit=2 * HOUR),
    ]
    jobs = [build.job("j1", gpus=8), build.job("j2", gpus=4, time_limit=5 * HOUR)]
    machines = build.nodes("hub", 1) + build.nodes("two", 1)
    result = decide(policy, build.snapshot(machines, busy, jobs))
    assert [(r.job, r.pool) for r in result.reserves] == [("j1", "hub")]
    assert [(s.job, s.pool) for s in result.starts] == [("j2", "two")]


def test_a_draining_victim_and_its_successor_are_not_both_counted():
    """Kueue TAS: while one drains for the other, quota counts the successor alone."""
    lent = build.run("r1", "a", {"hub-1": range(8), "hub-2": range(8)}, **BORROWED)
    world = World(SHARED, build.snapshot(build.nodes(), lent, build.job("j1", "b", 8)))
    world.advance(plan(world, SHARED, NOON))
    quota = world.quotas[build.pool().id]
    assert (quota.owner.used, quota.common) == (8, 8)
    assert world.floor.pool(build.pool().id).free == 0


def test_a_victim_is_not_recalled_again_and_again():
    """Volcano #4947, HTCondor's thrash: nothing changed, so the next cycle decides nothing."""
    lent = build.run("r1", "a", {"hub-1": range(8), "hub-2": range(8)}, **BORROWED)
    world = World(SHARED, build.snapshot(build.nodes(), lent, build.job("j1", "b", 8)))
    first = plan(world, SHARED, NOON)
    world.advance(first)
    again = plan(world, SHARED, NOON)
    assert len(first.preempts) == 1
    assert (again.starts, again.preempts) == ((), ())


def test_a_requeued_victim_comes_back_with_its_age_and_what_it_suffered():
    """R8.6: attempt and preemptions rise, submission stays."""
    run = build.run("r1", "a", {"hub-1": [0]}, since=NOON - HOUR, state=RunState.PREEMPTED)
    job = requeued_job(run, NOON)
    assert (job.attempt, job.preemptions, job.submitted_at) == (2, 1, NOON - HOUR)
    assert job.not_before == NOON


def test_small_jobs_are_packed_so_that_whole_nodes_stay_whole():
    """FGD (ATC'23): fractional use strands GPUs; the fullest node that fits is taken."""
    busy = build.run("r1", "national", {"hub-2": range(5)})
    policy = build.policy()
    result = decide(policy, build.snapshot(build.nodes(), busy, build.job("j1", gpus=2)))
    assert [slot.node for slot in result.starts[0].slots] == ["hub-2"]


HASHES = """
from tests.core.test_pitfalls import crowd
from tests.build import NOON
from scheduler.core.plan import plan
from scheduler.core.world import World
policy, snapshot = crowd()
print(plan(World(policy, snapshot), policy, NOON).starts)
print([ (h.account, h.job, h.verdicts) for h in plan(World(policy, snapshot), policy, NOON).holds])
"""


def crowd():
    """Forty jobs of many shapes, labels and models on two pools."""
    policy = build.policy(
        TREE,
        [
            build.pool("hub", nodes=2, labels=frozenset({"public", "x", "y"})),
            build.pool("old", gpu_model="V100", nodes=2),
        ],
        [*HALVES, build.quota("guest", 0, borrow=4, where="old")],
    )
    jobs = [
        build.job(
            f"j{n}",
            ("a", "b", "guest")[n % 3],
            1 + n % 4,
            user=f"u{n % 5}",
            label=("public", "x", "y")[n % 7 % 3],
            gpu_models=frozenset(({"H100", "V100"}, {"H100"}, set())[n % 3]),
            priority=list(PriorityClass)[n % 5],
        )
        for n in range(40)
    ]
    return policy, build.snapshot(build.nodes(), build.nodes("old"), jobs)


@pytest.mark.parametrize("seeds", [("0", "1"), ("2", "3")])
def test_the_plan_does_not_depend_on_how_python_hashes(seeds):
    """Same input, same plan, in every process (scheduling.md §2): sets have no order."""
    said = [
        subprocess.run(
            [sys.executable, "-c", HASHES],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in seeds
    ]
    assert said[0]
    assert _sorted_sets(said[0]) == _sorted_sets(said[1])


def _sorted_sets(text: str) -> str:
    """Only `after` is a set in what is printed, and it is empty here."""
    assert "frozenset({" not in text
    return text


def test_nothing_is_planned_for_a_pool_that_no_node_has_reported_to():
    """An empty site is told about, not waited on with promises."""
    result = decide(SHARED, build.snapshot(build.job("j1", "a", 8)))
    assert (result.starts, result.reserves) == ((), ())
    assert reasons(result, "j1") == {"hub": Reason.CAPACITY}


def test_a_job_of_an_account_that_the_policy_lost_is_told_so():
    lost = replace(build.job("j1", "a"), account=build.account("gone").name)
    result = decide(SHARED, build.snapshot(build.nodes(), lost))
    assert reasons(result, "j1") == {None: Reason.NO_POOL}


def crossed(*more):
    """`b` wants 3 GPUs on each node; on hub-1 `a` can spare 1, on hub-2 8: not both.

    With either gone, `a` is back within its nominal of 8, and the other is no borrower.
    """
    runs = [
        build.run("own", "a", {"hub-1": range(4)}),
        build.run("small", "a", {"hub-1": [4]}, **BORROWED),
        build.run("large", "a", {"hub-2": range(8)}, **BORROWED),
        build.run("third", "guest", {"hub-1": [5]}, preemptions=9, **BORROWED),
    ]
    policy = build.policy(TREE, quotas=[*HALVES, *more])
    # It waited so long that no cells keep it out: only its victims are on trial.
    gang = build.job("j1", "b", 3, 2, submitted_at=NOON - 4 * DAY)
    return decide(policy, build.snapshot(build.nodes(), runs, gang))


def test_two_victims_that_are_legal_only_one_by_one_are_both_spared():
    """R8.5, Kueue #14543: the set is checked whole, each victim with all others gone."""
    result = crossed(build.quota("guest", 0, borrow=4))
    assert {preempt.run for preempt in result.preempts} == {"cp-large-1", "cp-third-1"}


def test_where_only_such_victims_are_left_the_owner_waits():
    """R8.2 before R10: the guest is in quota here, so nobody else can go."""
    policy = [build.quota("a", 8, borrow=8), build.quota("b", 6), build.quota("guest", 2)]
    runs = [
        build.run("own", "a", {"hub-1": range(4)}),
        build.run("small", "a", {"hub-1": [4]}, **BORROWED),
        build.run("large", "a", {"hub-2": range(8)}, **BORROWED),
        build.run("third", "guest", {"hub-1": [5]}),
    ]
    snapshot = build.snapshot(build.nodes(), runs, build.job("j1", "b", 3, 2))
    assert decide(build.policy(TREE, quotas=policy), snapshot).preempts == ()


def test_nobody_elses_planned_start_is_delayed():
    """R6 between accounts: hub-1 is promised to `b`, so the long job of `a` goes to hub-2."""
    runs = [
        build.run("r1", "a", {"hub-1": [0]}, limit=HOUR),
        build.run("r2", "a", {"hub-2": [0]}, limit=2 * HOUR),
    ]
    jobs = [
        build.job("j1", "b", 8),
        build.job("j2", "a", 3, time_limit=5 * HOUR),
        build.job("j3", "a", 2, time_limit=HOUR / 2),
    ]
    result = decide(SHARED, build.snapshot(build.nodes(), runs, jobs), NOON + MINUTE)
    assert [[slot.node for slot in reserve.slots] for reserve in result.reserves] == [["hub-1"]]
    where = {start.job: [slot.node for slot in start.slots] for start in result.starts}
    assert where["j2"] == ["hub-2"]
    assert set(where) == {"j2", "j3"}


def test_gpus_that_stand_idle_at_anothers_home_do_not_spare_the_borrower():
    """R1, R10: 4 GPUs are free, but the guest keeps them; `b` takes its own back from `a`."""
    rows = [
        build.quota("a", 4, borrow=8),
        build.quota("b", 8),
        build.quota("guest", 4, lend=0),
    ]
    runs = [
        build.run("own", "a", {"hub-1": range(4)}),
        build.run("lent", "a", {"hub-2": range(8)}, **BORROWED),
    ]
    policy = build.policy(TREE, quotas=rows)
    result = decide(policy, build.snapshot(build.nodes(), runs, build.job("j1", "b", 4)))
    assert [preempt.run for preempt in result.preempts] == ["cp-lent-1"]
    assert [[slot.node for slot in start.slots] for start in result.starts] == [["hub-1"]]


def test_who_is_within_its_own_nominal_does_not_pay_for_a_sibling():
    """R8.2: the institution as a whole is over, by the fault of `z`; `x` is not."""
    tree = [
        build.account("national", None),
        build.account("inst"),
        build.account("b"),
        *(build.account(name, "inst") for name in "xyz"),
    ]
    rows = [
        build.quota("inst", 8, borrow=8),
        build.quota("b", 8),
        build.quota("x", 4),
        build.quota("y", 4),
        build.quota("z", 0, borrow=8),
    ]
    runs = [
        build.run("x1", "x", {"hub-1": range(4)}, **BORROWED),
        build.run("z1", "z", {"hub-1": range(4, 8)}, preemptions=5, **BORROWED),
        build.run("z2", "z", {"hub-2": [0]}, preemptions=5, **BORROWED),
        build.run("b1", "b", {"hub-2": range(1, 8)}),
    ]
    policy = build.policy(tree, quotas=rows)
    result = decide(policy, build.snapshot(build.nodes(), runs, build.job("j1", "y", 4)))
    assert {preempt.run for preempt in result.preempts} == {"cp-z1-1", "cp-z2-1"}
