"""An interval is a statement: counted once, and corrected by what earlier ones were wrong by."""

from dataclasses import replace
from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.eta import LEAST, Eta, Score
from tests import build
from tests.build import HOUR, MINUTE, NOON

BUSY = build.run("r", "national", {"hub-1": range(8)}, limit=10 * HOUR)


def promise(score, etas):
    return score.promise(etas, etas, NOON)


def started(at) -> list:
    return [replace(BUSY, job=build.job("j1").id, started_at=at)]


ETA = Eta(NOON, NOON + HOUR, NOON + 2 * HOUR)
WAITING = {build.job("j1").id: build.job("j1")}


def test_the_first_eta_that_a_job_was_given_is_what_counts():
    score = Score()
    assert score.rate is None
    assert promise(score, {"j1": ETA}) == {"j1": ETA}
    assert promise(score, {"j1": Eta(NOON, NOON, NOON)}) == {}
    assert score.settle(WAITING, []) == ()
    (settled,) = score.settle({}, started(NOON + HOUR))
    assert settled.hit
    assert (score.hits, score.misses, score.rate) == (1, 0, 1.0)


def test_a_start_outside_the_interval_is_a_miss_and_counts_once():
    score = Score()
    promise(score, {"j1": ETA})
    for _ in range(2):
        score.settle({}, started(NOON + 3 * HOUR))
    assert (score.hits, score.misses) == (0, 1)


def test_a_lease_settles_when_its_work_begins_and_a_cancelled_job_never():
    score = Score()
    promise(score, {"j1": ETA, "j2": ETA})
    assert score.settle({}, started(None)) == ()
    assert len(score.settle({}, started(NOON + timedelta(seconds=1)))) == 1
    assert score.settle({}, []) == ()


def test_an_open_end_holds_whatever_comes_late():
    assert Eta(NOON, None, None).holds(NOON + 99 * HOUR)
    assert not Eta(NOON, None, None).holds(NOON - HOUR)


def settle(score, raw, waited):
    """Tell a job what the score makes of a forecast, and let it start."""
    told = score.corrected({"j1": raw}, NOON)
    score.promise({"j1": raw}, told, NOON)
    (settled,) = score.settle({}, started(NOON + waited))
    return settled


def test_intervals_that_are_always_too_early_are_moved_until_they_hold():
    score, raw = Score(), Eta(NOON + 10 * MINUTE, NOON + 20 * MINUTE, NOON + 40 * MINUTE)
    hits = [settle(score, raw, 2 * HOUR).hit for _ in range(2 * LEAST)]
    assert hits == [False] * LEAST + [True] * LEAST
    told = score.corrected({"j1": raw}, NOON)["j1"]
    assert told.likely == raw.likely
    assert abs(told.high - (NOON + 2 * HOUR)) < MINUTE


def test_whatever_the_forecast_is_wrong_by_four_of_five_hold():
    random, score = Random(7), Score()
    raw = Eta(NOON + 10 * MINUTE, NOON + 20 * MINUTE, NOON + 40 * MINUTE)
    hits = [settle(score, raw, MINUTE * random.lognormvariate(4.5, 1.5)).hit for _ in range(3000)]
    assert 0.77 <= sum(hits[100:]) / len(hits[100:]) <= 0.84


def test_an_open_end_stays_open():
    score, raw = Score(), Eta(NOON + HOUR, None, None)
    for _ in range(LEAST):
        settle(score, raw, MINUTE)
    told = score.corrected({"j1": raw}, NOON)["j1"]
    assert (told.likely, told.high) == (None, None)
    assert told.low < raw.low


minutes = st.integers(0, 10_000).map(lambda count: MINUTE * count)


@given(st.lists(st.tuples(minutes, minutes, minutes, minutes), min_size=LEAST, max_size=30))
def test_a_corrected_interval_is_in_order_and_never_past(many):
    score = Score()
    for low, more, most, waited in many:
        raw = Eta(NOON + low, NOON + low + more, NOON + low + more + most)
        told = score.corrected({"j1": raw}, NOON)["j1"]
        assert NOON <= told.low <= told.likely <= told.high
        settle(score, raw, waited)
