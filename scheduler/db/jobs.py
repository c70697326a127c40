"""Jobs as people ask about them: submit, find, list, cancel, delete."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, case, func, literal, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.lifecycle import JobState
from scheduler.core.model import AccountName, PriorityClass, Shape
from scheduler.core.training import Training
from scheduler.db.ending import cancel_run
from scheduler.db.engine import insert_into
from scheduler.db.outbox import JobNote, note_changes, write_history
from scheduler.db.rows import (
    EventRow,
    HoldRow,
    JobRow,
    ReservationRow,
    RunRow,
    job_row,
    run_row,
    training_json,
    verdicts_of,
)
from scheduler.db.shapes import shape_columns, shape_key, slots_of
from scheduler.db.tables import UtcDateTime, holds, job_events, jobs, reservations, runs
from scheduler.db.training import add_up, take_back

_TERMINAL = [state.value for state in JobState if state.is_terminal]


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that was admitted. `request_sha256` tells a retry from another request.

    `predicted` is kept in whole seconds.
    """

    id: str
    user: str
    submission_id: str
    request_sha256: str
    account: str
    shape: Shape
    priority: PriorityClass
    time_limit: timedelta
    submitted_at: datetime
    entrypoint: str
    name: str = ""
    predicted: timedelta | None = None
    training: Training | None = None
    idempotency_key: str | None = None
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    entrypoint_options: Mapping[str, Any] = field(default_factory=dict)
    packages: Sequence[Mapping[str, Any]] = ()


class DuplicateJob(Exception):  # noqa: N818  # a state, told by its name
    """The user has a job under that id or key already: `existing`, found `by`."""

    def __init__(self, existing: JobRow, by: Literal["submission_id", "idempotency_key"]) -> None:
        super().__init__(f"{existing.user} has {existing.id} under the same {by}")
        self.existing = existing
        self.by = by


async def insert_job(conn: AsyncConnection, job: NewJob) -> JobRow:
    """Store a job, PENDING, and tell the leader.

    Raises:
        DuplicateJob: the submission id or the idempotency key is taken by this user.
            The transaction goes on unharmed; of eight that race, one wins.
    """
    (stored,) = await insert_jobs(conn, [job])
    if isinstance(stored, DuplicateJob):
        raise stored
    return stored


async def insert_jobs(
    conn: AsyncConnection, new: Sequence[NewJob]
) -> Sequence[JobRow | DuplicateJob]:
    """Store jobs, PENDING, in this order, and tell the leader; four statements for all.

    A job whose submission id or idempotency key is taken, also by one before it, is
    answered by the job that has it; the others are stored all the same.
    """
    # Not one INSERT of many rows with RETURNING: psycopg would parse its text each time anew.
    await conn.execute(
        insert_into(conn, jobs).on_conflict_do_nothing(), [_columns(job) for job in new]
    )
    rows = await conn.execute(
        select(jobs.c.id, jobs.c.sequence).where(jobs.c.id.in_([job.id for job in new]))
    )
    sequences = {row.id: row.sequence for row in rows}
    stored = [job for job in new if job.id in sequences]
    await note_changes(conn, [("job", job.id) for job in stored])
    await write_history(conn, [_submitted(job) for job in stored])
    rows_now = [
        _new_row(job, sequences[job.id]) if job.id in sequences else await _taken(conn, job)
        for job in new
    ]
    return await add_up(conn, rows_now)


async def _taken(conn: AsyncConnection, job: NewJob) -> DuplicateJob:
    duplicate = await find_submitted(conn, job.user, job.submission_id, job.idempotency_key)
    if duplicate is None:
        raise RuntimeError(f"the job id {job.id} was given twice")
    return duplicate


def _submitted(job: NewJob) -> JobNote:
    gpus = "GPU" if job.shape.gpus_per_node == 1 else "GPUs"
    ask = f"{job.shape.nodes} x {job.shape.gpus_per_node} {gpus}"
    minutes = job.time_limit.total_seconds() / 60
    sentence = f"submitted by {job.user} for {job.account}: {ask} for at most {minutes:g} min"
    return JobNote(job.id, job.submitted_at, "submitted", sentence)


def _new_row(job: NewJob, sequence: int) -> JobRow:
    """Return the row as it was just stored: reading it back would tell nothing new."""
    same = {column.name: getattr(job, column.name) for column in fields(NewJob)}
    return JobRow(
        **same | {"packages": tuple(job.packages)},
        sequence=sequence,
        state=JobState.PENDING,
        attempt=1,
        preemptions=0,
        not_before=None,
        started_at=None,
        ended_at=None,
        message="",
        error_type=None,
        exit_code=None,
        deleted_at=None,
    )


