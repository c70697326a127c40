"""What the backends that drive Ray over REST have in common: request, states, log."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import httpx

from agents.site.backends.base import Gone, Observation, Running, Silent, Waiting
from agents.site.failures import BackendUnavailable, RunGone
from agents.site.outcome import ProgramEnd
from agents.site.ray_jobs import JobDetails, RayHead, ends
from agents.site.records import RunRecord
from scheduler.clock import Clock
from scheduler.core.model import RunState
from scheduler.wire.sites import DesiredLease

_TERMINAL = {
    "SUCCEEDED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "STOPPED": RunState.STOPPED,
}
_NODES_SECONDS = 3
_OPTIONS = (
    "entrypoint_num_cpus",
    "entrypoint_num_gpus",
    "entrypoint_memory",
    "entrypoint_resources",
    "entrypoint_label_selector",
)


def request(lease: DesiredLease, environment: Mapping[str, object]) -> dict[str, object]:
    """Return the body of Ray's `POST /api/jobs/`; options that were not given are left out."""
    options = {name: getattr(lease, name) for name in _OPTIONS}
    return {
        "submission_id": lease.run,
        "entrypoint": lease.entrypoint,
        "runtime_env": dict(environment),
        "metadata": dict(lease.metadata),
        **{name: value for name, value in options.items() if value is not None},
    }


def program_end(details: JobDetails) -> ProgramEnd:
    """Return a terminal job's end in our words."""
    return ProgramEnd(
        _TERMINAL[details.status],
        details.message or "",
        details.error_type,
        details.driver_exit_code,
    )


class Liveness:
    """Which nodes of a head are alive, remembered for a moment; death is always seen afresh."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, tuple[float, frozenset[str]]] = {}

    async def is_alive(self, head: RayHead, node: str) -> bool:
        """Return whether a node is alive.

        Raises:
            BackendUnavailable: the head does not say.
        """
        now = self._clock.monotonic()
        seen_at, alive = self._known.get(head.address, (float("-inf"), frozenset()))
        if now - seen_at < _NODES_SECONDS and node in alive:
            return True
        alive = frozenset([n.id for n in await head.nodes() if n.alive])
        self._known[head.address] = (now, alive)
        return node in alive

    def forget(self, head: RayHead) -> None:
        """Drop what is known of a head that is gone."""
        self._known.pop(head.address, None)


def head_of(http: httpx.AsyncClient, record: RunRecord) -> RayHead:
    """Return the head of a run's own cluster.

    Raises:
        RunGone: none is on record.
    """
    if record.engine is None:
        raise RunGone(f"{record.run} has no cluster on record")
    return RayHead(http, record.engine.address, record.engine.secret)


async def observe(head: RayHead, record: RunRecord, liveness: Liveness) -> Observation:
    """Look at a submitted job. RUNNING counts only while the driver's node is alive.

    Source: notes/ray.md §4, "reconcile": a head says RUNNING for ever of a job whose
    raylet is gone.
    """
    try:
        if record.silent_since is not None:
            await _nudge(head, record.run)
        details = await head.job(record.run)
        if details is None:
            return Gone("the Ray head does not know this run any more: it was restarted")
        if details.status in _TERMINAL:
            return program_end(details)
        return await _judged(head, details, liveness)
    except BackendUnavailable as error:
        return Silent(str(error))


async def _judged(head: RayHead, details: JobDetails, liveness: Liveness) -> Observation:
    node = details.driver_node_id
    if node is not None and not await liveness.is_alive(head, node):
        return Gone(f"the Ray node of its driver ({node[:12]}) is dead")
    if details.status == "RUNNING":
        return Running(details.job_id, node)
    return Waiting(details.message or "")


async def _nudge(head: RayHead, run: str) -> None:
    """Make a head that came back look at the job: it says RUNNING until asked for the log."""
    async with aclosing(head.log(run)) as pieces:
        async for _ in pieces:
            break


async def stop(head: RayHead, run: str, seconds: float) -> ProgramEnd | None:
    """Stop a job and wait for its end; None: there is none, or no answer within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            if await head.job(run) is None:
                return None
            await head.stop(run)
    except (BackendUnavailable, TimeoutError):
        return None
    details = await ends(head, run, seconds)
    return program_end(details) if details else None


async def follow(
    head: RayHead, run: str, have: int, over: asyncio.Event
) -> AsyncGenerator[bytes, None]:
    """Yield the log from byte `have` on: the tail socket, or all of it at the end if that fails.

    Both start at the log's first byte, so what is there already is skipped.
    """
    place = 0
    try:
        async with aclosing(head.tail(run)) as pieces:
            async for piece in pieces:
                if fresh := piece[max(0, have - place) :]:
                    yield fresh
                place += len(piece)
    except BackendUnavailable:
        if not over.is_set():
            raise
    else:
        return
    have, place = max(have, place), 0
    async with aclosing(head.log(run)) as pieces:
        async for piece in pieces:
            if fresh := piece[max(0, have - place) :]:
                yield fresh
            place += len(piece)
