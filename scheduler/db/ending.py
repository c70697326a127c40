"""How a run ends, and what follows: GPUs free, usage settled, job finished or requeued.

Every way to an end (a site's report, a cancel, a lease that expired) goes through
`end_run`, whose first statement succeeds once per run; so nothing after it can happen
twice, however often and in whatever order the reports arrive.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.lifecycle import JobState, is_lost, job_after
from scheduler.core.model import RunState, StopReason
from scheduler.db import lending, usage
from scheduler.db.outbox import JobNote, note_changes, write_history
from scheduler.db.policies import policy_in_force
from scheduler.db.rows import RunRow, run_row
from scheduler.db.tables import jobs, lease_gpus, runs


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended. `at` is when its GPUs came free, as far as the hub can know."""

    state: RunState
    at: datetime
    message: str = ""
    error_type: str | None = None
    exit_code: int | None = None


async def open_runs(conn: AsyncConnection, *where: ColumnElement[bool]) -> list[RunRow]:
    """Return runs that still hold GPUs, locked against other hubs, in one fixed order."""
    rows = await conn.execute(_open(*where).with_for_update())
    return [run_row(row) for row in rows.mappings()]


def _open(*where: ColumnElement[bool]) -> Select[Any]:
    query = select(runs).where(~runs.c.acknowledged, runs.c.ended_at.is_(None), *where)
    return query.order_by(runs.c.id)


async def cancel_run(conn: AsyncConnection, job_id: str, now: datetime, by: str) -> None:
    """Tell a job's open run to stop now, or take back a lease that no site was told of."""
    for run in await open_runs(conn, runs.c.job_id == job_id):
        if run.stop_reason is StopReason.CANCELLED:
            continue
        note = JobNote(job_id, now, "cancelled", f"cancelled by {by}", run.id)
        await write_history(conn, [note])
        await stop_run(conn, run, StopReason.CANCELLED, now)
        if run.seen_at is None and await waits_for_others(conn, run):
            stopped = replace(run, stop_reason=StopReason.CANCELLED)
            await end_run(conn, stopped, End(RunState.STOPPED, now, f"cancelled by {by}"), now)


async def stop_run(
    conn: AsyncConnection, run: RunRow, reason: StopReason, stop_at: datetime
) -> None:
    """Mark a run as told to stop by `stop_at`; an earlier instant that it was told stands."""
    earliest = stop_at if run.stop_at is None else min(stop_at, run.stop_at)
    await conn.execute(
        update(runs)
        .where(runs.c.id == run.id, runs.c.ended_at.is_(None))
        .values(state=RunState.STOPPING.value, stop_reason=reason.value, stop_at=earliest)
    )
    await conn.execute(
        update(jobs).where(jobs.c.id == run.job_id).values(state=JobState.STOPPING.value)
    )
    await note_changes(conn, [("run", run.id)])


async def waits_for_others(conn: AsyncConnection, run: RunRow) -> bool:
    """Return whether runs still drain on this run's GPUs, so that no site was told of it."""
    if not run.after:
        return False
    query = select(runs.c.id).where(runs.c.id.in_(sorted(run.after)), runs.c.ended_at.is_(None))
    return (await conn.execute(query.limit(1))).first() is not None


async def end_run(conn: AsyncConnection, run: RunRow, end: End, now: datetime) -> bool:
    """End a run and carry out all that follows; False when it had ended already."""
    # A lease that was never put to use because others still drained is nobody's bill.
    waited = await waits_for_others(conn, run)
    ended = await conn.execute(
        update(runs)
        .where(runs.c.id == run.id, runs.c.ended_at.is_(None))
        .values(
            state=end.state.value,
            ended_at=end.at,
            message=end.message,
            error_type=end.error_type,
            exit_code=end.exit_code,
        )
    )
    if ended.rowcount != 1:
        return False
    await conn.execute(delete(lease_gpus).where(lease_gpus.c.run_id == run.id))
    if waited:
        await usage.begin_at(conn, run.id, end.at)
    await usage.settle(conn, run, end.at)
    await lending.let_stay(conn, run, end.at)
    await lending.say_goodbye(conn, run, end.at)
    not_before = await _release_successors(conn, run, now) if run.draining else None
    await release_predecessors(conn, run)
    state = job_after(end.state, run.stop_reason)
    given_up = await _given_up(conn, run, end)
    if given_up is not None:
        await _finish(conn, run, given_up, JobState.FAILED)
    elif state is JobState.PENDING:
        await _requeue(conn, run, end, not_before)
    else:
        await _finish(conn, run, end, state)
    await note_changes(conn, [("run", run.id), ("job", run.job_id)])
    return True


