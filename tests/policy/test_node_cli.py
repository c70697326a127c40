"""`commonpool node …`: what it asks the hub, and what it refuses without asking."""

import pytest
from typer.testing import CliRunner

from portal.client.hub import Hub
from scheduler.main import app
from scheduler.wire.operating import MaintenanceList, NodeDetail
from tests.build import NOON

VIEW = {"node": "n-1", "pool": "p", "gpus": 8, "free": 0, "usable": False}
VIEW |= {"why_unusable": "drained by ann: firmware", "simulated": False, "reported_at": NOON}
CORDON = {"action": "drain", "why": "firmware", "by": "ann", "at": NOON, "returns": "resume"}
DETAIL = NodeDetail(
    node=VIEW, cordon=CORDON, history=[{"at": NOON, "event": "drained", "sentence": "firmware"}]
)


@pytest.fixture
def asked(monkeypatch):
    found = {}

    def takes(name, answer):
        def method(self, *given):
            del self
            found[name] = given
            return answer

        monkeypatch.setattr(Hub, name, method)

    for name, answer in {"node": DETAIL, "drain": DETAIL, "resume": DETAIL}.items():
        takes(name, answer)
    takes("plan_maintenance", MaintenanceList(windows=()))
    takes("cancel_maintenance", None)
    return found


def run(*words):
    hub = ("--hub", "http://127.0.0.1:1", "--token", "cp_admin_x")
    return CliRunner().invoke(app, ["node", *words, *hub])


def test_a_drain_says_who_why_and_until_when(asked):
    said = run("drain", "n-1", "--reason", "firmware", "--for", "2h", "--notice", "5m")
    assert said.exit_code == 0, said.output
    node, order = asked["drain"]
    assert (node, order.reason, order.notice_seconds) == ("n-1", "firmware", 300)
    assert order.until is not None
    assert "takes no work: drained by ann: firmware" in said.output


def test_maintenance_is_from_one_time_to_another(asked):
    times = ("--from", "2026-03-02T12:00+00:00", "--for", "8h")
    assert run("reserve", "n-1", "n-2", "--reason", "firmware", *times).exit_code == 0
    (order,) = asked["plan_maintenance"]
    assert (order.nodes, order.starts_at) == (("n-1", "n-2"), NOON.replace(hour=12))
    assert (order.ends_at - order.starts_at).total_seconds() == 8 * 3600


@pytest.mark.parametrize("command", [("show", "n-1"), ("resume", "n-1")])
def test_show_and_resume_say_what_happened(asked, command):
    assert "firmware" in run(*command).output
    assert asked


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        pytest.param(("reserve", "n-1", "--reason", "x"), "--until or --for", id="no end"),
        pytest.param(
            ("drain", "n-1", "--reason", "x", "--for", "1h", "--until", "2026-03-02T18:00"),
            "not both",
            id="two ends",
        ),
        pytest.param(("drain", "n-1", "--reason", "x", "--for", "soon"), "soon", id="no length"),
        pytest.param(("drain", "n-1", "--reason", "x", "--until", "noon"), "noon", id="no time"),
    ],
)
def test_an_end_that_cannot_be_is_refused_here(asked, words, complaint):
    said = run(*words)
    assert said.exit_code != 0
    assert complaint in said.output
    assert asked == {}
