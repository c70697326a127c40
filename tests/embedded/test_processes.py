"""Processes are known by pid and start time, and found by the instance's mark."""

import os
import signal
import sys
from dataclasses import replace

import psutil
import pytest

from scheduler.embedded.layout import Layout
from scheduler.embedded.processes import (
    Spec,
    belonging,
    descendants,
    read_record,
    records,
    signal_all,
    spawn,
    specs_from_json,
    specs_to_json,
    stop,
    tail,
    write_record,
)
from tests.waiting import until

READY = "print('ready', flush=True)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
SLEEP = "import time\ntime.sleep(600)\n"
PARENT = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"


@pytest.fixture
def layout(tmp_path):
    layout = Layout.of(tmp_path / "data")
    layout.make()
    yield layout
    signal_all(belonging(layout), signal.SIGKILL)
    until(lambda: not belonging(layout))
    layout.ray.rmdir()


@pytest.fixture
def started():
    """Start a program and wait for its word; every one is ended and waited for."""
    processes = []

    def start(layout, program, name="one"):
        process, record = spawn(layout, Spec(name, (sys.executable, "-c", program)))
        processes.append(process)
        until(lambda: "ready" in (layout.log / f"{name}.log").read_text())
        return process, record

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_a_record_is_believed_only_where_pid_and_start_time_agree(layout, started):
    process, record = started(layout, READY + SLEEP)
    assert record.is_alive
    assert not replace(record, created=record.created - 60).is_alive
    process.kill()
    process.wait()
    assert not record.is_alive


def test_a_process_that_ended_and_was_not_waited_for_is_not_alive(layout, started):
    process, record = started(layout, READY)
    until(lambda: not record.is_alive)
    assert process.wait() == 0


def test_records_survive_and_a_damaged_one_is_left_out(layout, started):
    _, record = started(layout, READY + SLEEP)
    (layout.run / "two.json").write_text('{"name": "two", "pid"')
    assert records(layout) == {"one": record}


def test_a_record_says_how_often_its_process_ended(layout, started):
    _, record = started(layout, READY)
    write_record(layout, replace(record, exits=3, last_exit=-9))
    found = read_record(layout.run / "one.json")
    assert (found.exits, found.last_exit) == (3, -9)


def test_stopping_asks_first(layout, started):
    process, record = started(layout, READY + SLEEP)
    assert stop(record, 10) == "stopped"
    assert process.wait() == -signal.SIGTERM


def test_who_does_not_listen_is_killed_with_all_below_it(layout, started):
    process, record = started(layout, STUBBORN + PARENT + READY + SLEEP)
    (child,) = descendants(psutil.Process(process.pid))
    assert stop(record, 0.2) == "killed"
    assert process.wait() == -signal.SIGKILL
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_stopping_what_is_gone_does_nothing_to_who_has_its_pid_now(layout, started):
    stranger, record = started(layout, READY + SLEEP)
    assert stop(replace(record, created=record.created - 60), 1) == "gone"
    assert stranger.poll() is None


def test_an_orphan_belongs_to_the_instance_by_its_mark(layout, started):
    process, _ = started(layout, PARENT + READY + SLEEP)
    (child,) = descendants(psutil.Process(process.pid))
    process.kill()
    process.wait()
    assert [found.pid for found in belonging(layout)] == [child.pid]


def test_who_lost_its_mark_belongs_by_what_is_above_it(layout, started):
    program = PARENT.replace("SLEEP", "").replace("])", "], env={})")
    process, _ = started(layout, program + READY + SLEEP)
    (child,) = descendants(psutil.Process(process.pid))
    assert {found.pid for found in belonging(layout)} == {process.pid, child.pid}


def test_neither_the_caller_nor_another_instance_belongs(layout, started, tmp_path, monkeypatch):
    monkeypatch.setenv("COMMONPOOL_INSTANCE", layout.instance)
    other = Layout.of(tmp_path / "other")
    other.make()
    process, _ = started(other, READY + SLEEP)
    assert process.pid not in {found.pid for found in belonging(layout)}
    assert os.getpid() not in {found.pid for found in belonging(layout)}
    process.kill()
    process.wait()
    other.ray.rmdir()


def test_the_supervisors_plan_reads_back_as_it_was_written():
    specs = (
        Spec("hub", ("python", "-m", "x"), (("A", "1"), ("B", "2"))),
        Spec("agent", ("python",), after_port=8265),
    )
    assert specs_from_json(specs_to_json(specs)) == specs


def test_the_end_of_a_log_is_shown_and_its_absence_said(tmp_path):
    log = tmp_path / "a.log"
    assert "no log" in tail(log)
    log.write_text("")
    assert "empty" in tail(log)
    log.write_text("\n".join(str(number) for number in range(100)))
    assert tail(log, 2) == "98\n99"
