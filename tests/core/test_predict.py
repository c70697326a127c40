"""The predictor: robust, bounded, and honest about what it does not know (scheduling.md §5)."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core import predict
from scheduler.core.predict import LEAST_SAMPLES, MOST_SAMPLES, Level, Predictor

seconds = st.floats(0, 1e7)
some = st.lists(seconds, min_size=LEAST_SAMPLES, max_size=MOST_SAMPLES)
ME = ("ann", "a", 8, "train")


def taught(samples, key=ME):
    predictor = Predictor()
    for one in samples:
        predictor.observe(*key, one)
    return predictor


@given(some)
def test_quantiles_are_in_order_and_within_what_was_observed(samples):
    found = taught(samples).predict(*ME)
    assert min(samples) <= found.low <= found.likely <= found.high <= max(samples)
    assert (found.samples, found.level) == (len(samples), Level.NAME)


@given(some, st.lists(st.floats(0, 1), min_size=2))
def test_any_quantile_is_monotone(samples, parts):
    runtimes = taught(samples).runtimes(*ME)
    values = [runtimes.quantile(part) for part in sorted(parts)]
    assert values == sorted(values)


@given(some, st.randoms(use_true_random=False))
def test_the_order_of_observations_does_not_matter_while_none_is_forgotten(samples, random):
    shuffled = list(samples)
    random.shuffle(shuffled)
    assert taught(shuffled).predict(*ME) == taught(samples).predict(*ME)


@given(some, seconds)
def test_what_remains_is_never_negative_and_never_more_than_the_longest_left(samples, elapsed):
    found = taught(samples).remaining(*ME, elapsed)
    if found is None:
        assert sum(one > elapsed for one in samples) < LEAST_SAMPLES
    else:
        assert 0 <= found.low <= found.likely <= found.high <= max(samples) - elapsed


@pytest.mark.parametrize(
    ("asked", "level"),
    [
        pytest.param(ME, Level.NAME, id="the same job again"),
        pytest.param(("ann", "a", 8, "eval"), Level.USER, id="another name"),
        pytest.param(("bob", "a", 8, "train"), Level.SHAPE, id="another person"),
        pytest.param(("bob", "a", 1, "train"), Level.ACCOUNT, id="other GPUs"),
        pytest.param(("bob", "b", 8, "train"), Level.GPUS, id="another account"),
        pytest.param(("bob", "b", 1, "train"), Level.ALL, id="nothing alike"),
    ],
)
def test_it_falls_back_outwards(asked, level):
    assert taught([60.0] * LEAST_SAMPLES).predict(*asked).level is level


def test_a_nearer_level_answers_as_soon_as_it_knows_enough():
    predictor = taught([60.0] * 50, ("bob", "a", 8, "other"))
    for _ in range(LEAST_SAMPLES):
        assert predictor.predict(*ME).likely == 60
        predictor.observe(*ME, 3600.0)
    assert predictor.predict(*ME).likely == 3600


def test_too_little_is_no_answer():
    assert taught([1.0] * (LEAST_SAMPLES - 1)).predict(*ME) is None


def test_a_run_that_outlasted_all_alike_is_not_foreseen():
    assert taught([60.0] * 20).remaining(*ME, 61.0) is None


def test_one_that_hangs_does_not_move_what_is_likely():
    assert taught([60.0] * 20 + [1e6]).predict(*ME).likely == 60


def test_old_habits_fade():
    assert taught([60.0] * 500 + [600.0] * MOST_SAMPLES).predict(*ME).low == 600


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(predict, "MOST_KEYS", 3)
    predictor = Predictor()
    for person in range(10):
        for _ in range(LEAST_SAMPLES):
            predictor.observe(f"u{person}", "a", 1, "", float(person))
    assert predictor.predict("u9", "a", 1, "").level is Level.NAME
    assert predictor.predict("u0", "a", 1, "").level is Level.SHAPE


def test_four_of_five_fall_into_the_interval():
    random, predictor, inside = Random(1), Predictor(), 0
    for count in range(2000):
        ran = random.lognormvariate(6, 2)
        found = predictor.predict(*ME)
        inside += found is not None and found.low <= ran <= found.high
        predictor.observe(*ME, ran)
        assert count < LEAST_SAMPLES or found is not None
    assert 0.75 <= inside / 2000 <= 0.85
