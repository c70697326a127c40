"""Real keepers of real processes: nothing outlives its grant, and nothing starts twice (R5)."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from secrets import token_hex

import msgspec
import psutil
import pytest

from agents.node.launch_cgroup import above_of_this_machine
from agents.node.launch_files import Folder, Order, boot_id, uptime
from agents.site import processes
from scheduler.wire.launches import LaunchPhase
from tests.agents.node_launcher.hosts import ROOT
from tests.waiting import until

# One that sheds its session and its parent, one that sheds its mark too, and one that stays.
PROGRAM = (
    "setsid sh -c 'sleep 6011 & sleep 6011 &' ; env -u COMMONPOOL_RUN sleep 6011 &"
    ' echo x >> "$WITNESS"; sleep 6011'
)


@dataclass
class Kept:
    folder: Folder
    process: subprocess.Popen
    above: str

    @property
    def run(self):
        return self.folder.path.name

    def phase(self):
        state = self.folder.state()
        return state and state.phase

    def count(self):
        return len([p for p in psutil.process_iter(["cmdline"]) if self._is_ours(p)])

    def _is_ours(self, process):
        try:
            environment = process.environ()
        except psutil.Error:
            return False
        return environment.get("WITNESS") == str(self.folder.path / "witness")

    def change(self, **fields):
        self.folder.write_order(msgspec.structs.replace(self.folder.order(), **fields))

    def again(self):
        self.process.kill()
        self.process.wait(20)
        self.process = keeper(self.folder, self.above)


def keeper(folder, above):
    return subprocess.Popen(
        [sys.executable, "-m", "agents.node.launch_keeper", str(folder.path), above],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture(params=["cgroup", "marks"])
def kept(request, tmp_path):
    above = above_of_this_machine() if request.param == "cgroup" else None
    if request.param == "cgroup" and above is None:
        pytest.skip("no control group can be made here: no writable cgroup v2")
    run = f"cp-k{token_hex(5)}-1"
    folder = Folder(tmp_path / run)
    folder.path.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        order = Order(
            run=run,
            token=1,
            expires=uptime() + 600,
            boot=boot_id(),
            command=("/bin/sh", "-c", PROGRAM),
            environment={
                "PATH": os.environ["PATH"],
                "WITNESS": str(folder.path / "witness"),
                "COMMONPOOL_RUN": run,
            },
            probe=listening.getsockname(),
            ports=(),
            scratch="",
        )
        folder.write_order(order)
        made = Kept(folder, keeper(folder, str(above or "")), str(above or ""))
        yield made
    made.process.kill()
    made.process.wait(20)
    for pid in processes.of_run(run):
        processes.send(pid, signal.SIGKILL)


def is_up(kept):
    until(lambda: kept.phase() is LaunchPhase.UP and kept.count() >= 4, 30)


def is_fenced(kept):
    until(lambda: kept.phase() is LaunchPhase.FENCED, 30)
    assert kept.count() == 0
    assert kept.process.wait(20) == 0
    assert (kept.folder.path / "witness").read_text() == "x\n"
    return kept.folder.state().why


def test_a_member_whose_grant_is_over_is_ended_with_all_that_it_started(kept):
    is_up(kept)
    kept.change(expires=uptime())
    assert is_fenced(kept) == "its lease expired: the hub did not renew it"


def test_a_member_that_is_told_to_stop_is_fenced_with_the_reason(kept):
    is_up(kept)
    kept.change(stop="the hub no longer wants it here")
    assert is_fenced(kept) == "the hub no longer wants it here"


def test_a_member_whose_first_process_dies_is_ended(kept):
    is_up(kept)
    os.kill(kept.folder.state().pid, signal.SIGKILL)
    assert is_fenced(kept).startswith("Ray ended")


def test_a_second_keeper_ends_what_the_first_one_started_and_never_starts_it_again(kept):
    is_up(kept)
    kept.again()
    assert is_fenced(kept) == "its keeper was killed"