def _columns(job: NewJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "user": job.user,
        "account": job.account,
        "submission_id": job.submission_id,
        "idempotency_key": job.idempotency_key,
        "request_sha256": job.request_sha256,
        "state": JobState.PENDING.value,
        **shape_columns(job.shape),
        "priority": job.priority.value,
        "time_limit_seconds": _seconds(job.time_limit),
        "submitted_at": job.submitted_at,
        "name": job.name,
        "predicted_seconds": None if job.predicted is None else _seconds(job.predicted),
        "training": training_json(job.training),
        "entrypoint": job.entrypoint,
        "runtime_env": dict(job.runtime_env),
        "user_metadata": dict(job.metadata),
        "entrypoint_options": dict(job.entrypoint_options),
        "packages": [dict(package) for package in job.packages],
    }


def _seconds(time: timedelta) -> int:
    return max(1, int(time.total_seconds()))


async def find_submitted(
    conn: AsyncConnection, user: str, submission_id: str | None, idempotency_key: str | None
) -> DuplicateJob | None:
    """Return the job that a user submitted before under this key, or else under this id."""
    mine = select(jobs).where(jobs.c.user == user)
    if idempotency_key is not None:
        by_key = mine.where(jobs.c.idempotency_key == idempotency_key)
        row = (await conn.execute(by_key)).mappings().one_or_none()
        if row is not None:
            return DuplicateJob(job_row(row), "idempotency_key")
    if submission_id is None:
        return None
    by_id = mine.where(jobs.c.submission_id == submission_id)
    row = (await conn.execute(by_id)).mappings().one_or_none()
    return None if row is None else DuplicateJob(job_row(row), "submission_id")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose jobs are meant: a user's, but for those of accounts that are not theirs just now."""

    user: str
    but: frozenset[AccountName] = frozenset()

    def owns(self, user: str, account: str) -> bool:
        """Return whether a job of a user, of an account, is meant."""
        return user == self.user and account not in self.but

    def clause(self) -> ColumnElement[bool]:
        """Return the same in SQL."""
        mine = jobs.c.user == self.user
        return mine & jobs.c.account.not_in(self.but) if self.but else mine


async def find_job(
    conn: AsyncConnection, key: str, owner: Owner | None, led: Collection[str] = ()
) -> JobRow | None:
    """Return a job by its id or its submission id; `owner` None sees everyone's.

    Of the accounts in `led` the owner sees other people's too, after their own.

    A submission id that several people use is found for an administrator only where it
    is unique: the newest one is given.
    """
    query = select(jobs).where(
        jobs.c.deleted_at.is_(None), or_(jobs.c.id == key, jobs.c.submission_id == key)
    )
    if owner is not None:
        query = query.where(or_(owner.clause(), jobs.c.account.in_(led)))
        query = query.order_by((jobs.c.user == owner.user).desc())
    # An id goes before a submission id that somebody chose to look like one.
    query = query.order_by((jobs.c.id == key).desc(), jobs.c.sequence.desc()).limit(1)
    row = (await conn.execute(query)).mappings().one_or_none()
    return None if row is None else job_row(row)


async def list_jobs(  # noqa: PLR0913  # each narrows the list
    conn: AsyncConnection,
    *,
    owner: Owner | None,
    state: JobState | None = None,
    account: str | None = None,
    led: Collection[str] | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[JobRow]:
    """Return a page of jobs, newest first; the next begins `before` the last's sequence.

    With `led`, those of these accounts, whoever's they are.
    """
    query: Select[Any] = select(jobs).where(jobs.c.deleted_at.is_(None))
    if owner is not None:
        query = query.where(owner.clause())
    wanted = {"state": state and state.value, "account": account}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(jobs.c[name] == value)
    if led is not None:
        query = query.where(jobs.c.account.in_(led))
    if before is not None:
        query = query.where(jobs.c.sequence < before)
    rows = await conn.execute(query.order_by(jobs.c.sequence.desc()).limit(limit))
    return [job_row(row) for row in rows.mappings()]


async def pending_count(conn: AsyncConnection, user: str) -> int:
    """Return how many of a person's jobs wait."""
    query = select(func.count()).where(jobs.c.user == user, jobs.c.state == JobState.PENDING.value)
    return (await conn.execute(query)).scalar_one()


async def pending_counts(conn: AsyncConnection, users: Collection[str]) -> Mapping[str, int]:
    """Return how many jobs of each of these people wait."""
    query = (
        select(jobs.c.user, func.count().label("waiting"))
        .where(jobs.c.user.in_(users), jobs.c.state == JobState.PENDING.value)
        .group_by(jobs.c.user)
    )
    found = {row.user: row.waiting for row in await conn.execute(query)}
    return {user: found.get(user, 0) for user in users}


async def cancel_job(conn: AsyncConnection, job_id: str, now: datetime, by: str) -> JobState:
    """End a waiting job, or tell the run of a started one to stop; return the new state.

    An ended job stays as it ended. Cancelling twice is cancelling once.

    Raises:
        KeyError: there is no such job.
    """
    ended = await conn.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state == JobState.PENDING.value)
        .values(state=JobState.STOPPED.value, ended_at=now, message=f"cancelled by {by}")
    )
    if ended.rowcount == 1:
        sentence = f"cancelled by {by} while it waited"
        await write_history(conn, [JobNote(job_id, now, "cancelled", sentence)])
        await note_changes(conn, [("job", job_id)])
        await take_back(conn, job_id)
        return JobState.STOPPED
    await cancel_run(conn, job_id, now, by)
    state = (
        await conn.execute(select(jobs.c.state).where(jobs.c.id == job_id))
    ).scalar_one_or_none()
    if state is None:
        raise KeyError(f"no job {job_id}")
    return JobState(state)


