"""Real processes of a hub and a simulated site on this machine, to be killed at will."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.waiting import until

COMMONPOOL = (sys.executable, "-m", "scheduler.main")

POLICY = """\
version: 1
sites:
  - {id: lab, name: A lab}
users:
  - {name: dana, labels: [public]}
  - {name: alex, labels: [public]}
accounts:
  - {name: national, sector: dod}
  - {name: lab-a, parent: national, sector: dod, members: [dana]}
  - {name: lab-b, parent: national, sector: academic, members: [alex]}
pools:
  - {id: lab-pool, site: lab, tier: institution, owner: national, gpu_model: H100,
     gpus_per_node: 8, node_count: 2, labels: [public], backend: simulated}
quotas:
  - {pool: lab-pool, account: lab-a, nominal: 8, lend_max: 8, borrow_max: 8}
  - {pool: lab-pool, account: lab-b, nominal: 8, lend_max: 8, borrow_max: 8}
tiers:
  team: {default_time_limit: 10m, max_time_limit: 7d, notice: 1s}
  institution: {default_time_limit: 10m, max_time_limit: 7d, notice: 1s}
  national: {default_time_limit: 10m, max_time_limit: 7d, notice: 1s}
  frontier: {default_time_limit: 10m, max_time_limit: 7d, notice: 1s}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Lab:
    """A hub, one simulated site and its node reporter, each a real process."""

    data: Path
    port: int = field(default_factory=free_port)
    database_url: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "COMMONPOOL_"))}
        return kept | {
            "COMMONPOOL_DATA": str(self.data),
            "COMMONPOOL_DATABASE_URL": self.database_url,
        }

    def command(self, *words: str) -> str:
        return subprocess.run(
            [*COMMONPOOL, *words],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    def token(self, subject: str, scope: str) -> str:
        issued = self.command(
            "token", "create", subject, "--scope", scope, "--data", str(self.data), "--json"
        )
        return str(httpx.Response(200, text=issued).json()["token"])

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.data / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*COMMONPOOL, *words],
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def start_hub(self) -> None:
        self.start("hub", "hub", "--data", str(self.data), "--port", str(self.port))
        until(self.is_ready, seconds=60)

    def is_ready(self) -> bool:
        process = self.processes["hub"]
        if process.poll() is not None:
            raise AssertionError((self.data / "hub.log").read_text()[-3000:])
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def start_site(self) -> None:
        site = self.data / "site.token"
        node = self.data / "node.token"
        site.write_text(self.token("lab", "site"))
        node.write_text(self.token("lab", "node"))
        hub = ("--hub", self.url)
        where = ("--site", "lab", "--token-file", str(site), "--data", str(self.data / "agent"))
        self.start("agent", "site-agent", *hub, *where)
        names = ("--node", "lab-1", "--node", "lab-2", "--simulated", "8xH100")
        pool = ("--pool", "lab-pool", "--token-file", str(node))
        self.start("reporter", "node-agent", *hub, *pool, *names)

    def kill(self, name: str, sig: signal.Signals = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        process.send_signal(sig)
        process.wait(timeout=30)

    def stop(self) -> None:
        for name in ("agent", "reporter", "hub"):
            if name in self.processes:
                self.kill(name, signal.SIGTERM)


@contextmanager
def lab(data: Path, database_url: str = "") -> Iterator[Lab]:
    """A hub that is ready, with a policy, and a simulated site of 2 x 8 GPUs."""
    data.mkdir(parents=True, exist_ok=True)
    policy = data / "lab.yaml"
    policy.write_text(POLICY)
    made = Lab(data, database_url=database_url)
    made.command("admin", "migrate", "--data", str(data))
    made.command("policy", "apply", "--data", str(data), str(policy))
    try:
        made.start_hub()
        made.start_site()
        yield made
    finally:
        made.stop()
