"""Runs on an existing Ray cluster of one trusted team: cooperative, not enforced.

The head gets a run only once it has a lease, so Ray's own queue stays empty. A run is
fenced by stopping it and by killing every process on this machine that carries its mark;
the agent of a shared cluster belongs on the machine of its head.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx

from agents.marks import NODE_LABEL
from agents.site import environment, processes
from agents.site.backends import ray_rest
from agents.site.backends.base import Observation
from agents.site.environment import Signals
from agents.site.failures import BackendRejected, BackendUnavailable
from agents.site.outcome import ProgramEnd
from agents.site.packages import PackageCache
from agents.site.ray_jobs import RayHead, ends, submit_or_adopt
from agents.site.records import Ledger, Phase, RunRecord
from scheduler.clock import Clock
from scheduler.wire.sites import DesiredLease

_SUBMISSIONS = 4  # A burst of hundreds takes a head down. Source: notes/ray.md §3.
_KILL_SECONDS = 10
_LABELS_SECONDS = 30


class RayShared:
    """The shared head of a site."""

    def __init__(
        self,
        head: RayHead | None,
        packages: PackageCache,
        signals: Signals,
        clock: Clock,
        stop_wait: float,
    ) -> None:
        self._configured = head
        self._packages, self._signals, self._clock = packages, signals, clock
        self._stop_wait = stop_wait
        self._submitting = asyncio.Semaphore(_SUBMISSIONS)
        self._liveness = ray_rest.Liveness(clock)
        self._labels: frozenset[str] = frozenset()
        self._labels_until = float("-inf")

    @property
    def _head(self) -> RayHead:
        if self._configured is None:
            raise BackendRejected(
                "this site has a pool on a shared Ray cluster, and its agent was started"
                " without --shared-ray",
                "COMMONPOOL_SITE_MISCONFIGURED",
            )
        return self._configured

    async def start(self, ledger: Ledger) -> None:
        """Post the job, or adopt it: the id alone decides, so this may be called at any time."""
        lease = ledger.record.lease
        head = self._head
        await self._packages.fetch(lease.packages)
        async with self._submitting:
            uris = await self._packages.deliver(head, lease.packages)
            body = ray_rest.request(
                await self._placed(lease), environment.runtime_env(lease, self._signals, uris)
            )
            if ledger.record.phase is Phase.SUBMITTING and await head.job(lease.run) is not None:
                ledger.write(phase=Phase.SUBMITTED)
                return
            ledger.write(phase=Phase.SUBMITTING)
            await submit_or_adopt(head, body)
        ledger.write(phase=Phase.SUBMITTED, submitted_at=self._clock.now())

    async def _placed(self, lease: DesiredLease) -> DesiredLease:
        """Pin the driver to the first leased node where the cluster's nodes have our label."""
        node = lease.nodes[0].node
        given = lease.entrypoint_label_selector
        if given or node not in await self._known_labels():
            return lease
        return lease.model_copy(update={"entrypoint_label_selector": {NODE_LABEL: node}})

    async def _known_labels(self) -> frozenset[str]:
        now = self._clock.monotonic()
        if now > self._labels_until:
            try:
                nodes = await self._head.nodes()
            except BackendUnavailable:
                return self._labels
            self._labels = frozenset(n.labels.get(NODE_LABEL, "") for n in nodes if n.alive)
            self._labels_until = now + _LABELS_SECONDS
        return self._labels

    async def observe(self, record: RunRecord) -> Observation:
        """Ask the head."""
        return await ray_rest.observe(self._head, record, self._liveness)

    async def stop(self, ledger: Ledger) -> ProgramEnd | None:
        """Stop the job at the head."""
        if ledger.record.phase in (Phase.RESERVED, Phase.LAUNCHING):
            return None
        return await ray_rest.stop(self._head, ledger.record.run, self._stop_wait)

    async def fence(self, record: RunRecord) -> bool:
        """Be sure that nothing is left, on this machine by looking, elsewhere by Ray's word.

        A head that lost its memory says nothing about other machines, so there an
        operator's word is needed (`commonpool site-agent confirm-fenced`). A job that Ray
        holds as PENDING may start at any time: it is not fenced until it is terminal.
        """
        if self._configured is None:
            return True
        ended = await self._ended_at_head(record)
        killed = await processes.end_all(record.run, None, self._clock, _KILL_SECONDS)
        if ended is None:
            ended = await asyncio.to_thread(_is_here, self._configured.address)
        return killed and (ended or self._confirmed(record.run))

    async def _ended_at_head(self, record: RunRecord) -> bool | None:
        """Return whether the job is terminal at the head; None: the head cannot know it."""
        head = self._head
        try:
            details = await head.job(record.run)
            if details is not None and details.status in ("RUNNING", "PENDING"):
                await head.stop(record.run)
                return await ends(head, record.run, self._stop_wait) is not None
        except BackendUnavailable:
            # A frozen head may yet start what it had not started; a dead one cannot.
            dead = not await asyncio.to_thread(_listens, head.address)
            return None if dead or record.started_at is not None else False
        return None if details is None else True

    def _confirmed(self, run: str) -> bool:
        return confirmation(self._signals.file(run)).exists()

    def follow(
        self, record: RunRecord, have: int, over: asyncio.Event
    ) -> AsyncGenerator[bytes, None]:
        """Follow the job's log at the head."""
        return ray_rest.follow(self._head, record.run, have, over)

    async def forget(self, record: RunRecord) -> None:
        """Drop Ray's record, so that its list of jobs stays short; its id is never used again."""
        if self._configured is not None and record.phase is Phase.FENCED:
            await self._configured.delete(record.run)

    async def version(self) -> str | None:
        """Return the head's Ray version."""
        if self._configured is None:
            return None
        await self._known_labels()  # So that the first submission need not ask.
        return await self._configured.version()


def confirmation(signal_file: Path) -> Path:
    """Return the file by which an operator says that nothing of a run is left anywhere."""
    return signal_file.with_name(f"{signal_file.name}.fenced")


def _listens(address: str) -> bool:
    url = httpx.URL(address)
    try:
        socket.create_connection((url.host, url.port or 80), timeout=3).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True  # No answer at all is not a proof of death.
    return True


def _is_here(address: str) -> bool:
    """Say whether a head's address is one of this machine's own."""
    try:
        found = socket.getaddrinfo(httpx.URL(address).host, None)
    except OSError:
        return False
    for family, *_, where in found:
        with socket.socket(family) as probe:
            try:
                probe.bind((where[0], 0))
            except OSError:
                continue
            return True
    return False
