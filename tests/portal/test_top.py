"""`commonpool top`: what it draws, how it gives way, and what it says while the hub is away."""

import json
import os
import pty
import threading
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from typer.testing import CliRunner

from portal import topview
from portal.client.hub import HubProblem, HubUnreachable
from portal.commands.top import Asking, Known, Look, drawn, pressed, refresh
from portal.commands.top_keys import Keys
from portal.commands.top_table import Detail, bar, lines
from portal.topview import Sort, fleet
from scheduler.core.model import Tier
from scheduler.main import app
from scheduler.wire.accounts import Problem
from scheduler.wire.telemetry import (
    ForeignProcesses,
    GpuTelemetry,
    Holding,
    NodeTelemetry,
    TelemetryPage,
)
from tests.portal.conftest import NOBODY_LISTENS
from tests.waiting import until

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
DANA = Holding(account="arl-vision", run="cp-j-1", job="j", user="dana")


def gpu(index, sm=None, **more):
    values = {"power_watts": 600.0, "memory_used_mib": 4096.0} if sm is not None else {}
    found = {"uuid": f"SIM-{index}", "healthy": True, **values, **more}
    return GpuTelemetry(index=index, sm_active=sm, **found)


def node(name, *gpus, pool="national-hub", tier=Tier.NATIONAL, **more):
    values = {"site": pool, "gpu_model": "H100", "usable": True, "simulated": False}
    values |= {"measured": True, "reported_at": AT}
    return NodeTelemetry(node=name, pool=pool, tier=tier, gpus=gpus, **(values | more))


def page(*nodes, **more):
    return TelemetryPage(at=AT, nodes=nodes, **more)


def text_of(known, width=140, height=None, look=None, now=AT):
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    with console.file:
        console.print(drawn(known, look or Look(), now, width, height))
        return console.export_text()


BUSY = node(
    "n1",
    gpu(0, 0.8, held_by=(DANA,), temperature_celsius=61.0),
    gpu(1, 0.0, held_by=(DANA,), idle_since=AT - timedelta(minutes=9)),
    gpu(2, healthy=False, why_unhealthy="GPU lost"),
    gpu(3, 0.4, foreign=(ForeignProcesses(processes=2, run="cp-x-1"),)),
    gpu(4),
)
SICK = node("n2", gpu(0, 0.0), usable=False, why_unusable="GPU 0 reported XID 79")


def test_each_gpu_in_use_or_in_trouble_is_drawn_with_who_and_why():
    said = text_of(Known(page(BUSY, SICK), AT))
    for word in ("National tier", "cp-j-1 arl-vision dana", "80%", "61°", "9 min", "GPU lost"):
        assert word in said
    assert "2 foreign processes of cp-x-1" in said
    assert "GPU 0 reported XID 79" in said
    assert "GPU 4" not in said


def test_who_sits_on_an_idle_lease_is_drawn_as_its_guest():
    guest = Holding(account="acme", guest=True)
    leaves = guest.model_copy(update={"draining": True})
    assert topview.who(gpu(0, held_by=(DANA, guest))) == "cp-j-1 arl-vision dana + guest acme"
    assert topview.who(gpu(0, held_by=(DANA, leaves))).endswith("+ guest acme (leaving)")


def test_what_was_not_measured_is_a_dash_and_never_0():
    (line,) = (one for one in lines(fleet([BUSY], AT), Detail.GPUS) if "GPU 4" in one.name)
    assert (line.sm, line.memory, line.power) == (None, "–", "–")  # noqa: RUF001  # a dash
    assert topview.percent(None) == "–"  # noqa: RUF001  # a dash


def test_sums_add_power_and_average_activity_of_what_was_measured():
    sums = topview.sums(BUSY.gpus, AT)
    assert (sums.gpus, sums.held, sums.sick, sums.foreign, sums.idle_held) == (5, 2, 1, 2, 1)
    assert sums.power_watts == 1800
    assert sums.sm_active == pytest.approx(0.4)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 140, 200])
def test_no_line_is_wider_than_the_terminal_and_the_state_stays(width):
    said = text_of(Known(page(BUSY, SICK), AT), width, 40)
    assert max(len(line) for line in said.splitlines()) <= width
    assert "state" in said


