"""Faults and what they ask for: the table, repeats, cordons and their end (R19)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.health import (
    HEALTH,
    PROBE,
    Action,
    Clears,
    Cordon,
    Finding,
    GpuFacts,
    NodeFacts,
    XidEvent,
    cordoned,
    happened,
    is_clean,
    is_over,
    standing,
    worst,
)
from scheduler.core.xids import XID_RULES
from tests.build import NOON

WELL = NodeFacts((GpuFacts(0), GpuFacts(1)))
MINUTE = timedelta(minutes=1)


def sick(**facts):
    return NodeFacts((GpuFacts(0), GpuFacts(1, **facts)))


def asked(*events, past=()):
    found = worst(happened(events, past, XID_RULES))
    return found.action


@pytest.mark.parametrize(
    ("xid", "action"),
    [
        pytest.param(79, Action.REBOOT, id="off the bus"),
        pytest.param(48, Action.DRAIN, id="double-bit error"),
        pytest.param(95, Action.DRAIN, id="uncontained error"),
        pytest.param(64, Action.DRAIN, id="remap failed"),
        pytest.param(74, Action.DRAIN, id="NVLink"),
        pytest.param(109, Action.CORDON, id="context switch timeout"),
        pytest.param(94, Action.TELL, id="contained error"),
        pytest.param(13, Action.TELL, id="the application's own"),
        pytest.param(63, Action.IGNORE, id="remap event"),
        pytest.param(154, Action.IGNORE, id="informational"),
        pytest.param(99_999, Action.TELL, id="in no table"),
    ],
)
def test_an_xid_asks_for_what_the_table_says(xid, action):
    assert asked(XidEvent(NOON, 0, xid)) == action


def test_every_rule_says_what_it_means_what_to_do_and_whom_we_follow():
    assert all(rule.means and rule.todo and rule.source for rule in XID_RULES.values())


def test_the_third_contained_memory_error_in_a_day_drains():
    past = [XidEvent(NOON - timedelta(hours=h), 0, 94) for h in (23, 1)]
    assert asked(XidEvent(NOON, 0, 94), past=past) == Action.DRAIN
    long_ago = [replace(event, at=NOON - timedelta(hours=25)) for event in past]
    assert asked(XidEvent(NOON, 0, 94), past=long_ago) == Action.TELL
    elsewhere = [replace(event, gpu=1) for event in past]
    assert asked(XidEvent(NOON, 0, 94), past=elsewhere) == Action.TELL


def test_an_applications_fault_blames_the_node_only_when_several_people_meet_it():
    def by(*users):
        return [XidEvent(NOON - MINUTE, 0, 31, user=user) for user in users]

    mine = XidEvent(NOON, 0, 31, count=50, user="ann")
    assert asked(mine, past=by("ann", "ann", "ann")) == Action.TELL
    assert asked(mine, past=by("bob", "cid")) == Action.CORDON


@pytest.mark.parametrize(
    ("facts", "action"),
    [
        pytest.param({"remap_pending": True}, Action.CORDON, id="remap pending"),
        pytest.param({"remap_failed": True}, Action.DRAIN, id="remap failed"),
        pytest.param({"ecc_uncorrected": 3}, Action.CORDON, id="uncorrectable errors"),
        pytest.param({"recovery_action": 1}, Action.CORDON, id="reset wanted"),
        pytest.param({"recovery_action": 2}, Action.REBOOT, id="reboot wanted"),
        pytest.param({"recovery_action": 4}, Action.DRAIN, id="drain and reset wanted"),
        pytest.param({"recovery_action": 15}, Action.CORDON, id="an action of a newer driver"),
    ],
)
def test_what_stands_asks_for_what_it_is(facts, action):
    assert worst(standing(sick(**facts))).action == action


@pytest.mark.parametrize("sampler", ["stuck", "no_driver", "driver_replaced", "ended"])
def test_a_node_whose_agent_is_blind_takes_no_work(sampler):
    assert worst(standing(NodeFacts(WELL.gpus, sampler))).action == Action.CORDON


def test_what_a_driver_does_not_say_is_no_finding():
    assert standing(WELL) == []
    assert is_clean(WELL)
    assert not is_clean(NodeFacts(WELL.gpus, "starting"))
    assert not is_clean(sick(healthy=False))


FOUND = Finding(Action.CORDON, "why", "todo", Clears.FACTS)


def test_a_cordon_ends_after_the_node_was_clean_for_the_probe():
    cordon = cordoned(None, [FOUND], clean=False, restarted=False, now=NOON)
    clean = cordoned(cordon, [], clean=True, restarted=False, now=NOON + MINUTE)
    assert not is_over(clean, NOON + MINUTE + PROBE - timedelta(seconds=1))
    assert is_over(clean, NOON + MINUTE + PROBE)
    again = cordoned(clean, [FOUND], clean=False, restarted=False, now=NOON + 2 * MINUTE)
    assert again.clean_since is None


def test_an_xid_that_needs_a_reset_waits_for_the_agent_to_begin_anew():
    found = happened([XidEvent(NOON, 0, 48)], [], XID_RULES)
    cordon = cordoned(None, found, clean=True, restarted=False, now=NOON)
    clean = cordoned(cordon, [], clean=True, restarted=False, now=NOON)
    assert not is_over(clean, NOON + 9 * PROBE)
    anew = cordoned(clean, [], clean=True, restarted=True, now=NOON)
    assert is_over(anew, NOON + PROBE)


def test_what_needs_a_person_waits_for_one():
    found = happened([XidEvent(NOON, 0, 64)], [], XID_RULES)
    cordon = cordoned(None, found, clean=True, restarted=True, now=NOON)
    assert not is_over(cordoned(cordon, [], True, True, NOON), NOON + timedelta(days=9))


@given(
    action=st.sampled_from(list(Action)), clean=st.booleans(), anew=st.booleans(), found=st.data()
)
def test_nothing_a_node_reports_moves_an_operators_word(action, clean, anew, found):
    drain = Cordon(Action.DRAIN, "maintenance", "ann", NOON, Clears.WORD)
    new = found.draw(st.lists(st.just(replace(FOUND, action=action)), max_size=2))
    after = cordoned(drain, new, clean, anew, NOON + MINUTE)
    assert after == drain
    assert not is_over(after, NOON + timedelta(days=9))
    assert is_over(replace(drain, until=NOON), NOON)


@given(st.lists(st.sampled_from([a for a in Action if a >= Action.CORDON]), min_size=1))
def test_a_cordon_only_grows_while_something_is_found(actions):
    known = None
    for action in actions:
        new = [replace(FOUND, action=action)]
        before, known = known, cordoned(known, new, clean=False, restarted=False, now=NOON)
        assert before is None or known.action >= before.action
    assert (known.action, known.by) == (max(actions), HEALTH)
