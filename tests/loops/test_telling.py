"""Telling a long queue takes a share of the time, new jobs first, and nobody's verdict is old."""

from datetime import datetime

import pytest

from scheduler.core.decisions import Hold
from scheduler.core.plan import plan
from scheduler.core.snapshot import Put
from scheduler.core.world import World
from scheduler.loops.telling import OLDEST, Telling
from tests import build
from tests.build import NOON

MANY = 1_000_000
NAMES = [f"team-{n}" for n in range(10)]


class Hands:
    """A clock on which telling one account takes 4 ms."""

    def __init__(self):
        self.at = 0.0

    def now(self) -> datetime:
        return NOON

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock():
    return Hands()


def _turn(telling, clock, jobs=MANY, *, idle=False, spent=0.0):
    began = clock.at
    clock.at += spent
    told = []
    for name in telling.turn(NAMES, jobs, began, idle=idle):
        told.append(name)
        clock.at += 0.004
    telling.told(told, NAMES)
    return told


def test_a_short_queue_is_told_whole(clock):
    assert _turn(Telling(clock), clock, jobs=1_000) == NAMES


def test_accounts_take_turns_and_then_nobody_is_behind(clock):
    telling = Telling(clock)
    assert telling.is_behind(NAMES)
    rounds = [_turn(telling, clock) for _ in range(4)]
    assert [name for told in rounds for name in told][: len(NAMES)] == NAMES
    assert not telling.is_behind(NAMES)


def test_a_fifth_of_a_cycle_goes_into_telling(clock):
    assert len(_turn(Telling(clock), clock, spent=0.08)) == 5


def test_an_idle_hub_tells_everyone_at_once(clock):
    assert _turn(Telling(clock), clock, idle=True) == NAMES


def test_whoever_submitted_is_told_first(clock):
    telling = Telling(clock)
    _turn(telling, clock, idle=True)
    telling.heard(["team-7"], clock.at)
    assert telling.is_behind(NAMES)
    assert _turn(telling, clock)[0] == "team-7"


def test_verdicts_that_are_too_old_are_renewed_whatever_it_takes(clock):
    telling = Telling(clock)
    _turn(telling, clock, idle=True)
    clock.at += OLDEST
    telling.heard(["team-7"], clock.at)
    assert _turn(telling, clock) == NAMES


def test_some_accounts_verdicts_are_those_that_reading_all_of_them_gives():
    policy = build.policy(
        [build.account("national", None), build.account("a"), build.account("b")],
        [build.pool(nodes=1)],
        [build.quota("a", 4), build.quota("b", 4)],
    )
    jobs = [build.job(f"j{n}", "ab"[n % 2], 1 + n % 3) for n in range(12)]
    world = World(policy, build.snapshot([build.node("hub-1")], jobs))
    decided = plan(world, policy, NOON)
    before = world.snapshot()
    some = [decided.holds.of(names) for names in (["b"], ["nobody"], ["a", "b"])]
    assert world.snapshot() == before
    whole: list[Hold] = list(decided.holds)
    assert some[1] == {"nobody": ()}
    assert [*some[2]["a"], *some[2]["b"]] == whole
    assert some[0]["b"] == some[2]["b"]
    assert decided.holds.of(["a", "b"]) == some[2]
    world.advance(decided)
    assert decided.holds.of(["a"]) == {"a": some[2]["a"]}
    later = plan(world, policy, NOON)
    world.apply(Put(build.job("new", "a")))
    with pytest.raises(RuntimeError, match="before its world changes"):
        later.holds.of(["a"])