@pytest.mark.parametrize(
    ("order", "first"),
    [
        (Sort.NAME, "n1"),
        (Sort.TROUBLE, "n2"),
        (Sort.SM, "n3"),
        (Sort.IDLE, "n1"),
    ],
)
def test_nodes_stand_in_the_order_asked_for(order, first):
    third = node("n3", gpu(0, 0.9))
    ((tier),) = fleet([BUSY, SICK, third], AT, order).tiers
    assert tier.pools[0].nodes[0].node.node == first


def test_busy_leaves_out_what_is_free_and_well():
    free = node("n4", gpu(0, 0.0))
    shown = fleet([BUSY, SICK, free], AT, busy=True)
    assert [row.node.node for row in shown.tiers[0].pools[0].nodes] == ["n1", "n2"]


def test_while_the_hub_is_away_the_last_picture_stays_with_its_age():
    def away():
        raise HubUnreachable("http://hub", "nothing listens there")

    known = Known(page(BUSY), AT)
    refresh(known, away, AT + timedelta(minutes=2))
    said = text_of(known, now=AT + timedelta(minutes=2))
    assert "No answer from the hub at http://hub: nothing listens there." in said
    assert "This is what it said 2 min ago." in said
    assert "cp-j-1" in said
    refresh(known, lambda: page(SICK), AT + timedelta(minutes=3))
    assert "No answer" not in text_of(known)


def test_a_hub_that_breaks_is_away_and_one_that_refuses_ends_it():
    def answers(status):
        raise HubProblem(Problem(title="Storage unavailable", status=status, detail="no disk"))

    known = Known()
    refresh(known, lambda: answers(503), AT)
    assert "no disk" in text_of(known)
    with pytest.raises(HubProblem):
        refresh(known, lambda: answers(401), AT)


def test_while_an_answer_is_awaited_nothing_waits_and_a_refusal_is_told_after_it():
    go_on = threading.Event()

    def refused():
        go_on.wait(10)
        raise HubProblem(Problem(title="Not authenticated", status=401, detail="no token"))

    known = Known(page(BUSY), AT)
    asking = Asking(known, refused)
    asking.begin()
    assert asking.is_on
    assert "cp-j-1" in text_of(known)
    go_on.set()
    with pytest.raises(HubProblem, match="no token"):
        until(lambda: not asking.is_on)


def test_keys_change_the_look_and_others_do_not():
    look = Look()
    for key in "sdbjx ":
        look = pressed(look, key)
    assert look == Look(Sort.SM, Detail.GPUS, busy=True, first=5, paused=True)
    assert pressed(pressed(look, "k"), "k").first == 0


def test_scrolling_ends_at_the_last_line():
    said = text_of(Known(page(BUSY, SICK), AT), 140, 8, Look(detail=Detail.GPUS, first=999))
    assert "n2" in said
    assert "lines below" not in said


def test_there_is_more_than_is_shown_is_said():
    assert "The first 1 node: narrow it" in text_of(Known(page(BUSY, next="n1"), AT))


@pytest.mark.parametrize(("part", "drawn"), [(None, ""), (0, ""), (0.5, "███"), (1, "██████")])
def test_a_part_is_a_bar_of_six_cells(part, drawn):
    assert bar(part) == drawn


def test_keys_come_without_enter_and_the_terminal_is_as_before():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal, Keys(terminal) as keys:
        assert keys.within(0) == ""
        os.write(ours, b"q")
        assert keys.within(5) == "q"
    os.close(ours)


def top(url, *words):
    return CliRunner().invoke(app, ["top", "--hub", url, "--token", "cp_user_dana", *words])


def test_programs_get_json_and_pipes_one_picture(hub_url):
    found = json.loads(top(hub_url, "--json", "--pool", "state-u-hpc").stdout)
    assert {one["pool"] for one in found["nodes"]} == {"state-u-hpc"}
    assert "Institution tier" in top(hub_url).stdout


def test_once_without_a_hub_fails_in_one_sentence():
    done = top(NOBODY_LISTENS, "--once")
    assert done.exit_code == 1
    assert "No answer from the hub" in done.output
