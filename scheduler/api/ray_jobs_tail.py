"""What a person who follows a job is told: why it waits, where it starts, and its log.

One reader's view is a sequence of frames. Each look at the job is level-triggered: what
is now so and was not yet said is said, so a look that is missed loses nothing. Lines of
ours begin with `[commonpool]`; the rest is the program's own output, attempt after attempt.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from scheduler.api.deps import HubState
from scheduler.api.jobs import job_facts
from scheduler.api.ray_jobs_views import queue_line, start_line
from scheduler.api.views import JobFacts, reason
from scheduler.api.whole_log import run_is_whole
from scheduler.clock import Clock
from scheduler.core.lifecycle import JobState
from scheduler.core.model import RunState
from scheduler.core.policy import Policy
from scheduler.db.jobs import find_job
from scheduler.db.rows import RunRow
from scheduler.errors import StorageUnavailable
from scheduler.files import whole_characters

# Another replica's bell is not heard here, and a queue moves without one.
LOOK_SECONDS = 1.0
# Many small pieces of log arrive at once; a reader sees them together.
PAUSE_SECONDS = 0.05
HEARTBEAT_SECONDS = 30.0
LINES_PER_FRAME = 10
CHARACTERS_PER_FRAME = 20_000
_PIECE = 64 * 1024
_LONGEST_MESSAGE = 500
_HOUR = 60


@dataclass(slots=True)
class Told:
    """How far one reader is: `run` counts attempts whose log was told to its end."""

    run: int = 0
    offset: int = 0
    ended: bool = False
    at_line_start: bool = True
    once: set[str] = field(default_factory=set)
    queue: str = ""
    queue_at: float = 0.0

    def first(self, what: str) -> bool:
        """Return whether this is said for the first time, and note that it was."""
        new = what not in self.once
        self.once.add(what)
        return new

    def line(self, text: str) -> str:
        """Return a line of ours, on a line of its own."""
        start = "" if self.at_line_start else "\n"
        self.at_line_start = True
        return f"{start}[commonpool] {' '.join(text.split())}\n"


async def follow(hub: HubState, job_id: str) -> AsyncIterator[str]:
    """Yield frames until the job has ended and its log is whole.

    While storage is unavailable nothing is said: the reader waits, as for a quiet job.
    """
    told = Told()
    while True:
        bell = hub.wake.bell(f"job:{job_id}")
        try:
            seen = await look(hub, job_id)
        except StorageUnavailable:
            await hub.wake.wait(bell, LOOK_SECONDS)
            continue
        if seen is None:
            return
        async for frame in _news(hub, *seen, told):
            yield frame
        if told.ended:
            return
        await hub.wake.wait(bell, LOOK_SECONDS)
        await asyncio.sleep(PAUSE_SECONDS)


async def look(hub: HubState, job_id: str) -> tuple[JobFacts, Policy] | None:
    """Return what is known of the job now; None once its owner deleted it."""
    async with hub.db.reading() as conn:
        job = await find_job(conn, job_id, None)
        if job is None:
            return None
        policy = await hub.policies.current(conn)
        (facts,) = await job_facts(hub, conn, [job])
    return facts, policy


async def _news(hub: HubState, facts: JobFacts, policy: Policy, told: Told) -> AsyncIterator[str]:
    job = facts.job
    for run in facts.runs[told.run :]:
        async for frame in _attempt(hub, facts, policy, run, told):
            yield frame
    if told.run < len(facts.runs):
        return
    if job.state is JobState.PENDING:
        line = _queue_news(facts, policy, told, hub.clock)
        if line:
            yield line
    told.ended = job.state.is_terminal
    if told.ended and not (facts.runs and facts.runs[-1].state.value == job.state.value):
        yield told.line(f"{job.state}: {reason(facts, policy)}")


async def _attempt(
    hub: HubState, facts: JobFacts, policy: Policy, run: RunRow, told: Told
) -> AsyncIterator[str]:
    """Tell one attempt; `told.run` counts it once nothing more will come of it."""
    if told.run != facts.runs.index(run):
        return
    if told.first(f"start {run.id}"):
        yield told.line(start_line(run, policy))
    # Asked before the log is read: what comes in between is told at the next look.
    whole = run_is_whole(hub, run)
    async for frame in _log(hub, run, told, whole=whole):
        yield frame
    if not whole:
        troubled = run.stop_reason is not None or run.state is RunState.UNKNOWN
        if troubled and run.ended_at is None and told.first(f"{run.state} {run.id}"):
            yield told.line(reason(facts, policy))
        return
    if _is_news(facts, run):
        yield told.line(_end_line(facts, run))
    told.run, told.offset = told.run + 1, 0


async def _log(hub: HubState, run: RunRow, told: Told, *, whole: bool) -> AsyncIterator[str]:
    while True:
        piece = await asyncio.to_thread(hub.files.read_run, run.job_id, run.id, told.offset, _PIECE)
        # A character that is cut off is told when the rest is here, or as it is at the end.
        data = piece[: whole_characters(piece)] or (piece if whole else b"")
        if not data:
            return
        told.offset += len(data)
        for frame in frames(data.decode(errors="replace")):
            told.at_line_start = frame.endswith("\n")
            yield frame


def frames(text: str) -> Iterator[str]:
    """Cut text as Ray does, at most ten lines or 20,000 characters in a frame."""
    frame: list[str] = []
    size = 0
    for line in _lines(text):
        if frame and (len(frame) == LINES_PER_FRAME or size + len(line) > CHARACTERS_PER_FRAME):
            yield "".join(frame)
            frame, size = [], 0
        frame.append(line)
        size += len(line)
    if frame:
        yield "".join(frame)


def _lines(text: str) -> Iterator[str]:
    """Yield lines with their ends, long ones in parts. Only a newline ends one, as in Ray."""
    start = 0
    while start < len(text):
        end = text.find("\n", start, start + CHARACTERS_PER_FRAME) + 1
        end = end or min(start + CHARACTERS_PER_FRAME, len(text))
        yield text[start:end]
        start = end


def _is_news(facts: JobFacts, run: RunRow) -> bool:
    """Return whether the end of a run says more than Ray's client will: a requeue, or no result."""
    last = run is facts.runs[-1]
    return not (last and facts.job.state.is_terminal and run.exit_code is not None)


def _end_line(facts: JobFacts, run: RunRow) -> str:
    said = f": {_first_line(run.message)}" if run.message.strip() else ""
    requeued = run is not facts.runs[-1] or facts.job.state is JobState.PENDING
    then = "; back in the queue with its old place" if requeued else ""
    return f"attempt {run.attempt} ended: {run.state}{said.rstrip('.')}{then}"


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0]
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "…"


def _queue_news(facts: JobFacts, policy: Policy, told: Told, clock: Clock) -> str:
    """Return the queue's line when it changed, or as a sign of life; else nothing."""
    line = queue_line(facts, policy)
    if line == told.queue and clock.monotonic() - told.queue_at < HEARTBEAT_SECONDS:
        return ""
    told.queue, told.queue_at = line, clock.monotonic()
    return told.line(line + (in_words(facts.starts_at, clock.now()) if facts.starts_at else ""))


def in_words(starts_at: datetime, now: datetime) -> str:
    minutes = round((starts_at - now).total_seconds() / 60)
    if minutes < 1:
        return " (in less than a minute)"
    if minutes < 2 * _HOUR:
        return f" (in about {minutes} min)"
    return f" (in about {round(minutes / _HOUR)} h)"