async def delete_job(conn: AsyncConnection, job_id: str, now: datetime) -> bool:
    """Hide an ended job from its owner; False when it has not ended, or is hidden already.

    The row stays, because bills refer to it, and so do its ids: one that was used is never
    another job's, or a client that tries again after a lost answer would run it twice.
    """
    hidden = await conn.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state.in_(_TERMINAL), jobs.c.deleted_at.is_(None))
        .values(deleted_at=now)
    )
    return hidden.rowcount == 1


async def runs_of(conn: AsyncConnection, job_ids: Sequence[str]) -> dict[str, list[RunRow]]:
    """Return every run of these jobs, each job's in order of attempts."""
    found: dict[str, list[RunRow]] = {job_id: [] for job_id in job_ids}
    if not found:
        return found
    query = select(runs).where(runs.c.job_id.in_(job_ids)).order_by(runs.c.attempt)
    for row in (await conn.execute(query)).mappings():
        found[row["job_id"]].append(run_row(row))
    return found


async def find_run(conn: AsyncConnection, run_id: str) -> RunRow | None:
    """Return a run, open or ended."""
    row = (await conn.execute(select(runs).where(runs.c.id == run_id))).mappings().one_or_none()
    return None if row is None else run_row(row)


async def events_of(conn: AsyncConnection, job_id: str) -> list[EventRow]:
    """Return a job's history, oldest first."""
    query = select(
        job_events.c.id,
        job_events.c.job_id,
        job_events.c.at,
        job_events.c.event,
        job_events.c.run_id,
        job_events.c.sentence,
    )
    rows = await conn.execute(query.where(job_events.c.job_id == job_id).order_by(job_events.c.id))
    return [EventRow(*row) for row in rows]


async def hold_of(conn: AsyncConnection, job: JobRow) -> HoldRow | None:
    """Return why a job waits: its own verdict, else its (account, shape) group's.

    None when it does not wait, or no cycle has looked at it yet.
    """
    if job.state is not JobState.PENDING:
        return None
    query = (
        select(holds.c.verdicts, holds.c.decided_at, holds.c.job_id)
        .where(
            holds.c.account == job.account,
            holds.c.shape_key == shape_key(job.shape),
            or_(holds.c.job_id == job.id, holds.c.job_id.is_(None)),
        )
        .order_by(holds.c.job_id.is_(None))
        .limit(1)
    )
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        return None
    return HoldRow(
        verdicts=verdicts_of(row.verdicts),
        decided_at=row.decided_at,
        position=await _position(conn, job),
        own=row.job_id is not None,
    )


async def _position(conn: AsyncConnection, job: JobRow) -> int:
    """Count who is ahead in the account's queue (R2): priority, then age, then submission."""
    rank = case({p.value: p.rank for p in PriorityClass}, value=jobs.c.priority)
    ahead = select(func.count()).where(
        jobs.c.account == job.account,
        jobs.c.state == JobState.PENDING.value,
        tuple_(rank, jobs.c.submitted_at, jobs.c.sequence)
        < tuple_(
            literal(job.priority.rank),
            literal(job.submitted_at, UtcDateTime()),
            literal(job.sequence),
        ),
    )
    return 1 + (await conn.execute(ahead)).scalar_one()


async def reservation_of(conn: AsyncConnection, job_id: str) -> ReservationRow | None:
    """Return a job's planned start (R6), if a cycle gave it one."""
    query = select(reservations).where(reservations.c.job_id == job_id)
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        return None
    return ReservationRow(row.job_id, row.pool, slots_of(row.slots), row.start_at)
