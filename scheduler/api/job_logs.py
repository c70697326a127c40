"""A job's log, for people: piece by piece, and as it comes.

A reader who follows asks with `wait`: the answer comes as soon as there is more to read, no
more will come, or the job is in another state than the reader knows of. Each question is one
of its own, with its own check of who asks, so a session or a role that ends meanwhile ends the
reading too, within one wait.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples
from scheduler.api.auth import Caller
from scheduler.api.cleared import check_is_cleared
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.jobs import JobKey, visible_job
from scheduler.api.openapi import answers
from scheduler.api.whole_log import job_is_whole
from scheduler.core.lifecycle import JobState
from scheduler.db.jobs import find_job, runs_of
from scheduler.db.rows import JobRow, RunRow
from scheduler.wire.jobs import LogPage

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MAX_LOG_PIECE = 1024 * 1024
LONGEST_WAIT_SECONDS = 30
LOOK_SECONDS = 2.0
"""Another replica's bell is not heard here, so a reader who waits looks again by itself."""


class LogQuery(BaseModel):
    """Which piece of a log to read, in bytes over all attempts, and how long to wait for it."""

    model_config = ConfigDict(extra="forbid")

    offset: int = Field(default=0, ge=0, le=2**53)
    limit: int = Field(default=262_144, ge=1, le=MAX_LOG_PIECE)
    wait: int = Field(
        default=0,
        ge=0,
        le=LONGEST_WAIT_SECONDS,
        description="Seconds to wait for more, for the end, or for another state than `known`",
    )
    known: JobState | None = Field(
        default=None, description="With `wait`: answer at once if the job is in another state"
    )


@router.get("/{job}/log", response_model=LogPage, responses=answers(examples.LOG_PAGE))
async def log(
    request: Request,
    user: Annotated[Caller, Depends(current_user)],
    job: JobKey,
    query: Annotated[LogQuery, Query()],
) -> Response:
    """Return a piece of a job's log over all its attempts; bytes that are not UTF-8 as U+FFFD."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        found = await visible_job(hub, conn, job, user)
        check_is_cleared(await hub.policies.current(conn), user, found)
        attempts = (await runs_of(conn, [found.id])).get(found.id, [])
    return body.reply(await _news(request, found, attempts, query))


async def _news(
    request: Request, job: JobRow, attempts: Sequence[RunRow], query: LogQuery
) -> LogPage:
    """Return a piece of the log, at once or when there is news; else the last one looked at."""
    hub = hub_of(request)
    until = hub.clock.monotonic() + query.wait
    bell = hub.wake.bell(f"job:{job.id}")
    page = await _page(hub, job, attempts, query)
    while not _is_news(page, query):
        left = until - hub.clock.monotonic()
        if left <= 0 or hub.wake.stopping.is_set() or await request.is_disconnected():
            break
        await hub.wake.wait(bell, min(left, LOOK_SECONDS))
        bell = hub.wake.bell(f"job:{job.id}")
        # A line that came is told from its file alone: each wakes all who follow the job.
        page = await _page(hub, job, attempts, query)
        if _is_news(page, query):
            break
        async with hub.db.reading() as conn:
            now = await find_job(conn, job.id, None)
            attempts = (await runs_of(conn, [job.id])).get(job.id, [])
        if now is None:  # forgotten meanwhile: the next question says so
            break
        job = now
        page = await _page(hub, job, attempts, query)
    return page


def _is_news(page: LogPage, query: LogQuery) -> bool:
    return bool(page.text) or page.complete or (query.known or page.state) is not page.state


async def _page(hub: HubState, job: JobRow, attempts: Sequence[RunRow], query: LogQuery) -> LogPage:
    runs = [run.id for run in attempts]
    # Asked before reading: what arrives in between is in the next piece.
    whole = job_is_whole(hub, job, attempts)
    data, next_offset = await hub.files.read_log(job.id, runs, query.offset, query.limit)
    size = hub.files.log_size(job.id, runs)
    return LogPage(
        text=data.decode(errors="replace"),
        next_offset=next_offset,
        complete=whole and next_offset >= size,
        size=size,
        state=job.state,
    )
