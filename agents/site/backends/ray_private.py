"""One Ray cluster per run, on exactly the leased nodes and GPUs: the lease is enforced.

The cluster is driven over Ray's REST API like any other head, and torn down and fenced
when the run is over. Its log is read from Ray's own file, so it survives a dead head.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import httpx

from agents.site import environment
from agents.site.backends import ray_rest
from agents.site.backends.base import Gone, Observation
from agents.site.environment import Signals
from agents.site.failures import BackendUnavailable, RunGone
from agents.site.launcher import Launcher, driver_log
from agents.site.outcome import ProgramEnd
from agents.site.packages import PackageCache
from agents.site.ports import LaunchSlots
from agents.site.ray_jobs import RayHead, submit_or_adopt
from agents.site.records import Ledger, Phase, RunRecord
from scheduler.clock import Clock

_LOOK_SECONDS = 0.2
_JOIN_SECONDS = 120  # Ray gives up by itself before that.
_PIECE = 256 * 1024


class RayPrivate:
    """A cluster of its own for each run."""

    def __init__(  # noqa: PLR0913  # its parts, handed in once
        self,
        launcher: Launcher,
        http: httpx.AsyncClient,
        packages: PackageCache,
        signals: Signals,
        clock: Clock,
        *,
        launches: int,
        stop_wait: float,
    ) -> None:
        self._launcher, self._http = launcher, http
        self._packages, self._signals, self._clock = packages, signals, clock
        self._stop_wait = stop_wait
        self._launching = LaunchSlots(launches)
        self._liveness = ray_rest.Liveness(clock)
        self._version: str | None = None

    async def start(self, ledger: Ledger) -> None:
        """Launch, deliver, submit; after a restart, from where the record stands.

        In `launching` no program of the user's can be there, so what is there is ended and
        launched anew. From `submitting` on, only the cluster that may have it will do.
        """
        if ledger.record.phase in (Phase.RESERVED, Phase.LAUNCHING):
            await self._packages.fetch(ledger.record.lease.packages)
            await self._launch(ledger)
        lease = ledger.record.lease
        head = self._head(ledger.record)
        adopting = ledger.record.phase is Phase.SUBMITTING
        try:
            if not (adopting and await head.job(lease.run) is not None):
                uris = await self._packages.deliver(head, lease.packages)
                env = environment.runtime_env(lease, self._signals, uris)
                ledger.write(phase=Phase.SUBMITTING)
                await self._submit(ledger, ray_rest.request(lease, env))
        except BackendUnavailable:
            self._check_alive(ledger.record)
            raise
        ledger.write(phase=Phase.SUBMITTED, submitted_at=self._clock.now())

    async def _launch(self, ledger: Ledger) -> None:
        if not await self._launcher.end(ledger.record):
            raise BackendUnavailable("processes of an earlier try do not end")
        self._launcher.reserve(ledger)
        for number in range(len(ledger.record.lease.nodes)):
            # One after another: two that join at once can time out (notes/ray.md §2).
            async with self._launching.one():
                await self._launcher.launch_node(ledger, number)
                await self._joined(ledger.record, number + 1)
        self._version = self._version or await self._head(ledger.record).version()

    async def _joined(self, record: RunRecord, count: int) -> None:
        """Wait until that many nodes are ALIVE: an answering head is not ready yet."""
        head = self._head(record)
        until = self._clock.monotonic() + _JOIN_SECONDS
        while self._clock.monotonic() < until:
            if dead := self._launcher.dead_node(record):
                raise BackendUnavailable(dead)
            # No answer yet is no news: a death shows above, and the time is limited.
            with contextlib.suppress(BackendUnavailable):
                if sum(node.alive for node in await head.nodes()) >= count:
                    return
            await asyncio.sleep(_LOOK_SECONDS)
        raise BackendUnavailable(f"node {count} of its cluster did not come up")

    async def _submit(self, ledger: Ledger, body: dict[str, object]) -> None:
        """Submit, but give up on a cluster that died meanwhile."""
        posting = asyncio.create_task(submit_or_adopt(self._head(ledger.record), body))
        try:
            while not posting.done():
                await asyncio.wait({posting}, timeout=1)
                if not posting.done():
                    self._check_alive(ledger.record)
            posting.result()
        finally:
            posting.cancel()

    def _check_alive(self, record: RunRecord) -> None:
        if dead := self._launcher.dead_node(record):
            raise RunGone(dead)

    def _head(self, record: RunRecord) -> RayHead:
        return ray_rest.head_of(self._http, record)

    async def observe(self, record: RunRecord) -> Observation:
        """Ask the head; without an answer, look whether its processes are there."""
        try:
            seen = await ray_rest.observe(self._head(record), record, self._liveness)
            dead = self._launcher.dead_node(record)
        except RunGone as gone:
            return Gone(str(gone))
        return seen if isinstance(seen, ProgramEnd) or dead is None else Gone(dead)

    async def stop(self, ledger: Ledger) -> ProgramEnd | None:
        """Stop the program, if it can be there."""
        record = ledger.record
        if record.phase in (Phase.RESERVED, Phase.LAUNCHING) or record.engine is None:
            return None
        if self._launcher.dead_node(record):
            return None
        return await ray_rest.stop(self._head(record), record.run, self._stop_wait)

    async def fence(self, record: RunRecord) -> bool:
        """End every process of the cluster, and of the program wherever it went."""
        return await self._launcher.end(record)

    async def follow(
        self, record: RunRecord, have: int, over: asyncio.Event
    ) -> AsyncGenerator[bytes, None]:
        """Follow the driver's log file."""
        place = have
        while True:
            last = over.is_set()  # Looked at before the read, so that nothing after it is missed.
            if file := driver_log(record):
                with file.open("rb") as source:
                    source.seek(place)
                    while piece := await asyncio.to_thread(source.read, _PIECE):
                        place += len(piece)
                        yield piece
            if last:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def forget(self, record: RunRecord) -> None:
        """Remove the cluster's folder."""
        if record.engine is not None:
            self._liveness.forget(self._head(record))
        await self._launcher.remove(record)

    async def version(self) -> str | None:
        """Return the Ray version of the last cluster that was launched."""
        return self._version
