"""Jobs that are over, as what-if and the predictor look at them: asked for, and how long run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.model import AccountName, Job, JobId
from scheduler.core.whatif import PastJob
from scheduler.db.jobs import list_jobs, runs_of
from scheduler.db.rows import JobRow, RunRow

_PAGE = 500
MOST = 10_000
"""Jobs that are looked through at most, the latest submitted first."""


MOST_LOOKED_THROUGH = 200_000
"""Jobs that a window is looked for in, the latest submitted first."""


@dataclass(frozen=True, slots=True)
class Past:
    """Jobs of a window, the latest submitted first; `more` where some of it were not taken."""

    jobs: tuple[PastJob, ...]
    more: bool


async def past_window(conn: AsyncConnection, since: datetime, until: datetime, most: int) -> Past:
    """Return at most so many jobs that ended after `since` until `until`, and had worked."""
    found: list[PastJob] = []
    before: int | None = None
    for _ in range(0, MOST_LOOKED_THROUGH, _PAGE):
        page = await list_jobs(conn, owner=None, before=before, limit=_PAGE)
        ended = [job for job in page if job.ended_at is not None and since < job.ended_at <= until]
        found.extend(await _played(conn, ended))
        if len(found) > most or len(page) < _PAGE:
            return Past(tuple(found[:most]), len(found) > most)
        before = page[-1].sequence
    return Past(tuple(found), more=True)


async def _played(conn: AsyncConnection, ended: Sequence[JobRow]) -> Sequence[PastJob]:
    runs = await runs_of(conn, [job.id for job in ended])
    attempts = [(job, runs.get(job.id, [])) for job in ended]
    return [_past(job, each) for job, each in attempts if each and each[-1].started_at]


async def past_jobs(
    conn: AsyncConnection, since: datetime, most: int = MOST
) -> tuple[PastJob, ...]:
    """Return jobs that ended after `since` and had begun to work, the latest submitted first.

    Of several attempts the last one counts: the others were recalled or lost.
    """
    found: list[PastJob] = []
    before: int | None = None
    for _ in range(0, most, _PAGE):
        page = await list_jobs(conn, owner=None, before=before, limit=_PAGE)
        ended = [job for job in page if job.ended_at is not None and job.ended_at > since]
        found.extend(await _played(conn, ended))
        if len(page) < _PAGE:
            break
        before = page[-1].sequence
    return tuple(found)


def _past(job: JobRow, runs: Sequence[RunRow]) -> PastJob:
    last = runs[-1]
    began = last.started_at or last.leased_at
    ended = last.ended_at or job.ended_at or began
    asked = Job(
        id=JobId(job.id),
        user=job.user,
        account=AccountName(job.account),
        shape=job.shape,
        priority=job.priority,
        submitted_at=job.submitted_at,
        sequence=job.sequence,
        time_limit=job.time_limit,
        name=job.name,
    )
    return PastJob(asked, max(ended - began, ended - ended))
