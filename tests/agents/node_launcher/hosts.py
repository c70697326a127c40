"""Simulated machines: a network, a pid and a control group namespace each, on one bridge.

Each has its own address, its own process number 1 and eight faked H100s, and can be cut off,
frozen and killed as a whole. Needs root.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

import psutil

from tests.fake_nvml import State
from tests.waiting import until

ROOT = Path(__file__).parents[3]
BRIDGE = "cp-lab0"
HUB_ADDRESS = "10.213.0.1"
_INIT = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"


def why_not() -> str:
    """Say why there can be no such machines here; empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(["ip", "netns", "add", "cp-probe"], capture_output=True, check=False)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.decode().strip()}"
    subprocess.run(["ip", "netns", "del", "cp-probe"], check=True)
    return ""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def bridge() -> Iterator[None]:
    """Bring up the switch that all machines are on, with the hub's address."""
    with suppress(subprocess.CalledProcessError):
        subprocess.run(["ip", "link", "del", BRIDGE], check=True, stderr=subprocess.DEVNULL)
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("addr", "add", f"{HUB_ADDRESS}/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    try:
        yield
    finally:
        ip("link", "del", BRIDGE)


def cgroup_root() -> Path | None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        words = line.split()
        if words[2] == "cgroup2" and os.access(words[1], os.W_OK):
            return Path(words[1])
    return None


class Host:
    """One machine; `name` is also its node's."""

    def __init__(self, number: int, folder: Path, library: Path) -> None:
        self.name, self.folder, self.library = f"gpu-{number}", folder, library
        self.address = f"10.213.0.{10 + number}"
        self._link = f"cp-v{number}"
        self._space = f"cp-{self.name}"
        folder.mkdir(parents=True)
        self.state = State(folder / "state.ini")
        self.state.write(self.uuids(number))
        self._network()
        self.group = self._make_group()
        self._init = subprocess.Popen(
            [
                *("nsenter", f"--net=/run/netns/{self._space}"),
                *("unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child"),
                *(sys.executable, "-c", _INIT),
            ],
            start_new_session=True,
            stderr=subprocess.DEVNULL,  # unshare complains of a signal mask, in vain.
        )
        self.one = until(lambda: self._children(self._init.pid), 20)[0]
        self.agent: int | None = None
        self._agents: list[subprocess.Popen] = []

    @staticmethod
    def uuids(number: int) -> str:
        return "".join(
            f"[gpu.{i}]\nuuid = GPU-fa4e{number:04x}-0000-4000-8000-{i:012x}\n" for i in range(8)
        )

    def _network(self) -> None:
        subprocess.run(["ip", "netns", "del", self._space], check=False, capture_output=True)
        ip("netns", "add", self._space)
        ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        ip("link", "set", self._link, "master", BRIDGE, "up")
        ip("-n", self._space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self._space, "link", "set", "eth0", "up")
        ip("-n", self._space, "link", "set", "lo", "up")

    def _make_group(self) -> Path | None:
        root = cgroup_root()
        if root is None:
            return None
        group = root / f"cp-{self.name}-{token_hex(3)}"
        group.mkdir()
        return group

    @staticmethod
    def _children(pid: int) -> list[int]:
        return [child.pid for child in psutil.Process(pid).children()]

    def start_agent(self, url: str, token: Path, *options: str) -> None:
        """Start `commonpool node-agent --launch` on this machine."""
        enter = [] if self.group is None else [f"echo $$ > {self.group}/cgroup.procs;"]
        command = [
            *("nsenter", "-t", str(self.one), "-n", "-p", "-m"),
            *(sys.executable, "-m", "scheduler.main", "node-agent", "--hub", url),
            *("--pool", "lab-pool", "--node", self.name, "--token-file", str(token)),
            *("--data", str(self.folder / "data"), "--exporter-port", "0", "--launch", *options),
        ]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "COMMONPOOL_"))}
        environment = {
            **kept,
            "LD_LIBRARY_PATH": str(self.library.parent),
            "FAKE_NVML_STATE": str(self.state.file),
            "PYTHONPATH": str(ROOT),
            "COMMONPOOL_LAUNCH_ADDRESS": self.address,
        }
        with (self.folder / "agent.log").open("ab") as log:
            started = subprocess.Popen(
                ["/bin/sh", "-c", f'{" ".join(enter)} exec "$@"', "sh", *command],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        self._agents.append(started)
        self.agent = until(lambda: self._children(started.pid), 20)[0]

    def signal_agent(self, what: signal.Signals) -> None:
        assert self.agent is not None
        os.kill(self.agent, what)
        if what is signal.SIGCONT:  # nsenter had stopped together with what it runs.
            self._agents[-1].send_signal(what)

    def cut_off(self) -> None:
        ip("link", "set", self._link, "down")

    def join_again(self) -> None:
        ip("link", "set", self._link, "up")

    def processes(self, run: str = "") -> list[psutil.Process]:
        """Return the machine's processes that are of a run: by its control group, or its mark."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                group = Path(f"/proc/{process.pid}/cgroup").read_text()
                marked = process.environ().get("COMMONPOOL_RUN") == run
                ours = self.group is None or f"/{self.group.name}" in group
                if ours and (marked or f"commonpool/{run}" in group):
                    found.append(process)
        return found

    def said(self) -> str:
        return (self.folder / "agent.log").read_text()

    def die(self) -> None:
        """Lose power: every process of the machine is gone at once."""
        with suppress(ProcessLookupError):
            os.kill(self.one, signal.SIGKILL)
        for process in (self._init, *self._agents):
            process.kill()
            process.wait(20)

    def remove(self) -> None:
        self.die()
        # Its link first: with the space alone, the kernel takes it away when it gets to it, and the
        # next test's machine of the same number may come before.
        subprocess.run(["ip", "link", "del", self._link], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "netns", "del", self._space], check=False)
        if self.group is not None:
            until(self._group_is_gone, 20)

    def _group_is_gone(self) -> bool:
        """Remove the machine's control groups; one whose processes are just dying stays a while."""
        assert self.group is not None
        for group in (*sorted(self.group.glob("*/*/"), reverse=True), self.group / "commonpool"):
            with suppress(OSError):
                group.rmdir()
        with suppress(OSError):
            self.group.rmdir()
        return not self.group.exists()
