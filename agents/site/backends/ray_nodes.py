"""One Ray cluster per run, started by the node agents of the leased machines.

All members bind or none does: the program is submitted only once every leased node is alive
at the head, and a member that is over ends the run. It is fenced when every node agent says so,
or when the grant of one that is not heard of has expired.
"""

import asyncio
from collections.abc import AsyncGenerator

import httpx

from agents.site import environment
from agents.site.backends import ray_rest
from agents.site.backends.base import Gone, Observation
from agents.site.environment import Signals
from agents.site.failures import BackendUnavailable, RunGone
from agents.site.launched import Launched
from agents.site.outcome import ProgramEnd
from agents.site.packages import PackageCache
from agents.site.ray_jobs import RayHead, submit_or_adopt
from agents.site.records import Engine, Ledger, Phase, RunRecord
from scheduler.clock import Clock

_NEWS_SECONDS = 5.0
_LOOK_SECONDS = 0.5


class RayOnNodes:
    """A cluster of its own for each run, on the machines where it is leased."""

    def __init__(  # its parts, handed in once
        self,
        launched: Launched,
        http: httpx.AsyncClient,
        packages: PackageCache,
        signals: Signals,
        clock: Clock,
        *,
        stop_wait: float,
    ) -> None:
        self._launched, self._http = launched, http
        self._packages, self._signals, self._clock = packages, signals, clock
        self._stop_wait = stop_wait
        self._liveness = ray_rest.Liveness(clock)
        self._version: str | None = None

    async def start(self, ledger: Ledger) -> None:
        """Have it launched, wait for all members, submit; or carry on where the record stands.

        It waits only a while at a time; the caller asks again until the lease's bind time.
        """
        if ledger.record.phase is Phase.RESERVED:
            await self._packages.fetch(ledger.record.lease.packages)
            ledger.write(phase=Phase.LAUNCHING)
            raise BackendUnavailable("the node agents are told to start its Ray nodes")
        if ledger.record.phase is Phase.LAUNCHING:
            await self._bound(ledger)
        lease, head = ledger.record.lease, self._head(ledger.record)
        adopting = ledger.record.phase is Phase.SUBMITTING
        try:
            if not (adopting and await head.job(lease.run) is not None):
                uris = await self._packages.deliver(head, lease.packages)
                env = environment.runtime_env(lease, self._signals, uris)
                ledger.write(phase=Phase.SUBMITTING)
                await submit_or_adopt(head, ray_rest.request(lease, env))
        except BackendUnavailable:
            self._check(ledger.record)
            raise
        ledger.write(phase=Phase.SUBMITTED, submitted_at=self._clock.now())

    async def _bound(self, ledger: Ledger) -> None:
        """Wait until every member is up, and alive at the head."""
        record = ledger.record
        self._check(record)
        while missing := self._launched.missing(record):
            if (text := f"waits for Ray on {missing}") != record.message:
                record = ledger.write(message=text)
            await self._launched.news(_NEWS_SECONDS)
            self._check(record)
        member = self._launched.head(record)
        if member is None:
            raise BackendUnavailable("the head has not said where it is")
        record = ledger.write(engine=Engine(address=member.api, secret=member.secret))
        head = self._head(record)
        while await _alive(head) < len(record.lease.nodes):
            await asyncio.sleep(_LOOK_SECONDS)
            self._check(record)
        self._version = self._version or await head.version()

    def _check(self, record: RunRecord) -> None:
        """Give up on a cluster that lost a member.

        Raises:
            RunGone: it did.
        """
        if why := self._launched.failed(record.run):
            raise RunGone(why)

    def _head(self, record: RunRecord) -> RayHead:
        return ray_rest.head_of(self._http, record)

    async def observe(self, record: RunRecord) -> Observation:
        """Ask the head, and look at what the node agents say."""
        try:
            seen = await ray_rest.observe(self._head(record), record, self._liveness)
        except RunGone as gone:
            return Gone(str(gone))
        why = self._launched.failed(record.run)
        return Gone(why) if why and not isinstance(seen, ProgramEnd) else seen

    async def stop(self, ledger: Ledger) -> ProgramEnd | None:
        """Stop the program, if it can be there."""
        record = ledger.record
        if record.engine is None or self._launched.failed(record.run):
            return None
        return await ray_rest.stop(self._head(record), record.run, self._stop_wait)

    async def fence(self, record: RunRecord) -> bool:
        """Return whether every node is rid of it; the hub was told so by the record's end."""
        if not self._launched.is_fenced(record.run):
            await self._launched.news(_NEWS_SECONDS)
        return self._launched.is_fenced(record.run)

    def follow(
        self, record: RunRecord, have: int, over: asyncio.Event
    ) -> AsyncGenerator[bytes, None]:
        """Follow the log at the head; what it had not sent when it died is lost with its machine.

        Raises:
            RunGone: the run has no head.
        """
        return ray_rest.follow(self._head(record), record.run, have, over)

    async def forget(self, record: RunRecord) -> None:
        """Drop what is remembered of a head that is gone; its node removes the files."""
        if record.engine is not None:
            self._liveness.forget(self._head(record))

    async def version(self) -> str | None:
        """Return the Ray version of the last cluster that was launched."""
        return self._version


async def _alive(head: RayHead) -> int:
    """Return how many nodes are alive at a head; none while it does not answer yet."""
    try:
        return sum(node.alive for node in await head.nodes())
    except BackendUnavailable:
        return 0
