"""Starting and stopping an instance, with small programs in the place of its parts."""

import io
import signal
import socket
import sys
from contextlib import closing

import pytest
from rich.console import Console

from scheduler.embedded import up
from scheduler.embedded.down import take_down
from scheduler.embedded.instance import Presence, alone, look
from scheduler.embedded.layout import Layout
from scheduler.embedded.narrator import Narrator
from scheduler.embedded.processes import Spec, belonging, records, signal_all
from scheduler.embedded.status import statuses
from scheduler.embedded.trouble import Trouble
from tests.waiting import until

SLEEP = "print('ready', flush=True)\nimport time\ntime.sleep(600)\n"
BROKEN = "print('no such thing', flush=True)\nraise SystemExit(7)\n"


class Told:
    def __init__(self):
        self._text = io.StringIO()
        self.narrator = Narrator(Console(file=self._text, width=200))

    @property
    def text(self):
        return self._text.getvalue()


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def layout(tmp_path):
    layout = Layout.of(tmp_path / "data")
    yield layout
    signal_all(belonging(layout), signal.SIGKILL)
    until(lambda: not belonging(layout))
    if layout.ray.exists():
        layout.ray.rmdir()


@pytest.fixture
def parts(monkeypatch):
    """Let an instance consist of programs given by name, ready when each has said so."""

    def consist(holds=None, **programs):
        found = tuple(Spec(n, (sys.executable, "-c", text)) for n, text in programs.items())

        def steps(layout, *_):
            for name in programs:
                log = layout.log / f"{name}.log"
                ready = holds or (lambda log=log: log.exists() and "ready" in log.read_text())
                yield up._Step(f"{name} says ready", ready, (name,))  # noqa: SLF001

        monkeypatch.setattr(up, "specs", lambda *_: found)
        monkeypatch.setattr(up, "_steps", steps)

    return consist


def wishes(layout, **more):
    return up.Wishes(layout.data, 0, None, force=True, **more)


def test_an_instance_comes_up_and_goes_down_and_leaves_nothing(layout, parts, told):
    parts(hub=SLEEP, agent=SLEEP)
    started = up.bring_up(wishes(layout), told.narrator)
    assert started.fresh
    assert started.people == ("dana", "alex", "iris", "lee", "pat", "ops", "audra")
    assert look(layout).presence is Presence.UP
    assert [(s.name, s.up) for s in statuses(layout)] == [
        ("supervisor", True),
        ("hub", True),
        ("agent", True),
    ]
    assert take_down(layout, told.narrator) == 3
    assert belonging(layout) == []
    assert look(layout).presence is Presence.ABSENT
    assert "agent says ready" in told.text


def test_a_second_up_finds_it_and_starts_nothing(layout, parts, told):
    parts(hub=SLEEP)
    first = up.bring_up(wishes(layout), told.narrator)
    before = records(layout)
    second = up.bring_up(wishes(layout), told.narrator)
    assert not second.fresh
    assert (second.hub, sorted(second.people)) == (first.hub, sorted(first.people))
    assert records(layout) == before


def test_half_an_instance_is_told_with_the_way_out(layout, parts, told):
    parts(hub=SLEEP)
    up.bring_up(wishes(layout), told.narrator)
    records(layout)["supervisor"].process().kill()
    until(lambda: look(layout).presence is Presence.PARTLY)
    with pytest.raises(Trouble, match="not: supervisor") as raised:
        up.bring_up(wishes(layout), told.narrator)
    assert "commonpool down" in raised.value.next_step


def test_a_part_that_ends_while_it_starts_is_told_with_its_last_words(layout, parts, told):
    parts(hub=SLEEP, agent=BROKEN)
    with pytest.raises(Trouble, match="agent ended with exit code 7") as raised:
        up.bring_up(wishes(layout), told.narrator)
    assert "no such thing" in raised.value.evidence
    assert belonging(layout) == []


def test_an_interrupted_start_cleans_up(layout, parts, told):
    def interrupted():
        until(lambda: "hub" in records(layout))
        raise KeyboardInterrupt

    parts(holds=interrupted, hub=SLEEP)
    with pytest.raises(KeyboardInterrupt):
        up.bring_up(wishes(layout), told.narrator)
    assert belonging(layout) == []
    assert "interrupted" in told.text


def test_a_taken_port_is_told_before_anything_is_started(layout, parts, told):
    parts(hub=SLEEP)
    with closing(socket.socket()) as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        asked = up.Wishes(layout.data, busy.getsockname()[1], None, force=True)
        with pytest.raises(Trouble, match="in use"):
            up.bring_up(asked, told.narrator)
    assert records(layout) == {}


def test_too_little_memory_stops_it_unless_forced(layout, parts, told, monkeypatch):
    parts(hub=SLEEP)
    monkeypatch.setattr(up.checks, "free_memory", lambda: 10 * 1024**2)
    with pytest.raises(Trouble, match=r"0\.0 GiB"):
        up.bring_up(up.Wishes(layout.data, 0, None), told.narrator)
    assert up.bring_up(wishes(layout), told.narrator).fresh


def test_two_at_once_do_not_mix(layout, told):
    layout.make()
    with alone(layout), pytest.raises(Trouble, match="at work"):
        up.bring_up(wishes(layout), told.narrator)


def test_a_crashed_part_comes_back_and_status_says_so(layout, parts, told):
    parts(hub=SLEEP)
    up.bring_up(wishes(layout), told.narrator)
    records(layout)["hub"].process().kill()
    until(lambda: records(layout)["hub"].exits == 1)
    until(lambda: records(layout)["hub"].is_alive)
    (_, hub) = statuses(layout)
    assert hub.up
    assert "came back after exit code -9" in hub.note


def test_what_is_down_is_shown_with_its_last_words(layout, parts, told):
    parts(hub=SLEEP)
    up.bring_up(wishes(layout), told.narrator)
    take_down(layout, told.narrator)
    (_, hub) = statuses(layout)
    assert not hub.up
    assert hub.note == "ready"


def test_down_ends_what_lost_its_parent_and_says_so(layout, parts, told):
    orphan = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n{SLEEP}"
    parts(hub=orphan)
    up.bring_up(wishes(layout), told.narrator)
    until(lambda: len(belonging(layout)) == 3)
    take_down(layout, told.narrator)
    assert belonging(layout) == []
    assert "leftover" in told.text
