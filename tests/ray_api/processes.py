"""A hub as a process of its own, and Ray's own clients beside it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from scheduler.clock import SystemClock
from scheduler.db.engine import Database
from scheduler.db.policies import save_policy
from scheduler.db.tokens import issue_token
from scheduler.wire.accounts import Scope, TokenRequest
from tests.ray_api.live import POLICY
from tests.ray_api.shell_site import ShellSite
from tests.waiting import until

ROOT = Path(__file__).parents[2]
WHO = {
    "dana": ("dana", Scope.USER),
    "alex": ("alex", Scope.USER),
    "site": ("lab", Scope.SITE),
    "node": ("lab", Scope.NODE),
}


def clean_environment(home: Path) -> dict[str, str]:
    """Return our environment without anything that would steer Ray's client or our hub."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "COMMONPOOL_")) and "proxy" not in name.lower()
    }
    return kept | {"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass
class HubProcess:
    """A hub that can be stopped and started again on the same folder and port."""

    data: Path
    database_url: str = ""
    port: int = 0
    tokens: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def headers(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[who]}"}

    def client(self, who: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers=self.headers(who), timeout=30, trust_env=False
        )

    def prepare(self, policy: str = POLICY) -> None:
        """Migrate, apply the policy, and make a token for everyone."""
        self.data.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        url = self.database_url or f"sqlite+aiosqlite:///{self.data / 'hub.db'}"
        self.tokens = asyncio.run(_prepare(url, policy))

    def start(self) -> None:
        command = [sys.executable, "-m", "scheduler.main", "hub", "--data", str(self.data)]
        if self.database_url:
            command += ["--database-url", self.database_url]
        with (self.data / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                cwd=ROOT,
                env=clean_environment(self.data),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self.is_ready, seconds=60)

    def is_ready(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError((self.data / "hub.log").read_text()[-3000:])
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)
            self.process = None


async def _prepare(url: str, policy: str) -> dict[str, str]:
    database, now = Database(url), SystemClock().now()
    await database.migrate()
    tokens = {}
    async with database.transaction() as conn:
        await save_policy(conn, policy, now, "admin")
        for who, (subject, scope) in WHO.items():
            request = TokenRequest(subject=subject, scope=scope)
            tokens[who] = (await issue_token(conn, request, now)).token
    await database.close()
    return tokens


@contextmanager
def hub_process(data: Path, database_url: str = "") -> Iterator[HubProcess]:
    hub = HubProcess(data, database_url)
    hub.prepare()
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()


@contextmanager
def shell_site(hub: HubProcess) -> Iterator[ShellSite]:
    with hub.client("site") as http, ShellSite(http, hub.headers("node")) as site:
        yield site


@dataclass(frozen=True)
class RayClient:
    """Ray's own command and SDK of one version, unmodified, speaking to a hub."""

    version: str
    bin: Path
    hub: HubProcess
    home: Path

    def environment(self, who: str = "dana") -> dict[str, str]:
        token = self.hub.tokens.get(who, who)
        auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        if self.version == "2.10.0":  # before Ray knew tokens
            auth = {"RAY_JOB_HEADERS": json.dumps({"Authorization": f"Bearer {token}"})}
        return clean_environment(self.home) | {"RAY_ADDRESS": self.hub.url} | auth

    def start(self, *words: str, who: str = "dana") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.bin / "ray", "job", *words],
            env=self.environment(who),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def job(self, *words: str, who: str = "dana") -> tuple[int, str]:
        """Return the exit code and all that was printed."""
        with self.start(*words, who=who) as process:
            output, _ = process.communicate(timeout=90)
        return process.returncode, output

    def python(self, script: str, *arguments: str) -> str:
        """Run a script of the SDK's user; return what it printed."""
        done = subprocess.run(
            [self.bin / "python", "-c", script, *arguments],
            env=clean_environment(self.home),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
