"""A real application over ASGI, on SQLite and PostgreSQL, with the demo's policy."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from scheduler.api.app import create_app
from scheduler.api.deps import HubState
from scheduler.config import HubSettings
from scheduler.db.engine import Database
from scheduler.db.policies import PolicyCache, save_policy
from scheduler.db.tokens import issue_token
from scheduler.files import FileStore
from scheduler.loops.cycle import CycleLoop
from scheduler.wake import Wake
from scheduler.wire.accounts import Scope, TokenIssued, TokenRequest
from tests.db.conftest import _sqlite, db, templates

__all__ = ["db", "templates"]

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
POLICY = (Path(__file__).parents[2] / "infra/policies/demo.yaml").read_text(encoding="utf-8")
# Pools and their nodes in the demo's policy, by site.
NODES = {
    "arl-team": ("arl-team", ["arl-team-1"]),
    "state-u": ("state-u-hpc", ["state-u-1", "state-u-2"]),
    "national": ("national-hub", ["national-1", "national-2", "national-3", "national-4"]),
}


@dataclass
class HandClock:
    """Tells the hour that a test sets; durations are real, but for what `later` adds."""

    at: datetime = NOON
    added: float = 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return time.monotonic() + self.added

    def forward(self, by: timedelta) -> None:
        self.at += by

    def later(self, seconds: float) -> None:
        """Let durations pass: what is kept for a moment is due again."""
        self.added += seconds


@dataclass
class House:
    """A hub's application, and how to speak to it as someone."""

    hub: HubState
    app: FastAPI
    clock: HandClock
    http: httpx.AsyncClient
    tokens: dict[str, TokenIssued] = field(default_factory=dict)

    async def token(self, subject: str, scope: Scope, days: int | None = 1) -> TokenIssued:
        request = TokenRequest(subject=subject, scope=scope, expires_in_days=days)
        async with self.hub.db.transaction() as conn:
            return await issue_token(conn, request, self.clock.now())

    async def bearer(self, who: str) -> dict[str, str]:
        """Return the header of `dana`, `admin`, `national-site`, `national-node` …"""
        if who not in self.tokens:
            subject, scope = who, Scope.ADMIN if who.startswith("admin") else Scope.USER
            for kind in (Scope.SITE, Scope.NODE, Scope.METRICS):
                if who.endswith(f"-{kind}"):
                    subject, scope = who.removesuffix(f"-{kind}"), kind
            self.tokens[who] = await self.token(subject, scope)
        return {"Authorization": f"Bearer {self.tokens[who].token}"}

    async def call(self, who: str, method: str, path: str, **options) -> httpx.Response:
        headers = await self.bearer(who) | options.pop("headers", {})
        return await self.http.request(method, path, headers=headers, **options)

    async def submit(self, who: str, **asked) -> dict:
        asked = {"entrypoint": "python train.py"} | asked
        answer = await self.call(who, "POST", "/v1/jobs", json=asked)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def report(self, site: str) -> None:
        """Tell the hub that every node of a site is up, with 8 simulated H100."""
        pool, nodes = NODES[site]
        gpus = [{"index": i, "uuid": f"SIM-{i}", "model": "H100"} for i in range(8)]
        at = self.clock.now().isoformat()
        reports = [
            {"node": node, "pool": pool, "boot_id": "b", "sequence": 1, "sampled_at": at}
            | {"gpus": gpus, "simulated": True}
            for node in nodes
        ]
        answer = await self.call(
            f"{site}-node", "POST", "/v1/nodes/report", json={"reports": reports}
        )
        assert answer.status_code == 200, answer.text

    async def plan(self) -> None:
        """Run one planning cycle, as the loop does when its bell rings."""
        await CycleLoop(self.hub.db, self.hub.wake, self.clock, 5).step()

    async def sync(self, site: str, *runs: dict, **more) -> httpx.Response:
        message = {"instance": "i", "sequence": 1, "runs": list(runs), "wait_seconds": 0} | more
        return await self.call(f"{site}-site", "POST", f"/v1/sites/{site}/sync", json=message)

    def observed(self, run: str, state: str, **more) -> dict:
        seen = {"run": run, "token": 1, "state": state, "observed_at": self.clock.now().isoformat()}
        return seen | more

    async def running(self, who: str = "dana", **asked) -> tuple[dict, str]:
        """Return a job that runs on the national pool, and its run's id."""
        await self.report("national")
        job = await self.submit(who, tier=["national"], **asked)
        await self.plan()
        run = f"cp-{job['id']}-1"
        answer = await self.sync("national", self.observed(run, "running"))
        assert answer.status_code == 200, answer.text
        return job, run


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def bare(db: Database, clock: HandClock, tmp_path: Path) -> AsyncIterator[House]:
    """A hub before its first policy."""
    async with opened(db, clock, tmp_path) as found:
        yield found


@pytest.fixture
async def house(bare: House) -> House:
    """A hub with the demo's policy."""
    await with_policy(bare)
    return bare


@pytest.fixture
async def small(tmp_path: Path, templates, clock: HandClock) -> AsyncIterator[House]:
    """The same on SQLite alone: for what does not reach the database, or not in its own way."""
    async for database in _sqlite(tmp_path, templates):
        async with opened(database, clock, tmp_path) as found:
            await with_policy(found)
            yield found


async def with_policy(bare: House) -> None:
    async with bare.hub.db.transaction() as conn:
        await save_policy(conn, POLICY, NOON, "admin")


class opened:  # noqa: N801  # used as a statement
    """A hub's application over a migrated database."""

    def __init__(self, db: Database, clock: HandClock, folder: Path) -> None:
        settings = HubSettings(data=folder)
        self.hub = HubState(
            db=db,
            files=FileStore(folder, settings.max_log_bytes),
            wake=Wake(),
            clock=clock,
            settings=settings,
            policies=PolicyCache(),
        )
        self.app = create_app(self.hub)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://hub"
        )
        self.clock = clock

    async def __aenter__(self) -> House:
        await self.http.__aenter__()
        return House(self.hub, self.app, self.clock, self.http)

    async def __aexit__(self, *error: object) -> None:
        await self.http.__aexit__(*error)
        await self.hub.settle()
