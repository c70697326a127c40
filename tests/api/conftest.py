"""A real application over ASGI, on SQLite and PostgreSQL, with the demo's policy and a token each."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
import time

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
from scheduler.wake import Wake
from scheduler.wire.accounts import Scope, TokenIssued, TokenRequest
from tests.db.conftest import db, templates

__all__ = ["db", "templates"]

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
POLICY = (Path(__file__).parents[2] / "infra/policies/demo.yaml").read_text(encoding="utf-8")


@dataclass
class HandClock:
    """Tells the hour that a test sets; durations are real."""

    at: datetime = NOON

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return time.monotonic()

    def forward(self, by: timedelta) -> None:
        self.at += by


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

    async def call(
        self, who: str, method: str, path: str, **options: object
    ) -> httpx.Response:
        """Send a request with a token: `dana`, `admin`, `national-site`, `national-node` …"""
        if who not in self.tokens:
            subject, scope = who, Scope.USER
            for kind in (Scope.SITE, Scope.NODE):
                if who.endswith(f"-{kind}"):
                    subject, scope = who.removesuffix(f"-{kind}"), kind
            if who.startswith("admin"):
                scope = Scope.ADMIN
            self.tokens[who] = await self.token(subject, scope)
        headers = {"Authorization": f"Bearer {self.tokens[who].token}"}
        headers |= options.pop("headers", {})
        return await self.http.request(method, path, headers=headers, **options)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def bare(db: Database, clock: HandClock, tmp_path: Path) -> AsyncIterator[House]:
    """A hub before its first policy."""
    settings = HubSettings(data=tmp_path)
    hub = HubState(
        db=db,
        files=FileStore(tmp_path, settings.max_log_bytes),
        wake=Wake(),
        clock=clock,
        settings=settings,
        policies=PolicyCache(),
    )
    app = create_app(hub)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as http:
        yield House(hub, app, clock, http)


@pytest.fixture
async def house(bare: House) -> House:
    """A hub with the demo's policy."""
    async with bare.hub.db.transaction() as conn:
        await save_policy(conn, POLICY, NOON, "admin")
    return bare


Submit = Callable[..., object]
