"""A hub in memory: keeps orders, hears reports, keeps logs and packages, and can be away."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

from agents.hub import HubAway, HubRefused, LogGap
from scheduler.core.model import Backend, RunState, StopReason
from scheduler.wire.sites import (
    DesiredLease,
    LeasedNode,
    ObservedRun,
    SiteOrders,
    SiteSync,
    Wanted,
)

PIECE = 100


def NOW() -> datetime:  # noqa: N802  # reads as the instant that it is
    return datetime.now(UTC)


def a_lease(run: str = "cp-j1-1", **changes) -> DesiredLease:
    job, _, attempt = run.removeprefix("cp-").rpartition("-")
    values = {
        "run": run,
        "job": job,
        "attempt": int(attempt),
        "token": 1,
        "wanted": Wanted.RUN,
        "backend": Backend.SIMULATED,
        "nodes": (LeasedNode(node="n1", gpus=(0, 1)),),
        "gpu_model": "H100",
        "entrypoint": "echo hello",
        "time_limit_seconds": 600,
        "grace_seconds": 5,
        "bind_by": NOW() + timedelta(minutes=10),
    }
    return DesiredLease(**{**values, **changes})


class FakeHub:
    """Implements `agents.hub.Hub`; `settle` makes it end and forget runs as the real one does."""

    def __init__(self, *, settle: bool = True) -> None:
        self.leases: dict[str, DesiredLease] = {}
        self.runs: dict[str, ObservedRun] = {}
        self.history: list[ObservedRun] = []
        self.logs: dict[str, bytearray] = {}
        self.packages: dict[str, bytes] = {}
        self.syncs: list[SiteSync] = []
        self.away = False
        self.refuses: HubRefused | None = None
        self._settle = settle
        self._news = asyncio.Event()

    def order(self, *leases: DesiredLease) -> None:
        self.leases |= {lease.run: lease for lease in leases}
        self._ring()

    def stop(self, run: str, reason: StopReason, in_seconds: float | None = None) -> None:
        at = None if in_seconds is None else NOW() + timedelta(seconds=in_seconds)
        changes = {"wanted": Wanted.STOP, "stop_reason": reason, "stop_at": at}
        self.order(self.leases[run].model_copy(update=changes))

    def drop(self, run: str) -> None:
        del self.leases[run]
        self._ring()

    def states(self, run: str) -> list[RunState]:
        """Return the states that a run was reported in, without repetitions."""
        seen = [o.state for o in self.history if o.run == run]
        return [s for i, s in enumerate(seen) if i == 0 or seen[i - 1] is not s]

    def end_of(self, run: str) -> ObservedRun | None:
        """Return the report that ended a run, once it was both terminal and fenced."""
        return next(
            (o for o in self.history if o.run == run and o.state.is_terminal and o.fenced), None
        )

    def _ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _check(self) -> None:
        if self.away:
            raise HubAway("the cable is out")
        if self.refuses:
            raise self.refuses

    @property
    def revision(self) -> str:
        text = "".join(lease.model_dump_json() for lease in self.leases.values())
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    async def sync(self, _site: str, message: SiteSync) -> SiteOrders:
        self._check()
        self.syncs.append(message)
        self._hear(message)
        if message.seen_revision == self.revision and message.wait_seconds:
            news = self._news
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(message.wait_seconds):
                    await news.wait()
            self._check()
        return SiteOrders(
            revision=self.revision,
            leases=tuple(self.leases.values()),
            server_time=NOW(),
        )

    def _hear(self, message: SiteSync) -> None:
        said = {observed.run: observed for observed in message.runs}
        for run, observed in said.items():
            if self.runs.get(run) != observed:
                self.history.append(observed)
            lease = self.leases.get(run)
            if self._settle and lease and observed.state.is_terminal and observed.fenced:
                self.leases[run] = lease.model_copy(update={"wanted": Wanted.FORGET})
        for run in [r for r, le in self.leases.items() if le.wanted is Wanted.FORGET]:
            if run not in said:
                del self.leases[run]
        self.runs = said

    async def append_log(self, _site: str, run: str, offset: int, data: bytes) -> int:
        self._check()
        kept = self.logs.setdefault(run, bytearray())
        if offset > len(kept):
            raise LogGap(len(kept))
        kept[offset : offset + len(data)] = data
        return offset + len(data)

    async def package(self, _site: str, sha256: str) -> AsyncGenerator[bytes, None]:
        self._check()
        if sha256 not in self.packages:
            raise HubRefused(404, "no such package")
        data = self.packages[sha256]
        for start in range(0, len(data), PIECE):
            yield data[start : start + PIECE]
