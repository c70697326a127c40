"""Idle is a window over every GPU of a run, and steps are in order (R18)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.idleness import Step, Watched, idle_for, next_step
from scheduler.core.model import PriorityClass
from scheduler.core.policy import TierRules
from tests.build import NOON

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RULES = TierRules(HOUR, HOUR, MINUTE, idle_warn=30 * MINUTE, idle_requeue=HOUR, idle_end=2 * HOUR)
GRACE = RULES.idle_grace
IDLE = Watched(NOON - 9 * HOUR, (NOON, NOON), PriorityClass.STANDARD)


def due(minutes, run=IDLE, rules=RULES):
    return next_step(run, rules, NOON + minutes * MINUTE)


@pytest.mark.parametrize(
    ("minutes", "step"),
    [(0, Step.NONE), (29, Step.NONE), (30, Step.WARN), (59, Step.WARN), (60, Step.REQUEUE)],
)
def test_a_run_that_does_nothing_is_warned_and_then_requeued(minutes, step):
    assert due(minutes) is step


def test_a_job_that_was_requeued_for_it_before_is_ended():
    again = replace(IDLE, requeued=True)
    assert (due(60, again), due(120, again)) == (Step.WARN, Step.END)
    only_end = replace(RULES, idle_requeue=timedelta(0))
    assert due(120, IDLE, only_end) is Step.END


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(replace(IDLE, priority=PriorityClass.DEBUG), id="somebody sits and thinks"),
        pytest.param(replace(IDLE, background=True), id="anybody may recall it"),
        pytest.param(replace(IDLE, idle_since=(NOON, None)), id="one of its GPUs works"),
        pytest.param(replace(IDLE, idle_since=()), id="nobody sees its GPUs"),
    ],
)
def test_it_is_let_alone_where(run):
    assert due(9 * 60, run) is Step.NONE


def test_what_cannot_be_preempted_is_only_warned():
    assert due(9 * 60, replace(IDLE, preemptible=False)) is Step.WARN


def test_a_tier_that_says_nothing_does_nothing():
    assert due(9 * 60, IDLE, TierRules(HOUR, HOUR, MINUTE)) is Step.NONE


def test_a_run_is_not_watched_while_it_starts():
    starts = replace(IDLE, started_at=NOON, idle_since=(NOON, NOON))
    assert idle_for(starts, RULES, NOON + GRACE) == timedelta(0)
    assert idle_for(starts, RULES, NOON + GRACE + MINUTE) == MINUTE


def test_work_takes_a_warning_back_and_nothing_takes_back_an_order():
    works = replace(IDLE, idle_since=(NOON, None))
    assert due(60, replace(works, taken=Step.WARN)) is Step.NONE
    assert due(60, replace(works, taken=Step.REQUEUE)) is Step.REQUEUE


AGES = st.lists(st.one_of(st.none(), st.integers(0, 300)), min_size=1, max_size=8)


@given(AGES, st.booleans(), st.sampled_from([Step.NONE, Step.WARN]), st.integers(0, 300))
def test_later_never_means_less_while_nothing_else_changes(ages, requeued, taken, later):
    since = tuple(None if age is None else NOON - age * MINUTE for age in ages)
    run = replace(IDLE, idle_since=since, requeued=requeued, taken=taken)
    now = next_step(run, RULES, NOON)
    assert next_step(replace(run, taken=now), RULES, NOON + later * MINUTE) >= now


@given(AGES)
def test_one_gpu_that_is_not_known_to_be_idle_is_enough(ages):
    since = tuple(None if age is None else NOON - age * MINUTE for age in ages)
    assert idle_for(replace(IDLE, idle_since=(*since, None)), RULES, NOON) == timedelta(0)


LENDS = replace(RULES, idle_lend=45 * MINUTE)
LENDABLE = replace(IDLE, lendable=True)


@pytest.mark.parametrize(
    ("minutes", "step"), [(30, Step.WARN), (44, Step.WARN), (45, Step.LEND), (60, Step.REQUEUE)]
)
def test_between_the_warning_and_the_requeue_its_lease_is_lent(minutes, step):
    assert due(minutes, LENDABLE, LENDS) is step


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(replace(LENDABLE, preemptible=False), id="its GPUs were promised to it alone"),
        pytest.param(replace(LENDABLE, lendable=False), id="a guest's use is not told apart"),
    ],
)
def test_it_is_warned_and_not_lent_where(run):
    assert due(50, run, LENDS) is Step.WARN


def test_a_lent_lease_stays_lent_until_it_works_or_the_tier_lends_no_more():
    lent = replace(LENDABLE, taken=Step.LEND, lendable=False)
    assert due(50, lent, LENDS) is Step.LEND
    assert due(50, replace(lent, idle_since=(NOON, None)), LENDS) is Step.NONE
    assert due(50, lent, RULES) is Step.WARN


def test_what_its_owner_took_back_is_idle_from_then_on():
    again = replace(LENDABLE, idle_from=NOON + 40 * MINUTE)
    assert due(69, again, LENDS) is Step.NONE
    assert due(85, again, LENDS) is Step.LEND


def test_a_tier_may_look_sooner_than_after_ten_minutes():
    fresh = replace(LENDABLE, started_at=NOON)
    assert due(46, fresh, LENDS) is Step.WARN
    assert due(46, fresh, replace(LENDS, idle_grace=MINUTE)) is Step.LEND
