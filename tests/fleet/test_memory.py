"""What is kept of reports in memory: each counts once, and memory follows nodes, not time."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.fleet.memory import Fleet, Heard
from scheduler.fleet.pace import Pace
from scheduler.wire.reports import GpuReport, GpuUse, MemoryOver, NodeReport, RatioOver, WattsOver
from tests.build import NOON

AT = NOON.timestamp()


def said(sequence, sm=None, *, node="n", boot="b", gpus=2, **more):
    over = None if sm is None else RatioOver(sm, sm, sm)
    watts, mib = more.pop("watts", 80.0), more.pop("mib", 500.0)
    rest = {
        "power_watts": None if watts is None else WattsOver(watts, watts, watts),
        "memory_mib": None if mib is None else MemoryOver(mib, mib, mib),
    }
    return NodeReport(
        node=node,
        pool="p",
        boot_id=boot,
        sequence=sequence,
        sampled_at=NOON,
        gpus=tuple(GpuReport(index=i, uuid=f"{node}-{i}", model="H100") for i in range(gpus)),
        use=tuple(GpuUse(index=i, sm_active=over, **rest) for i in range(gpus)),
        **more,
    )


def tell(fleet, report, at=AT):
    """Report as the API does: news is stored, and then known."""
    heard = fleet.hear(report, at)
    if heard is Heard.NEWS:
        fleet.stored(report, at)
    return heard


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1)), min_size=1, max_size=40))
def test_a_report_counts_once_however_often_and_in_whatever_order_it_comes(told):
    fleet, newest, taken = Fleet(60), -1, []
    for number, sm in told:
        heard = tell(fleet, said(number, sm))
        assert (heard is Heard.OLD) == (number <= newest)
        if number > newest:
            newest = number
            taken.append(sm)
    rollups = list(fleet.rolled_up("n"))
    assert [one.reports for one in rollups] == [len(taken)] * 2
    assert all(math.isclose(r.sm_mean, sum(taken) / len(taken), abs_tol=1e-9) for r in rollups)
    assert list(fleet.rolled_up("n")) == []


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 8))
def test_memory_follows_the_nodes_and_not_how_often_they_come_and_go(names, gpus):
    fleet = Fleet(60)
    for boot, name in enumerate(names):
        tell(fleet, said(0, 0.5, node=name, boot=str(boot), gpus=gpus))
        if boot % 2:
            fleet.forget(name)
    assert len(fleet.use) <= 3 * gpus


def test_what_was_not_measured_is_never_idle_and_never_zero():
    fleet = Fleet(60)
    tell(fleet, said(1, 0.0))
    assert fleet.idle_since("n", 0) == AT
    tell(fleet, said(2, 0.0), AT + 15)
    assert fleet.idle_since("n", 0) == AT
    tell(fleet, said(3, None), AT + 30)
    assert fleet.idle_since("n", 0) is None
    (first, _) = fleet.rolled_up("n")
    assert (first.reports, first.sm_mean) == (3, 0.0)
    assert first.watts_mean == 80


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"sm": 0.5}, id="its multiprocessors work"),
        pytest.param({"watts": 300.0}, id="it draws power"),
        pytest.param({"mib": 60_000.0}, id="it holds somebody's data"),
        pytest.param({"sm": None}, id="its work was not measured"),
        pytest.param({"watts": None}, id="its power was not measured"),
        pytest.param({"mib": None}, id="its memory was not measured"),
    ],
)
def test_one_counter_that_does_not_say_idle_is_enough(more):
    fleet, sm = Fleet(60), more.pop("sm", 0.0)
    tell(fleet, said(1, 0.0))
    tell(fleet, said(2, sm, **more), AT + 15)
    assert fleet.idle_since("n", 0) is None
    tell(fleet, said(3, 0.0), AT + 30)
    assert fleet.idle_since("n", 0) == AT + 30


def test_a_report_with_other_facts_is_news_and_one_with_other_numbers_is_not():
    fleet = Fleet(60)
    assert tell(fleet, said(1, 0.1)) is Heard.NEWS
    assert tell(fleet, said(2, 0.9)) is Heard.SAME
    assert tell(fleet, said(3, 0.9, gpus=1)) is Heard.NEWS
    assert tell(fleet, said(4, 0.9, gpus=1, block="b")) is Heard.NEWS
    fleet.doubt("n")
    assert tell(fleet, said(5, 0.9, gpus=1, block="b")) is Heard.NEWS


def test_the_older_of_two_agents_is_fenced_until_the_later_one_falls_silent():
    fleet, hour = Fleet(60), timedelta(hours=1)
    assert tell(fleet, said(1, boot="old", started_at=NOON - hour)) is Heard.NEWS
    assert tell(fleet, said(1, boot="new", started_at=NOON)) is Heard.NEWS
    old = said(2, boot="old", started_at=NOON - hour)
    assert tell(fleet, old) is Heard.FENCED
    assert tell(fleet, old, AT + 61) is Heard.NEWS


def test_a_node_that_is_expected_and_does_not_come_is_silent():
    fleet = Fleet(60)
    fleet.expect("n", "p", AT)
    assert fleet.silent(AT) == {}
    assert fleet.silent(AT + 1) == {"n": AT}
    assert tell(fleet, said(0), AT + 2) is Heard.NEWS
    assert fleet.silent(AT + 1) == {}


def test_the_pace_slackens_while_reports_take_too_long_and_recovers():
    pace, now = Pace(share=0.5), 0.0
    for _ in range(8):
        pace.took(9.0, now := now + 5)
    assert 50 < pace.seconds(15) <= 60
    for _ in range(40):
        pace.took(0.1, now := now + 5)
    assert pace.seconds(15) == 15


IDLE = {"sm": 0.0}


def test_what_was_told_elsewhere_may_have_been_work_so_idleness_begins_anew():
    """R18: missing data is never idle, and a number that was left out is missing data."""
    fleet = Fleet(60)
    for number in range(3):
        tell(fleet, said(number, **IDLE), AT + 15 * number)
    assert fleet.idle_since("n", 0) == AT
    tell(fleet, said(4, **IDLE), AT + 60)
    assert fleet.idle_since("n", 0) == AT + 60


def test_a_node_that_counts_without_a_gap_speaks_here_alone():
    fleet = Fleet(60)
    for number in range(5):
        tell(fleet, said(number), AT + number)
    assert fleet.split(AT) == {}
    tell(fleet, said(6), AT + 6)
    assert set(fleet.split(AT + 6)) == {"n"}
    assert fleet.split(AT + 7) == {}


def test_one_that_had_counted_before_it_spoke_here_may_speak_elsewhere_too():
    fleet = Fleet(60)
    tell(fleet, said(7), AT)
    assert set(fleet.split(AT)) == {"n"}


def test_a_node_is_silent_when_nobody_heard_it():
    fleet = Fleet(60)
    tell(fleet, said(0), AT)
    fleet.heard_elsewhere("n", AT + 30)
    fleet.heard_elsewhere("n", AT + 20)
    assert fleet.silent(AT + 30) == {}
    assert fleet.silent(AT + 31) == {"n": AT + 30}


STEPS = st.tuples(st.sampled_from("abcd"), st.integers(-40, 40), st.booleans())


@given(st.lists(STEPS, max_size=40), st.integers(0, 60))
def test_whoever_was_not_heard_is_found_wherever_the_clock_went(steps, patience):
    fleet, now, here, elsewhere = Fleet(60), AT, {}, {}
    for number, (name, passed, speaks_here) in enumerate(steps):
        now += passed  # Clocks are set back, too.
        if speaks_here:
            tell(fleet, said(number, 0.5, node=name), now)
            here[name] = now
        elif name in here:
            fleet.heard_elsewhere(name, now)
            elsewhere[name] = max(elsewhere.get(name, now), now)
        last = {one: max(at, elsewhere.get(one, at)) for one, at in here.items()}
        since = now - patience
        assert fleet.silent(since) == {one: at for one, at in last.items() if at < since}
