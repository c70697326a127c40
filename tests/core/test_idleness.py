"""Idle is a window over every GPU of a run, and steps are in order (R18)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.idleness import GRACE, Step, Watched, idle_for, next_step
from scheduler.core.model import PriorityClass
from scheduler.core.policy import TierRules
from tests.build import NOON

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RULES = TierRules(HOUR, HOUR, MINUTE, idle_warn=30 * MINUTE, idle_requeue=HOUR, idle_end=2 * HOUR)
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
    assert idle_for(starts, NOON + GRACE) == timedelta(0)
    assert idle_for(starts, NOON + GRACE + MINUTE) == MINUTE


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
    assert idle_for(replace(IDLE, idle_since=(*since, None)), NOON) == timedelta(0)
