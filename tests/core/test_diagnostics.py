"""Shares and factors say what the planner goes by (R2, R3)."""

from datetime import timedelta

import pytest
from hypothesis import given, settings

from scheduler.core import diagnostics
from scheduler.core.model import PriorityClass
from scheduler.core.policy import Order, Rules
from scheduler.core.snapshot import Usage
from scheduler.core.world import World
from tests import build, strategies
from tests.build import DAY, HOUR, NOON

TREE = [
    build.account("national", None),
    build.account("a", weight=3),
    build.account("a1", "a"),
    build.account("a2", "a"),
    build.account("b"),
]
POLICY = build.policy(TREE)


def world(*things, policy=POLICY) -> World:
    return World(policy, build.snapshot(*things))


def shares(world, now):
    return diagnostics.shares(world, world.jobs.values(), now)


def factors(world, now):
    return diagnostics.factors(world, world.jobs.values(), now)


def ahead(world, job, now):
    return diagnostics.ahead(world, world.jobs.values(), world.jobs[job], now)


def used(who, seconds) -> Usage:
    return Usage(who, seconds, NOON)


def test_the_tree_of_shares_is_least_first_at_each_level_with_sums_of_what_is_below():
    found = shares(world(used("a1", 300.0), used("a2", 60.0), used("b", 40.0)), NOON)
    assert [(s.account, s.depth, s.place) for s in found] == [
        ("national", 0, 1),
        ("b", 1, 1),
        ("a", 1, 2),
        ("a2", 2, 1),
        ("a1", 2, 2),
    ]
    a = found[2]
    assert (a.used, a.share, a.weight_share, a.usage_share) == (360.0, 120.0, 0.75, 0.9)


def test_usage_that_was_never_is_no_division_by_zero():
    assert {s.usage_share for s in shares(world(), NOON)} == {0.0}


def test_jobs_are_told_in_the_order_in_which_they_are_tried():
    jobs = [
        build.job("j1", "a1"),
        build.job("j2", "b"),
        build.job("j3", "b", priority=PriorityClass.URGENT),
        build.job("j4", "a2"),
    ]
    found = factors(world(jobs, used("a1", 300.0), used("b", 40.0)), NOON + HOUR)
    assert [(f.job, f.place, f.account_place) for f in found] == [
        ("j3", 1, 1),
        ("j2", 2, 2),
        ("j4", 3, 1),
        ("j1", 4, 1),
    ]
    assert [name for name, _ in found[-1].path] == ["a", "a1"]
    assert found[-1].age == HOUR


def test_a_long_predicted_run_goes_as_if_it_had_come_later_where_the_policy_says_so():
    policy = build.policy(TREE, rules=Rules(short_first=2))
    jobs = [
        build.job("j1", "b", predicted=HOUR),
        build.job("j2", "b", submitted_at=NOON + HOUR, predicted=timedelta(0)),
    ]
    first, second = factors(world(jobs, policy=policy), NOON + HOUR)
    assert (first.job, first.handicap) == ("j2", timedelta(0))
    assert (second.goes_as_of, second.handicap) == (NOON + 2 * HOUR, 2 * HOUR)
    (told,) = ahead(world(jobs, policy=policy), "j1", NOON)
    assert told.why == "they are predicted to be shorter"


def test_who_is_ahead_is_told_with_both_shares_where_the_paths_part():
    jobs = [
        build.job("j1", "a1"),
        build.job("j2", "b"),
        build.job("j3", "b"),
        build.job("j4", "a2"),
    ]
    told = ahead(world(jobs, used("a1", 300.0), used("b", 40.0)), "j1", NOON)
    assert [(t.account, t.jobs, t.share, t.own_branch, t.own_share) for t in told] == [
        ("b", 2, 40.0, "a", 100.0),
        ("a2", 1, 0.0, "a1", 300.0),
    ]
    assert [t.sentence() for t in told] == [
        "b (2 jobs) goes first: a has used 2.5 times as much per weight.",
        "a2 (1 job) goes first: a1 has used 0.1 H100e-hours per weight, and a2 none.",
    ]


def test_jobs_of_its_own_account_are_told_by_what_decides():
    jobs = [
        build.job("j1", "b"),
        build.job("j2", "b", priority=PriorityClass.HIGH, submitted_at=NOON + HOUR),
        build.job("j3", "b"),
    ]
    told = ahead(world(jobs), "j3", NOON)
    assert [(t.jobs, t.why) for t in told] == [
        (1, "their priority class is higher"),
        (1, "they came earlier"),
    ]


def test_where_age_decides_what_an_account_holds_now_counts_as_coming_later():
    policy = build.policy(TREE, rules=Rules(order=Order.BALANCED, share_as_age=4 * DAY))
    busy = build.run("r", "b", {"hub-1": range(8)})
    jobs = [build.job("j1", "b"), build.job("j2", "a1", submitted_at=NOON + DAY)]
    first, second = factors(world(build.nodes(), busy, jobs, policy=policy), NOON + DAY)
    assert (first.job, first.handicap) == ("j2", timedelta(0))
    assert (second.job, second.handicap) == ("j1", 2 * DAY)
    (told,) = ahead(world(build.nodes(), busy, jobs, policy=policy), "j1", NOON)
    assert (told.account, told.jobs, told.share) == ("a1", 1, None)


@pytest.mark.parametrize("order", [Order.FIFO, Order.BALANCED])
def test_without_shares_who_came_first_goes_first(order):
    policy = build.policy(TREE, rules=Rules(order=order))
    jobs = [build.job("j1", "b", submitted_at=NOON + HOUR), build.job("j2", "a1")]
    found = factors(world(jobs, used("a1", 1e9), policy=policy), NOON + HOUR)
    assert [one.job for one in found] == ["j2", "j1"]


@given(strategies.scenes())
@settings(max_examples=30, deadline=None)
def test_places_count_each_job_once_and_agree_with_the_worlds(scene):
    now = scene.world()
    found = factors(now, scene.now)
    assert [f.place for f in found] == list(range(1, len(now.jobs) + 1))
    for one in found:
        assert one.account_place == now.position(one.job)
        told = ahead(now, one.job, scene.now)
        own = sum(t.jobs for t in told if t.account == one.account)
        assert own == one.account_place - 1


@given(strategies.scenes())
@settings(max_examples=30, deadline=None)
def test_parts_of_siblings_add_up(scene):
    by_parent = {}
    for one in shares(scene.world(), scene.now):
        by_parent.setdefault(one.parent, []).append(one)
    for siblings in by_parent.values():
        assert sum(s.weight_share for s in siblings) == pytest.approx(1)
        assert sum(s.usage_share for s in siblings) == pytest.approx(1) or not any(
            s.used for s in siblings
        )
