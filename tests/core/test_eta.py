"""An interval is a statement: counted once, and corrected by what earlier ones were wrong by."""

from dataclasses import replace
from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.calibration import EVERYTHING, LATEST, LEAST, LEAST_OF_KIND, MOST_KINDS, End
from scheduler.core.eta import Eta, Score
from tests import build
from tests.build import HOUR, MINUTE, NOON

BUSY = build.run("r", "national", {"hub-1": range(8)}, limit=10 * HOUR)


def promise(score, etas):
    return score.promise(etas, etas, JOBS, NOON)


def started(at) -> list:
    return [replace(BUSY, job=build.job("j1").id, started_at=at)]


ETA = Eta(NOON, NOON + HOUR, NOON + 2 * HOUR)
WAITING = {build.job("j1").id: build.job("j1")}
JOBS = {job.id: job for job in (build.job("j1"), build.job("j2"))}


def test_the_first_eta_that_a_job_was_given_is_what_counts():
    score = Score()
    assert score.rate is None
    assert promise(score, {"j1": ETA}) == {"j1": ETA}
    assert promise(score, {"j1": Eta(NOON, NOON, NOON)}) == {}
    assert score.settle(WAITING, [], NOON) == ()
    (settled,) = score.settle({}, started(NOON + HOUR), NOON + HOUR)
    assert settled.hit
    assert (score.hits, score.misses, score.rate) == (1, 0, 1.0)


def test_a_start_outside_the_interval_is_a_miss_and_counts_once():
    score = Score()
    promise(score, {"j1": ETA})
    for _ in range(2):
        score.settle({}, started(NOON + 3 * HOUR), NOON + 3 * HOUR)
    assert (score.hits, score.misses) == (0, 1)


def test_a_lease_settles_when_its_work_begins_and_a_cancelled_job_never():
    score = Score()
    promise(score, {"j1": ETA, "j2": ETA})
    assert score.settle({}, started(None), NOON) == ()
    assert len(score.settle({}, started(NOON + timedelta(seconds=1)), NOON + MINUTE)) == 1
    assert score.settle({}, [], NOON + MINUTE) == ()


def test_an_open_end_holds_whatever_comes_late():
    assert Eta(NOON, None, None).holds(NOON + 99 * HOUR)
    assert not Eta(NOON, None, None).holds(NOON - HOUR)


def settle(score, raw, waited):
    """Tell a job what the score makes of a forecast, and let it start."""
    told = score.corrected({"j1": raw}, JOBS, NOON)
    score.promise({"j1": raw}, told, JOBS, NOON)
    (settled,) = score.settle({}, started(NOON + waited), NOON + waited)
    return settled


def test_intervals_that_are_always_too_early_are_moved_until_they_hold():
    score, raw = Score(), Eta(NOON + 10 * MINUTE, NOON + 20 * MINUTE, NOON + 40 * MINUTE)
    hits = [settle(score, raw, 2 * HOUR).hit for _ in range(2 * LEAST)]
    assert hits == [False] * LEAST + [True] * LEAST
    told = score.corrected({"j1": raw}, JOBS, NOON)["j1"]
    assert told.likely == raw.likely
    # The misses of before widen for a while what would have held.
    assert NOON + 2 * HOUR - MINUTE <= told.high <= NOON + 3 * HOUR


def test_whatever_the_forecast_is_wrong_by_four_of_five_hold():
    random, score = Random(7), Score()
    raw = Eta(NOON + 10 * MINUTE, NOON + 20 * MINUTE, NOON + 40 * MINUTE)
    hits = [settle(score, raw, MINUTE * random.lognormvariate(4.5, 1.5)).hit for _ in range(3000)]
    assert 0.77 <= sum(hits[100:]) / len(hits[100:]) <= 0.84


def test_an_open_end_stays_open():
    score, raw = Score(), Eta(NOON + HOUR, None, None)
    for _ in range(LEAST):
        settle(score, raw, MINUTE)
    told = score.corrected({"j1": raw}, JOBS, NOON)["j1"]
    assert (told.likely, told.high) == (None, None)
    assert told.low < raw.low


minutes = st.integers(0, 10_000).map(lambda count: MINUTE * count)


@given(st.lists(st.tuples(minutes, minutes, minutes, minutes), min_size=LEAST, max_size=30))
def test_a_corrected_interval_is_in_order_and_never_past(many):
    score = Score()
    for low, more, most, waited in many:
        raw = Eta(NOON + low, NOON + low + more, NOON + low + more + most)
        told = score.corrected({"j1": raw}, JOBS, NOON)["j1"]
        assert NOON <= told.low <= told.likely <= told.high
        settle(score, raw, waited)


def test_a_job_that_waits_past_its_interval_is_a_miss_before_it_starts():
    """Under a growing queue those who wait longest would teach too late."""
    score, raw = Score(), Eta(NOON, NOON + MINUTE, NOON + 10 * MINUTE)
    jobs = {job.id: job for job in (build.job(f"j{n}") for n in range(LEAST))}
    score.promise(dict.fromkeys(jobs, raw), dict.fromkeys(jobs, raw), jobs, NOON)
    later = NOON + HOUR
    score.settle(jobs, [], later)
    new = Eta(later, later + MINUTE, later + 10 * MINUTE)
    told = score.corrected({"j1": new}, jobs, later)["j1"]
    assert told.high >= later + HOUR - MINUTE
    assert (score.hits, score.misses) == (0, 0)


def test_kinds_of_jobs_are_corrected_each_by_their_own_and_others_by_all():
    score = Score()
    raw = Eta(NOON + 10 * MINUTE, NOON + 20 * MINUTE, NOON + 40 * MINUTE)
    small, large = build.job("small", gpus=1), build.job("large", gpus=8)
    jobs = {job.id: job for job in (small, large)}
    for _ in range(LEAST_OF_KIND):
        for job, waited in ((small, 30 * MINUTE), (large, 3 * HOUR)):
            told = score.corrected({job.id: raw}, jobs, NOON)
            score.promise({job.id: raw}, told, jobs, NOON)
            run = replace(BUSY, job=job.id, started_at=NOON + waited)
            score.settle({}, [run], NOON + waited)
    stranger = build.job("stranger", gpus=64)
    told = score.corrected(
        dict.fromkeys(["small", "large", "stranger"], raw), jobs | {"stranger": stranger}, NOON
    )
    assert told["small"].high < raw.high
    assert told["large"].high > NOON + 170 * MINUTE
    assert told["stranger"].high > NOON + 170 * MINUTE


def test_each_miss_widens_and_hits_narrow_again():
    end = End()
    for n in range(LATEST):
        end.learn([EVERYTHING], n / LATEST)

    def moves():
        return end.corrections({}).of([EVERYTHING])

    usual = moves()
    for _ in range(5):
        end.count(missed=True)
    assert moves() > usual
    for _ in range(45):
        end.count(missed=False)
    assert abs(moves() - usual) < 0.01


def test_what_is_remembered_of_kinds_is_bounded():
    end = End()
    for n in range(3 * MOST_KINDS):
        end.learn([n, EVERYTHING], 1.0)
    for _ in range(LEAST_OF_KIND):
        end.learn(["new", EVERYTHING], 0.5)
    assert len(end._wrong_by) == MOST_KINDS  # noqa: SLF001  # memory is what is tested
    assert end.corrections({}).of(["new", EVERYTHING]) == 0.5
