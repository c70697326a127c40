"""The supervisor starts, restarts with growing pauses, and leaves its children when told."""

import signal
import socket
import subprocess
import sys
from contextlib import closing
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.embedded.layout import Layout
from scheduler.embedded.processes import Spec, belonging, read_record, signal_all, specs_to_json
from scheduler.embedded.supervisor import Child, back_off, supervise
from tests.waiting import until

SLEEP = "import time; time.sleep(600)"


class ManualClock:
    def __init__(self):
        self.at = 0.0

    def monotonic(self):
        return self.at


@pytest.fixture
def layout(tmp_path):
    layout = Layout.of(tmp_path / "data")
    layout.make()
    yield layout
    signal_all(belonging(layout), signal.SIGKILL)
    until(lambda: not belonging(layout))
    layout.ray.rmdir()


@pytest.fixture
def clock():
    return ManualClock()


def python(name, program, **more):
    return Spec(name, (sys.executable, "-c", program), **more)


def looked(child, layout, clock):
    child.look(layout, clock)
    return child.process


def test_a_process_that_ends_comes_back_after_its_pause_and_not_before(layout, clock):
    child = Child(python("one", "raise SystemExit(3)"))
    looked(child, layout, clock).wait()
    assert looked(child, layout, clock) is None
    record = read_record(layout.run / "one.json")
    assert (record.exits, record.last_exit) == (1, 3)
    clock.at += 0.9
    assert looked(child, layout, clock) is None
    clock.at += 0.2
    again = looked(child, layout, clock)
    assert again.wait() == 3
    assert read_record(layout.run / "one.json").exits == 1


@given(st.integers(1, 60))
def test_pauses_grow_and_stay_below_a_minute(ends):
    assert 1 <= back_off(ends) <= back_off(ends + 1) <= 60


def test_one_that_ran_for_a_minute_is_forgiven(layout, clock):
    child = Child(python("one", "raise SystemExit(1)"), in_a_row=5)
    looked(child, layout, clock).wait()
    clock.at += 61
    child.look(layout, clock)
    assert child.in_a_row == 1


def test_the_first_start_waits_for_the_port_and_a_later_one_does_not(layout, clock):
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        child = Child(python("agent", "raise SystemExit(1)", after_port=port))
        listener.listen()
        process = looked(child, layout, clock)
        process.wait()
    child.look(layout, clock)
    clock.at += 2
    assert looked(child, layout, clock).wait() == 1
    waiting = Child(python("other", "raise SystemExit(1)", after_port=port))
    assert looked(waiting, layout, clock) is None


def test_when_told_to_stop_it_leaves_its_children_running(layout):
    layout.plan.write_text(specs_to_json([python("one", SLEEP), python("two", SLEEP)]))
    argv = [sys.executable, "-m", "scheduler.embedded.supervisor", str(layout.data)]
    supervisor = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    children = ("one", "two")
    found = until(lambda: [r for n in children if (r := read_record(layout.run / f"{n}.json"))][1:])
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(10) == 0
    assert found[0].is_alive


def test_nothing_is_started_once_it_is_stopping(layout, clock):
    stopping = Event()
    stopping.set()
    supervise(layout, (python("one", SLEEP),), stopping, clock)
    assert belonging(layout) == []
