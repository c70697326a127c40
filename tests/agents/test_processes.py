"""Every process of a run is found and ended: marked, orphaned, renamed, or without its mark."""

import os
import subprocess
import sys
import textwrap
from secrets import token_hex

import pytest

from agents.site import processes
from scheduler.clock import SystemClock
from tests.waiting import until

SLEEP = f"{sys.executable} -c 'import time; time.sleep(300)'"


@pytest.fixture
def run():
    name = f"cp-t{token_hex(5)}-1"
    yield name
    for pid in processes.of_run(name):
        os.kill(pid, 9)


def start(run: str | None, command: str) -> subprocess.Popen:
    env = {**os.environ, **({"COMMONPOOL_RUN": run} if run else {})}
    return subprocess.Popen(["/bin/sh", "-c", command], env=env, start_new_session=True)


async def ended(run: str, sessions=None) -> bool:
    return await processes.end_all(run, sessions, SystemClock(), 10)


async def test_a_program_and_its_children_are_ended(run):
    shell = start(run, f"{SLEEP} & {SLEEP} & wait")
    until(lambda: len(processes.of_run(run)) >= 3)
    assert await ended(run)
    assert shell.wait(5) < 0
    assert processes.of_run(run) == frozenset()


async def test_an_orphan_is_ended(run):
    shell = start(run, f"{SLEEP} & echo")
    shell.wait(5)
    until(lambda: len(processes.of_run(run)) == 1)
    assert await ended(run)
    assert processes.of_run(run) == frozenset()


async def test_a_child_that_drops_its_environment_is_ended_too(run):
    shell = start(run, f"env -i {SLEEP} & wait")
    until(lambda: len(processes.of_run(run)) >= 2)
    assert await ended(run)
    shell.wait(5)


async def test_an_orphan_without_its_mark_is_found_by_its_session(run):
    shell = start(None, f"env -i {SLEEP} & echo")
    born = processes.created(shell.pid)
    sessions = {shell.pid: born}
    shell.wait(5)
    (orphan,) = until(lambda: processes.of_run(run, sessions))
    assert await ended(run, sessions)
    assert processes.created(orphan) is None


async def test_an_orphan_without_mark_and_session_is_found_by_what_it_writes_to(run, tmp_path):
    log = tmp_path / f"job-driver-{run}.log"
    start(None, f"setsid env -i {SLEEP} >{log} 2>&1 & echo").wait(5)
    until(lambda: processes.of_run(run))
    assert await ended(run)
    assert processes.of_run(run) == frozenset()


async def test_a_session_id_that_was_given_to_another_process_is_left_alone(run):
    other = start(None, SLEEP)
    born = processes.created(other.pid)
    assert processes.of_run(run, {other.pid: born - 1}) == frozenset()
    assert other.poll() is None
    other.kill()
    other.wait()


async def test_other_runs_are_left_alone_even_if_their_name_begins_alike(run):
    other = start(f"{run}0", SLEEP)
    assert await ended(run)
    assert other.poll() is None
    other.kill()
    other.wait()


async def test_a_program_that_keeps_forking_is_ended(run):
    code = textwrap.dedent(
        """
        import os, time
        while True:
            if os.fork():
                time.sleep(0.005)
                os._exit(0)
        """
    )
    start(run, f'exec {sys.executable} -c "{code}"').wait(5)
    until(lambda: processes.of_run(run))
    assert await ended(run)
    assert processes.of_run(run) == frozenset()


def test_a_zombie_is_not_alive_and_a_pid_used_again_is_another_process():
    child = start(None, "exit 0")
    until(lambda: processes.created(child.pid) is None)
    child.wait()
    mine = processes.created(os.getpid())
    assert processes.is_alive(os.getpid(), mine)
    assert not processes.is_alive(os.getpid(), mine + 1)


def test_the_one_who_looks_never_finds_itself():
    # The environment in /proc is that of the start, so a process is started to look.
    code = "from agents.site import processes; print(len(processes.of_run('cp-self-1')))"
    env = {**os.environ, "COMMONPOOL_RUN": "cp-self-1"}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert said.stdout == b"0\n"
