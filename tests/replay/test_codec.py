"""Canonical JSON: equal values have one text, and every value comes back from its own."""

import json
from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from hypothesis import given, settings

from scheduler.core.decisions import Plan
from scheduler.core.model import Agreement, Job, Sector
from scheduler.core.plan import plan
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Event, Snapshot, Usage
from scheduler.replay.codec import NotDecodable, decode, digest, dumps, encode
from tests import build, strategies
from tests.build import NOON


def back(value, kind):
    return decode(json.loads(dumps(value, kind)), kind)


@given(strategies.scenes())
@settings(max_examples=40, deadline=None)
def test_whatever_planning_looks_at_and_decides_comes_back(scene):
    decided = plan(scene.world(), scene.policy, scene.now)
    assert back(scene.policy, Policy) == scene.policy
    assert back(scene.snapshot, Snapshot) == scene.snapshot
    read = back(decided, Plan)
    assert replace(read, holds=()) == replace(decided, holds=())
    assert list(read.holds) == list(decided.holds)


@given(strategies.policies(), strategies.steps())
@settings(max_examples=40, deadline=None)
def test_every_event_comes_back(policy, history):
    for _, happened in strategies.moments(policy, history):
        if happened is not None and not isinstance(happened, Plan):
            assert back(happened, Event) == happened


def test_sets_rows_and_zones_are_written_in_one_way():
    rows = [build.job("j1", gpu_models=frozenset({"B200", "A100"})), build.job("j2")]
    east = timezone(timedelta(hours=2))
    moved = [replace(row, submitted_at=row.submitted_at.astimezone(east)) for row in rows[::-1]]
    assert digest(build.snapshot(rows), Snapshot) == digest(build.snapshot(moved), Snapshot)
    assert '"gpu_models":["A100","B200"]' in dumps(rows[0], Job)


@pytest.mark.parametrize("borrower", ["a", Sector.INDUSTRY])
def test_an_account_is_not_taken_for_a_sector(borrower):
    read = back(build.agreement("x", "a", borrower), Agreement)
    assert type(read.borrower) is type(borrower)


def test_a_float_comes_back_to_the_bit():
    usage = Usage("a", 0.1 + 0.2, NOON)
    assert back(usage, Usage).h100e_seconds == usage.h100e_seconds


def test_a_field_that_an_older_text_lacks_has_its_default():
    plain = encode(replace(build.job("j1"), name="train"), Job)
    del plain["name"]
    assert decode(plain, Job) == build.job("j1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"colour": "red"}, "Job has no colour", id="an unknown field"),
        pytest.param({"user": 7}, "7 is no str", id="another type"),
        pytest.param({"submitted_at": "soon"}, "soon", id="no instant"),
        pytest.param({"submitted_at": "2026-01-01T00:00:00"}, "no zone", id="no zone"),
        pytest.param({"priority": "regal"}, "regal", id="a word of no closed set"),
        pytest.param({"shape": []}, "is no Shape", id="a list for a value"),
    ],
)
def test_what_stands_for_no_value_is_refused_in_words(change, said):
    with pytest.raises(NotDecodable, match=said):
        decode(encode(build.job("j1"), Job) | change, Job)


def test_a_missing_field_without_a_default_is_named():
    plain = encode(build.job("j1"), Job)
    del plain["user"]
    with pytest.raises(NotDecodable, match="Job lacks user"):
        decode(plain, Job)