async def _release_successors(conn: AsyncConnection, run: RunRow, now: datetime) -> datetime | None:
    """Let the runs that waited for this one bind; return by when they must have."""
    # Open runs are few, and JSON lists are searched alike here on both databases.
    query = _open(runs.c.pool == run.pool, runs.c.id != run.id)
    rows = [run_row(row) for row in (await conn.execute(query)).mappings()]
    waiting = [other for other in rows if run.id in other.after]
    due = []
    for successor in waiting:
        if await waits_for_others(conn, successor):
            due.append(successor.bind_by)
            continue
        bind_by = now + successor.bind_within
        await conn.execute(update(runs).where(runs.c.id == successor.id).values(bind_by=bind_by))
        await usage.begin_at(conn, successor.id, now)
        due.append(bind_by)
    await note_changes(conn, [("run", successor.id) for successor in waiting])
    return max(due, default=None)


async def release_predecessors(conn: AsyncConnection, run: RunRow) -> None:
    """Let the jobs that were preempted for this run compete again: it bound, or gave up."""
    if not run.after:
        return
    mine = select(runs.c.job_id).where(runs.c.id.in_(sorted(run.after)))
    freed = await conn.execute(
        update(jobs)
        .where(
            jobs.c.id.in_(mine),
            jobs.c.state == JobState.PENDING.value,
            jobs.c.not_before.is_not(None),
        )
        .values(not_before=None)
        .returning(jobs.c.id)
    )
    await note_changes(conn, [("job", row.id) for row in freed])


async def _given_up(conn: AsyncConnection, run: RunRow, end: End) -> End | None:
    """Return how a job ends that lost too many runs (R19); None: it may be tried again.

    A job that brings its nodes down would otherwise go from one to the next for ever. Runs that
    their site never had do not count.
    """
    if run.seen_at is None or not is_lost(end.state, run.stop_reason):
        return None
    lost = select(func.count()).where(
        runs.c.job_id == run.job_id,
        runs.c.state == RunState.LOST.value,
        runs.c.stop_reason.is_(None),
        runs.c.seen_at.is_not(None),
    )
    count = (await conn.execute(lost)).scalar_one()
    if count < (await policy_in_force(conn)).rules.max_lost:
        return None
    where = ", ".join(slot.node for slot in run.slots)
    message = (
        f"{count} of its runs were lost, the last on {where}: {end.message or _WHY[None]}. "
        "See in their logs whether the job brings its nodes down, then submit it again"
    )
    return replace(end, message=message, error_type="runs_lost")


async def _requeue(
    conn: AsyncConnection, run: RunRow, end: End, not_before: datetime | None
) -> None:
    """Put the job back with its age; after a preemption, behind the successor's binding."""
    told = run.stop_reason is not None and run.stop_reason.is_preemption
    # A sick node or an idle lease is no preemption, whatever the site calls the end.
    drained = run.stop_reason in {StopReason.DRAINED, StopReason.IDLE}
    recalled = told or (end.state is RunState.PREEMPTED and not drained)
    await conn.execute(
        update(jobs)
        .where(jobs.c.id == run.job_id)
        .values(
            state=JobState.PENDING.value,
            attempt=run.attempt + 1,
            preemptions=jobs.c.preemptions + (1 if recalled else 0),
            not_before=not_before,
            started_at=None,
            message="",
        )
    )
    kept = "its checkpoint and its place" if run.checkpointed_at else "its place"
    why = end.message or _WHY[run.stop_reason]
    sentence = f"{why}; requeued as attempt {run.attempt + 1}, keeps {kept}"
    ended = JobNote(run.job_id, end.at, end.state.value, f"run {run.id} ended: {why}", run.id)
    await write_history(conn, [ended, JobNote(run.job_id, end.at, "requeued", sentence, run.id)])


_WHY = {
    StopReason.RECALLED: "its GPUs were recalled",
    StopReason.SHARES: "an account with a smaller share took its GPUs over",
    StopReason.RESERVED: "its nodes are reserved or in maintenance",
    StopReason.IDLE: "its GPUs did nothing for too long",
    StopReason.ENDED_IDLE: "its GPUs did nothing for too long",
    StopReason.DRAINED: "its node was drained",
    StopReason.BIND_EXPIRED: "the site did not start it in time",
    StopReason.CANCELLED: "it was cancelled",
    StopReason.TIME_LIMIT: "it reached its time limit",
    None: "its node or cluster was lost",
}


async def _finish(conn: AsyncConnection, run: RunRow, end: End, state: JobState) -> None:
    message = end.message or _told(run)
    await conn.execute(
        update(jobs)
        .where(jobs.c.id == run.job_id)
        .values(
            state=state.value,
            ended_at=end.at,
            message=message,
            error_type=end.error_type,
            exit_code=end.exit_code,
        )
    )
    detail = f": {message}" if message else ""
    note = JobNote(run.job_id, end.at, state.value, f"{state.value}{detail}", run.id)
    await write_history(conn, [note])


def _told(run: RunRow) -> str:
    return "" if run.stop_reason is None else _WHY[run.stop_reason]
