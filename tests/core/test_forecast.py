"""Expected starts: by limits an upper bound, by run times an interval that is counted."""

from dataclasses import replace

from hypothesis import given, settings

from scheduler.core.forecast import Foresight, forecast, outlook, typical_starts
from scheduler.core.model import QuotaClass, RunState
from scheduler.core.policy import Rules
from scheduler.core.predict import Predictor
from scheduler.core.world import World
from tests import build, strategies
from tests.build import HOUR, MINUTE, NOON

NO_PROMISES = Rules(reserve_depth=0)
POLICY = build.policy(pools=[build.pool(nodes=1)])
BUSY = replace(build.run("r", "national", {"hub-1": range(8)}, limit=10 * HOUR), name="train")
STARTED = NOON + 30 * MINUTE
FULL = build.snapshot(build.nodes(count=1), BUSY, build.job("j1", gpus=8))


def taught(*minutes: int) -> Predictor:
    predictor = Predictor()
    for each in minutes:
        predictor.observe("alex", "national", 8, "train", each * 60.0)
    return predictor


def test_by_limits_a_job_starts_when_the_run_before_it_must_end():
    assert forecast(World(POLICY, FULL), POLICY, NOON) == {"j1": NOON + 10 * HOUR}


def test_by_run_times_it_starts_when_such_runs_end():
    foresight = Foresight(POLICY, taught(40, 50, 60, 70, 80))
    eta = outlook(foresight, FULL, NOON)["j1"]
    assert NOON + 40 * MINUTE <= eta.low <= eta.likely <= eta.high <= NOON + 80 * MINUTE
    assert eta.informed
    assert eta.low < eta.likely < eta.high


def test_where_nothing_is_known_any_time_up_to_the_limit_is_as_good():
    eta = outlook(Foresight(POLICY, Predictor()), FULL, NOON)["j1"]
    assert not eta.informed
    assert eta.low < NOON + 3 * HOUR
    assert NOON + 7 * HOUR < eta.high <= NOON + 10 * HOUR


def test_the_longer_a_run_has_lasted_the_later_it_is_foreseen_to_end():
    foresight = Foresight(POLICY, taught(*[10] * 10, *[300] * 10))
    fresh = typical_starts(foresight, FULL, NOON + MINUTE, ["j1"], 5)
    old = typical_starts(foresight, FULL, NOON + 20 * MINUTE, ["j1"], 5)
    assert fresh["j1"] < NOON + 4 * HOUR
    assert old["j1"] == NOON + 300 * MINUTE


def test_what_no_scenario_reaches_has_no_eta():
    too_large = build.job("j2", gpus=8, count=3)
    assert "j2" not in outlook(
        Foresight(POLICY, Predictor()), build.snapshot(build.nodes(count=1), too_large), NOON
    )


@given(strategies.scenes())
@settings(max_examples=30, deadline=None)
def test_an_interval_is_in_order_never_past_and_the_same_when_asked_again(scene):
    def ask():
        return outlook(
            Foresight(scene.policy, taught(10, 20, 30, 40, 50)), scene.snapshot, scene.now
        )

    etas = ask()
    assert etas.keys() <= scene.snapshot.jobs.keys()
    for eta in etas.values():
        times = [eta.low, eta.likely, eta.high]
        known = [at for at in times if at is not None]
        assert known == times[: len(known)] == sorted(known)
        assert eta.low >= scene.now
    assert ask() == etas


def test_a_start_behind_a_run_that_should_have_left_by_now_is_not_in_the_past():
    """R8.6: the recalled run had until 12:10, and at 12:11 its end is not confirmed yet."""
    accounts = [build.account("national", None), build.account("a"), build.account("b")]
    quotas = [build.quota("a", 8), build.quota("b", 0, borrow=8)]
    policy = build.policy(accounts=accounts, pools=[build.pool(nodes=1)], quotas=quotas)
    recalled = replace(
        build.run("r", "b", {"hub-1": range(8)}),
        quota_class=QuotaClass.BORROWED,
        state=RunState.STOPPING,
        draining=True,
        stop_at=NOON + 10 * MINUTE,
    )
    waits = build.snapshot(build.nodes(count=1), recalled, build.job("j1", "a", gpus=8))
    now = NOON + 11 * MINUTE
    starts = typical_starts(Foresight(policy, Predictor()), waits, now, ["j1"], 5)
    assert starts["j1"] >= now


def test_a_job_that_waits_for_a_window_is_foreseen_at_its_end():
    """R7: nothing ends then but the maintenance; and other runs end long after it."""
    closed = build.reservation("cooling", count=2)
    policy = build.policy(pools=[build.pool(nodes=2)], reservations=(closed,), rules=NO_PROMISES)
    waits = build.job("j1", gpus=8)
    empty = build.snapshot(build.nodes(), waits)
    assert forecast(World(policy, empty), policy, NOON) == {"j1": NOON + HOUR}
    other = build.policy(
        pools=[build.pool(nodes=2), build.pool("far", nodes=1)],
        reservations=(closed,),
        rules=NO_PROMISES,
    )
    long = build.run("r", "national", {"far-1": range(8)}, "far", limit=50 * HOUR)
    busy = build.snapshot(build.nodes(), build.nodes("far", 1), long, waits)
    assert forecast(World(other, busy), other, NOON) == {"j1": NOON + HOUR}


def test_a_job_that_waits_for_an_agreement_is_foreseen_when_it_begins():
    tree = [build.account("national", None), build.account("a"), build.account("guest")]
    lent = build.agreement("later", "a", "guest", valid_from=NOON + 5 * HOUR)
    policy = build.policy(tree, [build.pool(owner="a")], agreements=(lent,))
    snapshot = build.snapshot(build.nodes(), build.job("j1", "guest", gpus=8))
    assert forecast(World(policy, snapshot), policy, NOON) == {"j1": NOON + 5 * HOUR}
    eta = outlook(Foresight(policy, Predictor()), snapshot, NOON)["j1"]
    assert (eta.low, eta.likely, eta.high) == (NOON + 5 * HOUR,) * 3
