"""A real hub on loopback in the test's own loop, and a site that does what the test says."""

import asyncio
import contextlib
import io
import socket
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from scheduler.api.ray_jobs_socket import DroppingWebSocket
from scheduler.clock import SystemClock
from scheduler.config import HubSettings
from scheduler.db.engine import Database
from scheduler.db.policies import save_policy
from scheduler.db.tokens import issue_token
from scheduler.hub import Hub, build_hub
from scheduler.wire.accounts import Scope, TokenRequest
from scheduler.wire.sites import DesiredLease, SiteOrders, Wanted
from tests.waiting import eventually

POLICY = """\
version: 1
sites:
  - {id: lab, name: A lab}
users:
  - {name: dana, labels: [public]}
  - {name: alex, labels: [public]}
  - {name: audra, labels: []}
accounts:
  - {name: national, sector: dod, auditors: [audra]}
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
rules: {default_gpus: 2, max_pending_per_user: 1000000}
"""
NODES = ("lab-1", "lab-2")


class _QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # The test's own signals stay as they are.


@dataclass
class Live:
    """A running hub, and how to speak to it as someone."""

    hub: Hub
    url: str
    server: uvicorn.Server
    http: httpx.AsyncClient
    tokens: dict[str, str] = field(default_factory=dict)

    async def token(self, subject: str, scope: Scope, days: int | None = 1) -> str:
        state = self.hub.state
        request = TokenRequest(subject=subject, scope=scope, expires_in_days=days)
        async with state.db.transaction() as conn:
            return (await issue_token(conn, request, state.clock.now())).token

    async def headers(self, who: str) -> dict[str, str]:
        """Return the headers of `dana`, `admin`, `lab-site`, `lab-node` …"""
        if who not in self.tokens:
            subject, _, kind = who.partition("-")
            scope = Scope.ADMIN if who == "admin" else Scope(kind) if kind else Scope.USER
            self.tokens[who] = await self.token(subject, scope)
        return {"Authorization": f"Bearer {self.tokens[who]}"}

    async def call(self, who: str, method: str, path: str, **options) -> httpx.Response:
        headers = await self.headers(who) | options.pop("headers", {})
        return await self.http.request(method, path, headers=headers, **options)

    async def submit(self, who: str = "dana", **body) -> str:
        answer = await self.call(who, "POST", "/api/jobs/", json={"entrypoint": "true"} | body)
        assert answer.status_code == 200, answer.text
        return answer.json()["submission_id"]

    async def details(self, job: str, who: str = "dana") -> Mapping:
        answer = await self.call(who, "GET", f"/api/jobs/{job}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def has_status(self, job: str, wanted: str) -> Mapping | None:
        found = await self.details(job)
        return found if found["status"] == wanted else None

    async def until_status(self, job: str, wanted: str) -> Mapping:
        return await eventually(lambda: self.has_status(job, wanted))

    async def tail(self, job: str, who: str = "dana") -> "TailReader":
        address = self.url.replace("http", "ws", 1) + f"/api/jobs/{job}/logs/tail"
        headers = await self.headers(who)
        return TailReader(await connect(address, additional_headers=headers, compression=None))


@dataclass
class TailReader:
    """What one reader of a tail has got so far."""

    socket: ClientConnection
    frames: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.frames)

    async def until(self, words: str, seconds: float = 10) -> str:
        """Read until `words` were told."""
        async with asyncio.timeout(seconds):
            while words not in self.text:
                self.frames.append(await self.socket.recv())
        return self.text

    async def rest(self, seconds: float = 10) -> str:
        """Read to the end, however the socket ends; `socket.close_code` then says how."""
        async with asyncio.timeout(seconds):
            async for frame in self.socket:
                self.frames.append(frame)
        return self.text


@dataclass
class Site:
    """The lab's site agent and node reporter, moved by hand through the real wire."""

    live: Live
    runs: dict[str, dict] = field(default_factory=dict)
    leases: dict[str, DesiredLease] = field(default_factory=dict)
    sequence: int = 0

    async def report_nodes(self, nodes: tuple[str, ...] = NODES) -> None:
        self.sequence += 1
        reports = [
            {
                "node": node,
                "pool": "lab-pool",
                "boot_id": "1",
                "sequence": self.sequence,
                "sampled_at": _now(),
                "simulated": True,
                "gpus": [
                    {"index": index, "uuid": f"GPU-{node}-{index}", "model": "H100"}
                    for index in range(8)
                ],
            }
            for node in nodes
        ]
        answer = await self.live.call(
            "lab-node", "POST", "/v1/nodes/report", json={"reports": reports}
        )
        assert answer.status_code == 200, answer.text

    async def sync(self) -> dict[str, DesiredLease]:
        """Say what is, and take what should be."""
        self.sequence += 1
        message = {
            "instance": "test",
            "sequence": self.sequence,
            "runs": list(self.runs.values()),
            "wait_seconds": 0,
        }
        answer = await self.live.call("lab-site", "POST", "/v1/sites/lab/sync", json=message)
        assert answer.status_code == 200, answer.text
        orders = SiteOrders.model_validate_json(answer.content)
        self.leases = {lease.run: lease for lease in orders.leases}
        for lease in orders.leases:
            if lease.wanted is Wanted.FORGET:
                self.runs.pop(lease.run, None)
        return self.leases

    async def lease_of(self, entrypoint: str, wanted: str = Wanted.RUN) -> DesiredLease:
        """Wait until the hub wants a run of that command."""

        async def look() -> DesiredLease | None:
            leases = (await self.sync()).values()
            return next(
                (one for one in leases if one.entrypoint == entrypoint and one.wanted == wanted),
                None,
            )

        return await eventually(look)

    async def report(self, lease: DesiredLease, state: str, **facts) -> None:
        """Say how a run is."""
        ended = state in {"succeeded", "failed", "stopped", "preempted", "lost"}
        self.runs[lease.run] = {
            "run": lease.run,
            "token": lease.token,
            "state": state,
            "observed_at": _now(),
            "fenced": ended,
        } | facts
        await self.sync()

    async def log(self, lease: DesiredLease, text: str | bytes, offset: int = 0) -> int:
        """Deliver a piece of log; return where the next one starts."""
        data = text.encode() if isinstance(text, str) else text
        answer = await self.live.call(
            "lab-site",
            "POST",
            f"/v1/sites/lab/runs/{lease.run}/log",
            params={"offset": offset},
            content=data,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["next_offset"]


@asynccontextmanager
async def live_hub(data: Path) -> AsyncIterator[Live]:
    content = await _prepared(data / "hub.db")
    await asyncio.to_thread((data / "hub.db").write_bytes, content)
    hub = build_hub(HubSettings(data=data), SystemClock())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            hub.app, ws=DroppingWebSocket, lifespan="on", log_config=None, access_log=False
        )
        server = _QuietServer(config)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started)
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as http:
            yield Live(hub, url, server, http)
        server.should_exit = True
        await serving


_kept: list[bytes] = []


async def _prepared(file: Path) -> bytes:
    """Return a database with the policy in it: made once, copied for each test."""
    if not _kept:
        database = Database(f"sqlite+aiosqlite:///{file}")
        await database.migrate()
        async with database.transaction() as conn:
            await save_policy(conn, POLICY, SystemClock().now(), "admin")
        await database.close()
        _kept.append(await asyncio.to_thread(file.read_bytes))
    return _kept[0]


def package(files: Mapping[str, bytes | str]) -> bytes:
    """Return a zip."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            # A time of its own would make each package another one.
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _now() -> str:
    return datetime.now(UTC).isoformat()
