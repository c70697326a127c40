"""One job's chances, planned in a part of the world where the whole is too much (§5)."""

from hypothesis import given, settings

from scheduler.core.counterfactual import Effort, changes, sooner
from scheduler.core.cut import cut
from scheduler.core.forecast import Foresight
from scheduler.core.model import Tier
from scheduler.core.predict import Predictor
from tests import build, strategies
from tests.build import MINUTE, NOON

POLICY = build.policy(
    [build.account("national", None), *(build.account(name) for name in ("a", "b", "c"))],
    [build.pool(nodes=2), build.pool("team", "a", nodes=1, tier=Tier.TEAM)],
    [build.quota(name, 4, borrow=16) for name in ("a", "b", "c")],
)


def queue(account, count, **more):
    return [
        build.job(f"{account}{n:03}", account, submitted_at=NOON + MINUTE * n, **more)
        for n in range(count)
    ]


def cut_to(most, *things, job="a050", nodes=2):
    snapshot = build.snapshot(build.nodes(count=nodes), *things)
    mine = snapshot.jobs[job]
    return cut(POLICY, snapshot, mine, [one.job for one in changes(mine, POLICY)], most)


def test_jobs_before_it_in_its_account_are_kept_and_the_first_of_the_others_in_turns():
    part = cut_to(100, *queue("a", 90), *queue("b", 90), *queue("c", 3))
    of = {name: sorted(j for j in part.snapshot.jobs if j[0] == name) for name in "abc"}
    assert of["a"] == [f"a{n:03}" for n in range(51)]  # itself too, and nobody behind it
    assert of["c"] == ["c000", "c001", "c002"]
    assert of["b"] == [f"b{n:03}" for n in range(46)]
    assert (part.jobs, part.all_jobs, part.own_left_out) == (100, 183, 0)
    assert "Planned with 100 of 183 waiting jobs" in part.sentence()


def test_a_queue_too_long_to_keep_is_told():
    part = cut_to(20, *queue("a", 60))
    assert part.own_left_out == 40
    assert "without 40 that are before it in its own" in part.sentence()


def test_jobs_and_nodes_of_other_pools_are_left_out():
    far = queue("b", 5, gpu_models=frozenset({"TPU"}))
    part = cut_to(100, *queue("a", 51), *far)
    assert not any(name.startswith("b") for name in part.snapshot.jobs)
    assert {node.pool for node in part.snapshot.nodes.values()} <= {"hub", "team"}


@given(strategies.scenes())
@settings(max_examples=25, deadline=None)
def test_a_part_is_a_part_and_always_has_the_job(scene):
    for name, job in scene.snapshot.jobs.items():
        part = cut(scene.policy, scene.snapshot, job, [], 4)
        assert part.snapshot.jobs[name] == job
        assert part.jobs == len(part.snapshot.jobs) <= 4
        assert part.snapshot.jobs.items() <= scene.snapshot.jobs.items()
        assert part.snapshot.nodes.items() <= scene.snapshot.nodes.items()
        assert part.snapshot.runs == scene.snapshot.runs


def test_few_tries_reach_every_kind_of_change_before_any_has_a_second():
    busy = build.run("r", "national", {"hub-1": range(8)})
    job = build.job("j1", "a", 8, 2, preemptible=True)
    snapshot = build.snapshot(build.nodes(count=2), busy, job)
    foresight = Foresight(POLICY, Predictor())
    few = sooner(foresight, snapshot, "j1", NOON, Effort(changes=3, steps=20))
    assert "nodes" in {one.knob for one in few}
