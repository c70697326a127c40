"""R17: FLOP are added up per model line, and what crosses a threshold waits for approvers."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core import admission
from scheduler.core.admission import Ask
from scheduler.core.decisions import Plan
from scheduler.core.explain import Reason, sentence
from scheduler.core.model import JobId
from scheduler.core.plan import plan
from scheduler.core.thresholds import PETA, UNNAMED, Crossing, Threshold, flop_words, pflop_of
from scheduler.core.training import Training
from scheduler.core.world import World, requeued_job
from scheduler.replay.codec import digest
from tests import build
from tests.build import DAY, HOUR, NOON
from tests.core.small import decide, started
from tests.strategies import scenes

AT = 100  # petaFLOP
TREE = [build.account("national", None), build.account("a"), build.account("a1", "a")]


def strict(*crossings, threshold=None, **more):
    rows = threshold or Threshold("big", AT)
    return build.policy(
        TREE,
        quotas=[build.quota("a", 16), build.quota("a1", 16)],
        thresholds=(rows,),
        crossings=crossings,
        **more,
    )


def granted(**more):
    return Crossing(**{"account": "a1", "model_line": "eagle", "threshold": "big"} | more)


def trains(name="j1", reaches=AT, line="eagle", **more):
    return build.job(name, "a1", 4, training=Training("a", line, 1, reaches), **more)


def held(policy, job, now=NOON):
    result = decide(policy, build.snapshot(build.nodes(), job), now)
    (hold,) = result.holds or (None,)
    return hold and [verdict.reason for verdict in hold.verdicts]


def test_r17_the_job_that_reaches_a_threshold_waits_with_a_verdict_of_its_own():
    policy = strict()
    result = decide(policy, build.snapshot(build.nodes(), trains()))
    assert started(result) == []
    (hold,) = result.holds
    (verdict,) = hold.verdicts
    said = sentence(verdict, policy)
    assert (hold.job, verdict.reason, verdict.pool) == ("j1", Reason.THRESHOLD, None)
    assert "needs approval of the threshold big" in said
    assert "eagle of a1 reaches 1e+17 FLOP" in said
    assert "2 from 2 institutions" in said
    assert "commonpool request create threshold" in said


@pytest.mark.parametrize(
    ("crossing", "starts"),
    [
        pytest.param(granted(pflop=AT), True, id="as it was asked for"),
        pytest.param(granted(pflop=AT, account="a"), True, id="for an account above it"),
        pytest.param(granted(pflop=AT, account="national"), True, id="for all"),
        pytest.param(granted(pflop=AT, job=JobId("j1")), True, id="for this job"),
        pytest.param(granted(pflop=AT, job=JobId("j2")), False, id="for another job"),
        pytest.param(granted(pflop=AT - 1), False, id="for less"),
        pytest.param(granted(pflop=AT, model_line="owl"), False, id="for another line"),
        pytest.param(granted(pflop=AT, threshold="huge"), False, id="of another threshold"),
        pytest.param(granted(pflop=AT, valid_from=NOON), True, id="valid from now"),
        pytest.param(granted(pflop=AT, valid_from=NOON + HOUR), False, id="valid from later"),
        pytest.param(granted(pflop=AT, valid_to=NOON + HOUR), True, id="valid until later"),
        pytest.param(granted(pflop=AT, valid_to=NOON), False, id="valid until now"),
    ],
)
def test_r17_an_approval_counts_for_what_it_was_given_for(crossing, starts):
    assert held(strict(crossing), trains()) == (None if starts else [Reason.THRESHOLD])


def test_r17_an_approval_of_another_account_beside_it_does_not_count():
    policy = strict(granted(pflop=AT, account="b"))
    policy = replace(policy, accounts=(*policy.accounts, build.account("b")))
    assert held(policy, trains()) == [Reason.THRESHOLD]


@pytest.mark.parametrize(
    ("job", "threshold"),
    [
        pytest.param(trains(reaches=AT - 1), None, id="below it"),
        pytest.param(build.job("j1", "a1", 4), None, id="training nothing"),
        pytest.param(trains(), Threshold("big", AT, valid_from=NOON + DAY), id="not in force yet"),
        pytest.param(trains(), Threshold("big", AT, valid_to=NOON), id="no longer in force"),
    ],
)
def test_r17_nobody_is_asked_where_no_threshold_is_reached(job, threshold):
    assert held(strict(threshold=threshold), job) is None


def test_r17_the_lowest_threshold_that_is_not_covered_is_named():
    rows = (Threshold("huge", 2 * AT), Threshold("big", AT))
    policy = replace(strict(granted(pflop=9 * AT)), thresholds=rows)
    result = decide(policy, build.snapshot(build.nodes(), trains(reaches=3 * AT)))
    assert dict(result.holds[0].verdicts[0].numbers)["threshold"] == "huge"


def test_r17_others_of_the_same_kind_start_past_a_job_that_is_held_and_none_waits_behind_it():
    jobs = [trains("j1"), build.job("j2", "a1", 4), trains("j3"), build.job("j4", "a1", 4)]
    result = decide(strict(), build.snapshot(build.nodes(), jobs))
    assert started(result) == ["j2", "j4"]
    assert {hold.job for hold in result.holds} == {"j1", "j3"}


def test_r17_no_start_is_promised_to_a_job_that_is_held():
    busy = [build.run("r1", "a1", {"hub-1": range(8), "hub-2": range(8)})]
    old = trains(submitted_at=NOON - 30 * DAY)
    result = decide(strict(), build.snapshot(build.nodes(), busy, old))
    assert [reserve.job for reserve in result.reserves] == []


def test_r17_background_work_is_held_too():
    job = trains(priority=build.PriorityClass.BACKGROUND)
    assert held(strict(), job) == [Reason.THRESHOLD]


def test_r17_a_run_that_comes_back_to_the_queue_is_asked_about_again():
    policy = strict(granted(pflop=AT, valid_to=NOON + HOUR))
    world = World(policy, build.snapshot(build.nodes(), trains()))
    world.advance(plan(world, policy, NOON))
    (run,) = world.runs.values()
    again = requeued_job(run, None)
    assert again.training == trains().training
    assert held(policy, again) is None
    assert held(policy, again, NOON + 2 * HOUR) == [Reason.THRESHOLD]


def asks(**more):
    return Ask("ann", "a1", **more)


def admitted(policy=None, **more):
    policy = policy or strict(users=(build.user("ann"),))
    accounts = [replace(a, members=frozenset({"ann"})) if a.name == "a1" else a for a in TREE]
    return admission.check(asks(**more), replace(policy, accounts=tuple(accounts)), 0).training


@pytest.mark.parametrize(
    ("asked", "training"),
    [
        pytest.param({}, None, id="small, and nothing said"),
        pytest.param({"model_line": "eagle", "training_flop": 5e15}, ("eagle", 5), id="declared"),
        pytest.param({"training_flop": 5.1e15}, (UNNAMED, 6), id="of no line, rounded up"),
    ],
)
def test_r17_what_is_declared_counts(asked, training):
    high = strict(threshold=Threshold("big", 10**9), users=(build.user("ann"),))
    found = admitted(high, **asked)
    assert (found and (found.line, found.pflop)) == training


def test_r17_what_declares_nothing_counts_as_what_its_gpus_can_do_within_its_limit():
    """8 H100 for an hour at half of 989.4 TFLOPS are 1.42e19 FLOP."""
    found = admitted(gpus_per_node=8, time_limit=HOUR)
    assert found == Training("a", UNNAMED, 14248, 14248)
    none = admitted(build.policy(TREE, quotas=strict().quotas, users=(build.user("ann"),)))
    assert none is None


@given(st.integers(1, 10**17))
def test_r17_what_is_told_to_be_asked_for_is_enough(pflop):
    assert pflop <= pflop_of(float(flop_words(pflop))) <= pflop * 1.02 + 1
    assert float(flop_words(pflop)) >= pflop * PETA * (1 - 1e-9)


@given(scenes(rounds=2), st.data())
def test_r17_nothing_that_needs_an_approval_ever_starts_and_the_rest_is_planned_as_without_it(
    scene, data
):
    """Held jobs are as good as not there: whatever starts, would start without them."""
    names = sorted(scene.snapshot.jobs)
    chosen = data.draw(st.sets(st.sampled_from(names))) if names else set()
    marked = {
        name: replace(job, training=Training("a", "eagle", 1, AT)) if name in chosen else job
        for name, job in scene.snapshot.jobs.items()
    }
    policy = replace(scene.policy, thresholds=(Threshold("big", AT),))
    result = plan(World(policy, replace(scene.snapshot, jobs=marked)), policy, scene.now)
    assert not chosen & {start.job for start in result.starts}
    assert not chosen & {reserve.job for reserve in result.reserves}
    told = {hold.job: hold.verdicts[0].reason for hold in result.holds}
    assert {told.get(name) for name in chosen} <= {Reason.THRESHOLD}


@given(scenes(rounds=2), st.data())
def test_r17_without_thresholds_every_plan_is_the_same_to_the_byte(scene, data):
    """What jobs train changes nothing where the policy has no thresholds (nor a recording)."""
    marked = {
        name: replace(job, training=Training("a", "eagle", 1, data.draw(st.integers(0, 10**9))))
        for name, job in scene.snapshot.jobs.items()
    }
    before = plan(scene.world(), scene.policy, scene.now, told=True)
    snapshot = replace(scene.snapshot, jobs=marked)
    after = plan(World(scene.policy, snapshot), scene.policy, scene.now, told=True)
    assert digest(before, Plan) == digest(after, Plan)


def test_r17_a_threshold_may_be_a_day_away():
    """The same job, the same policy, another day: nobody has to do anything for it to be held."""
    policy = strict(threshold=Threshold("big", AT, valid_from=NOON + timedelta(days=1)))
    assert held(policy, trains()) is None
    assert held(policy, trains(), NOON + timedelta(days=1)) == [Reason.THRESHOLD]
