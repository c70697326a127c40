"""Runs as far as idleness looks at them, and the steps with those that do nothing (R18)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.idleness import Step
from scheduler.core.model import PoolId, PriorityClass, RunState, Slot, StopReason
from scheduler.core.policy import Policy
from scheduler.db.ending import open_runs, stop_run
from scheduler.db.lending import lend, take_back
from scheduler.db.outbox import JobNote, write_history
from scheduler.db.shapes import slots_of
from scheduler.db.tables import job_events, jobs, runs

REQUEUED = "idle_requeued"


@dataclass(frozen=True, slots=True)
class Working:
    """A run that works, and what its job is."""

    run: str
    job: str
    pool: str
    slots: Sequence[Slot]
    started_at: datetime
    priority: PriorityClass
    preemptible: bool
    background: bool
    requeued: bool
    taken: Step
    idle_from: datetime | None


@dataclass(frozen=True, slots=True)
class Told:
    """A step with one run, and since when it is idle."""

    run: str
    job: str
    step: Step
    idle_since: datetime | None = None
    before: Step = Step.NONE


_BEFORE = (
    select(job_events.c.id)
    .where(job_events.c.job_id == jobs.c.id, job_events.c.event == REQUEUED)
    .exists()
)
_WORKING = (
    select(
        runs.c.id,
        runs.c.job_id,
        runs.c.pool,
        runs.c.slots,
        runs.c.started_at,
        runs.c.idle_step,
        runs.c.idle_from,
        jobs.c.priority,
        jobs.c.preemptible,
        jobs.c.background,
        _BEFORE.label("requeued"),
    )
    .join(jobs, jobs.c.id == runs.c.job_id)
    .where(~runs.c.acknowledged, runs.c.ended_at.is_(None))
    .where(runs.c.state == RunState.RUNNING.value, runs.c.started_at.is_not(None))
    .order_by(runs.c.id)
)


async def working_runs(conn: AsyncConnection) -> list[Working]:
    """Return the runs that work."""
    return [
        Working(
            run=row.id,
            job=row.job_id,
            pool=row.pool,
            slots=slots_of(row.slots),
            started_at=row.started_at,
            priority=PriorityClass(row.priority),
            preemptible=row.preemptible,
            background=row.background,
            requeued=bool(row.requeued),
            taken=Step(row.idle_step),
            idle_from=row.idle_from,
        )
        for row in await conn.execute(_WORKING)
    ]


@dataclass(frozen=True, slots=True)
class Taken:
    """What steps have changed: sites with other orders, and jobs with another state."""

    sites: frozenset[str]
    jobs: frozenset[str]


async def take_steps(
    conn: AsyncConnection, steps: Sequence[Told], policy: Policy, now: datetime
) -> Taken:
    """Store steps, tell the jobs, and lend, take back or stop what is to be."""
    sites, told_jobs = set[str](), {told.job for told in steps}
    for told in steps:
        back = None
        if told.before is Step.LEND and told.step < Step.LEND:
            back = await take_back(conn, told.run, _WORKS, now, policy)
        if back is not None:
            sites |= {guest.site for guest in back.guests}
            told_jobs |= back.jobs
        changed = update(runs).where(runs.c.id == told.run, runs.c.ended_at.is_(None))
        await conn.execute(changed.values(idle_step=int(told.step)))
        if told.step >= Step.REQUEUE:
            sites |= await _stop(conn, told, policy, now)
            continue
        if told.step is Step.LEND and told.idle_since is not None:
            await lend(conn, told.run, told.idle_since)
        sentence = _sentence(told) if back is None else f"{_sentence(told)}; {back}"
        note = JobNote(told.job, now, _EVENTS[told.step], sentence, told.run)
        await write_history(conn, [note])
    return Taken(frozenset(sites), frozenset(told_jobs))


_EVENTS = {Step.NONE: "works_again", Step.WARN: "idle_warned", Step.LEND: "lease_lent"}
_WORKS = "the lease that it sat on works again"


async def _stop(conn: AsyncConnection, told: Told, policy: Policy, now: datetime) -> set[str]:
    """Tell a run to end by its notice, unless it was told to end meanwhile."""
    requeue = told.step is Step.REQUEUE
    sites = set()
    for run in await open_runs(conn, runs.c.id == told.run):
        if run.stop_reason is not None:
            continue
        by = now + policy.notice(PoolId(run.pool), run.agreement)
        sentence = f"{_sentence(told)}; it ends by {by:%H:%M:%S} UTC"
        event = REQUEUED if requeue else "idle_ended"
        await write_history(conn, [JobNote(told.job, now, event, sentence, told.run)])
        await stop_run(conn, run, StopReason.IDLE if requeue else StopReason.ENDED_IDLE, by)
        sites.add(run.site)
    return sites


def _sentence(told: Told) -> str:
    since = "" if told.idle_since is None else f" since {told.idle_since:%H:%M} UTC"
    match told.step:
        case Step.WARN:
            return f"none of its GPUs has done anything{since}: use them, or end it"
        case Step.LEND:
            return (
                f"none of its GPUs has done anything{since}: its lease is lent to background work "
                "until they do, or until `commonpool recall` takes it back"
            )
        case Step.REQUEUE:
            return f"none of its GPUs has done anything{since}: it is requeued"
        case Step.END:
            return f"none of its GPUs has done anything{since}: it is ended"
        case Step.NONE:
            return "its GPUs work again"
