"""A dry run says what a submission would lead to, and leaves everything as it was."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import assume, given, settings

from scheduler.core.admission import Ask, Refusal, check
from scheduler.core.dry_run import Asked, dry_run, recall_pool
from scheduler.core.explain import Reason
from scheduler.core.model import PriorityClass, QuotaClass, Tier
from scheduler.core.plan import plan
from scheduler.core.predict import Predictor
from scheduler.core.ways import Basis, Way
from scheduler.core.world import World
from tests import build, strategies
from tests.build import HOUR, MINUTE, NOON


def tried(policy, *things, stated=None, predictor=None, **asked):
    ask = Ask(user="dana", account="national", **asked)
    found = dry_run(
        policy, build.snapshot(*things), Asked(ask, stated=stated), NOON, predictor or Predictor()
    )
    assert not isinstance(found, Refusal), found
    return found


def test_what_fits_starts_at_once_in_quota_and_is_priced_by_its_run_and_its_limit():
    found = tried(
        house(build.pool(nodes=1)),
        build.nodes(count=1),
        gpus_per_node=4,
        time_limit=2 * HOUR,
        stated=HOUR,
    )
    (only,) = found.candidates
    assert (only.starts_now, only.start.pool, only.tier) == (True, "hub", Tier.NATIONAL)
    assert (only.gpus, only.price, only.most) == (4, 4.0, 8.0)
    assert (only.eta.likely, only.done.likely) == (NOON, NOON + HOUR)
    assert (only.length.basis, recall_pool(only)) == (Basis.STATED, None)
    assert (found.starts_first, found.done_first, found.cheapest, found.usual) == (0, 0, 0, 0)
    assert (only.quota.nominal, only.quota.used, only.quota.used_after) == (8, 0, 4)


def test_what_waits_has_a_verdict_and_an_interval():
    busy = build.run("r", "national", {"hub-1": range(8)}, limit=HOUR)
    found = tried(house(build.pool(nodes=1)), build.nodes(count=1), busy, gpus_per_node=8)
    only = found.candidates[0]
    assert not only.starts_now
    assert only.verdicts[0].reason in {Reason.CAPACITY, Reason.QUOTA}
    assert NOON < only.eta.likely <= NOON + HOUR
    assert only.start.pool == "hub"


def test_another_tier_is_a_candidate_where_it_exists_and_half_the_gpus_where_they_help():
    pools = [build.pool(nodes=2), build.pool("old", nodes=1, tier=Tier.INSTITUTION)]
    busy = [build.run("r", "national", {"hub-1": range(8)}, limit=10 * HOUR)]
    busy += [build.run("s", "national", {"old-1": range(8)}, "old", limit=10 * HOUR)]
    nodes = [*build.nodes(count=2), *build.nodes("old", 1)]
    found = tried(
        house(*pools), nodes, *busy, nodes=2, gpus_per_node=8, stated=HOUR, time_limit=4 * HOUR
    )
    ways = [one.way for one in found.candidates]
    assert ways == [Way.AS_ASKED, Way.FEWER]  # two nodes are more than the other tier has
    fewer = found.candidates[1]
    assert (fewer.starts_now, fewer.length.likely, fewer.price) == (True, 2 * HOUR, 16.0)
    assert (found.starts_first, found.done_first, found.usual) == (1, 1, 1)

    both = tried(house(*pools), nodes, gpus_per_node=8)
    assert {one.tier for one in both.candidates} == {Tier.INSTITUTION, Tier.NATIONAL}


def test_half_the_gpus_are_no_candidate_where_the_work_would_not_fit_the_limit():
    busy = build.run("r", "national", {"hub-1": range(8)}, limit=10 * HOUR)
    found = tried(
        house(build.pool(nodes=2)),
        build.nodes(count=2),
        busy,
        nodes=2,
        gpus_per_node=8,
        stated=HOUR,
        time_limit=HOUR,
    )
    assert [one.way for one in found.candidates] == [Way.AS_ASKED]


def test_earlier_runs_of_the_name_say_more_than_what_was_stated():
    predictor = Predictor()
    for seconds in (600, 600, 600, 600, 600):
        predictor.observe("dana", "national", 1, "digits", seconds)
    found = tried(
        house(build.pool(nodes=1)),
        build.nodes(count=1),
        name="digits",
        stated=HOUR,
        time_limit=2 * HOUR,
        predictor=predictor,
    )
    length = found.candidates[0].length
    assert (length.likely, length.basis, length.samples) == (10 * MINUTE, Basis.HISTORY, 5)


def test_background_work_costs_nothing():
    found = tried(
        house(build.pool(nodes=1)), build.nodes(count=1), priority=PriorityClass.BACKGROUND
    )
    only = found.candidates[0]
    assert (only.price, only.start.quota_class) == (0.0, QuotaClass.BACKGROUND)
    assert recall_pool(only) == "hub"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        pytest.param({"gpus_per_node": 9}, "gpus_per_node", id="more GPUs than a node has"),
        pytest.param({"gpu_models": frozenset({"X1"})}, "gpu_models", id="a model nobody has"),
        pytest.param({"label": "secret"}, "label", id="a label nobody is cleared for"),
    ],
)
def test_what_submission_refuses_is_refused_alike(asked, field):
    policy = house(build.pool(nodes=1))
    ask = Ask(user="dana", account="national", **asked)
    found = dry_run(policy, build.snapshot(), Asked(ask), NOON, Predictor())
    assert isinstance(found, Refusal)
    assert found.field == field
    assert found == check(ask, policy, 0, NOON)


@given(strategies.scenes())
@settings(max_examples=40, deadline=None)
def test_a_job_submitted_right_after_gets_what_the_dry_run_said(scene):
    """The same pool on the same terms, or the same verdicts; and the world is as it was (R2)."""
    assume(scene.snapshot.jobs)
    pattern = next(iter(scene.snapshot.jobs.values()))
    shape = pattern.shape
    ask = Ask(
        user=pattern.user,
        account=pattern.account,
        nodes=shape.nodes,
        gpus_per_node=shape.gpus_per_node,
        gpu_models=shape.gpu_models,
        tiers=(shape.tier_min, shape.tier_max),
        preemptible=shape.preemptible,
        priority=pattern.priority,
        time_limit=pattern.time_limit,
    )
    scene = replace(scene, policy=with_member(scene.policy, ask))
    before = World(scene.policy, scene.snapshot).state()
    found = dry_run(scene.policy, scene.snapshot, Asked(ask), scene.now, Predictor())
    assert World(scene.policy, scene.snapshot).state() == before
    assume(not isinstance(found, Refusal))
    job = submitted(scene, found.admitted, ask)
    world = World(scene.policy, scene.snapshot)
    world.put_job(job)
    decided = plan(world, scene.policy, scene.now)
    start = next((one for one in decided.starts if one.job == job.id), None)
    said = found.candidates[0]
    assert said.starts_now is (start is not None)
    if start is not None:
        assert replace(said.start, job=job.id) == start
    else:
        holds = [hold for hold in decided.holds if hold.account == job.account]
        own = [h for h in holds if h.job == job.id]
        group = [h for h in holds if h.job is None and h.shape == job.shape]
        assert said.verdicts == (own or group)[0].verdicts


def with_member(policy, ask):
    """A scene's people are in no account: let the one who asks be in the one that pays."""
    accounts = tuple(
        replace(one, members=frozenset({ask.user})) if one.name == ask.account else one
        for one in policy.accounts
    )
    return replace(policy, accounts=accounts, users=(build.user(ask.user),))


def submitted(scene, admitted, ask):
    last = max(job.sequence for job in scene.snapshot.jobs.values())
    job = build.job(
        "jnew",
        admitted.account.name,
        user=ask.user,
        priority=admitted.priority,
        time_limit=admitted.time_limit,
        submitted_at=scene.now,
        sequence=last + 1,
    )
    return replace(job, shape=admitted.shape)


def house(*pools):
    """A policy of one account, whose member is dana."""
    dana = build.user("dana")
    account = build.account("national", None, members=frozenset({"dana"}))
    return build.policy(pools=pools, accounts=[account], users=(dana,))


def test_the_likely_end_is_never_before_the_likely_start():
    found = tried(house(build.pool(nodes=1)), build.nodes(count=1), stated=timedelta(seconds=1))
    only = found.candidates[0]
    assert only.done.low >= only.eta.low
