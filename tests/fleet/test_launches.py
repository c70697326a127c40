"""What the hub grants to nodes, and when it may take a member for fenced."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.fleet.launches import Launches, Member, Placed
from scheduler.wire.launches import LauncherReport, LaunchPhase, LaunchSeen

AT = datetime(2026, 1, 1, tzinfo=UTC)
TERM = 100.0
RUN = "cp-a-1"
GANG = Placed(
    RUN, 1, (Member("n1", ("GPU-1",), 3), Member("n2", ("GPU-2",), 3)), AT + timedelta(days=1)
)


def said(phase=None, **facts):
    seen = () if phase is None else (LaunchSeen(run=RUN, token=1, phase=phase, **facts),)
    return LauncherReport(group="cgroup", launches=seen)


HEAD_UP = said(LaunchPhase.UP, head="10.0.0.1:20000", api="http://10.0.0.1:20001", secret="s")  # noqa: S106  # of no cluster


@pytest.fixture
def launches():
    made = Launches(TERM)
    made.site_says("lab", "a", 0, [RUN])
    made.place("lab", [GANG], 0)
    return made


def orders(launches, node, report, now=0.0):
    launches.node_says(node, report, now)
    return launches.orders("lab", node, now, AT + timedelta(seconds=now)).wanted


def phases(launches, now):
    return {m.node: m.phase for m in launches.launched("lab", now)}


def test_a_worker_is_told_of_its_head_once_that_is_up_and_not_before(launches):
    assert orders(launches, "n2", said()) == ()
    (head,) = orders(launches, "n1", said())
    assert (head.member, head.gpu_uuids, head.head, head.seconds) == (0, ("GPU-1",), "", TERM)
    assert orders(launches, "n2", said()) == ()
    orders(launches, "n1", HEAD_UP)
    (worker,) = orders(launches, "n2", said())
    assert (worker.member, worker.head, worker.secret) == (1, "10.0.0.1:20000", "s")


def test_one_member_that_is_over_leaves_no_order_for_any(launches):
    orders(launches, "n1", HEAD_UP)
    orders(launches, "n2", said(LaunchPhase.ENDING, why="Ray ended"))
    assert orders(launches, "n1", HEAD_UP) == ()


def test_a_member_of_a_silent_node_is_fenced_only_after_its_grant_has_expired(launches):
    orders(launches, "n1", said())
    orders(launches, "n1", HEAD_UP, now=10)
    launches.site_says("lab", "a", 1, [])
    assert phases(launches, 10 + TERM)["n1"] is LaunchPhase.UP
    assert phases(launches, 10 + TERM + 11)["n1"] is LaunchPhase.FENCED


def test_a_grant_ends_with_the_lease_at_the_latest(launches):
    launches.place("lab", [Placed(RUN, 1, GANG.members, AT + timedelta(seconds=30))], 0)
    (order,) = orders(launches, "n1", said())
    assert order.seconds == 30
    assert orders(launches, "n1", HEAD_UP, now=31) == ()


def test_a_hub_that_was_restarted_lets_runs_go_on_and_calls_none_fenced_too_early():
    again = Launches(TERM)
    again.place("lab", [GANG], 0)
    (order,) = orders(again, "n1", HEAD_UP)
    assert order.run == RUN
    again.site_says("lab", "a", 0, [])
    assert phases(again, 1)["n2"] is LaunchPhase.UNKNOWN
    assert phases(again, TERM + 11)["n2"] is LaunchPhase.FENCED


def test_a_site_message_that_a_newer_one_overtook_changes_nothing(launches):
    launches.site_says("lab", "a", 5, [])
    launches.site_says("lab", "a", 4, [RUN])
    assert orders(launches, "n1", said()) == ()


def test_a_run_is_settled_once_it_is_fenced_and_the_hub_has_ended_it(launches):
    fenced = said(LaunchPhase.FENCED, why="over")
    launches.node_says("n1", fenced, 0)
    assert launches.orders("lab", "n1", 0, AT).settled == ()
    launches.place("lab", [], 1)
    launches.node_says("n1", fenced, 1)
    assert launches.orders("lab", "n1", 1, AT).settled == (RUN,)


STEPS = st.lists(
    st.tuples(st.sampled_from(["n1", "n2", "wait", "down"]), st.booleans()), max_size=25
)


@given(steps=STEPS)
def test_nothing_counts_as_gone_while_a_node_may_still_have_it(steps):
    """A node has what it was granted from the reply on that it got, till that grant is over."""
    launches = Launches(TERM)
    launches.site_says("lab", "a", 0, [RUN])
    launches.place("lab", [GANG], 0)
    has: dict[str, float] = {}
    now = 0.0
    for what, arrives in steps:
        now += 20
        has = {node: until for node, until in has.items() if until > now}
        if what == "down":
            launches.site_says("lab", "a", 1, [])
        elif what != "wait":
            report = HEAD_UP if what in has else said()
            granted = orders(launches, what, report, now)
            if not arrives:
                pass
            elif granted:
                has[what] = now + granted[0].seconds
            else:
                has.pop(what, None)
        for node in has:
            assert phases(launches, now)[node] not in {LaunchPhase.NONE, LaunchPhase.FENCED}


def stands(launches, node, now):
    return [(one.phase, one.seconds, one.why) for one in launches.standing(node, now)]


def test_how_a_member_stands_is_told_with_for_how_long(launches):
    assert not launches.has_launcher("n1")
    assert stands(launches, "n1", 0) == []
    orders(launches, "n1", said(), now=1)
    assert stands(launches, "n1", 3) == [(LaunchPhase.UNKNOWN, 2.0, "")]
    orders(launches, "n1", said(LaunchPhase.STARTING), now=4)
    orders(launches, "n1", said(LaunchPhase.STARTING), now=9)
    assert stands(launches, "n1", 10) == [(LaunchPhase.STARTING, 6.0, "")]
    orders(launches, "n1", HEAD_UP, now=12)
    assert stands(launches, "n1", 12) == [(LaunchPhase.UP, 0.0, "")]
    orders(launches, "n1", said(LaunchPhase.ENDING, why="Ray ended"), now=20)
    assert stands(launches, "n1", 25) == [(LaunchPhase.ENDING, 5.0, "Ray ended")]
    assert launches.has_launcher("n1")
    assert stands(launches, "n2", 25) == []


def test_a_member_of_a_silent_node_stands_fenced_since_its_grant_was_over(launches):
    orders(launches, "n1", HEAD_UP)
    ((phase, seconds, why),) = stands(launches, "n1", TERM + 15)
    assert (phase, seconds) == (LaunchPhase.FENCED, 5.0)
    assert "is not heard of" in why
