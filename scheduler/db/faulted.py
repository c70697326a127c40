"""Jobs whose run failed moments before its node's fault was told: the node may be why (R19).

A GPU that falls off the bus fails the program on it at once, and the program's end can reach
the hub before the driver's XID does. What fails while its node is drained is run again
elsewhere (`core.lifecycle.job_after`), so the order of two messages must not decide that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.lifecycle import JobState
from scheduler.core.model import RunState
from scheduler.core.policy import Policy
from scheduler.db.outbox import JobNote, note_changes, write_history
from scheduler.db.rows import RunRow, run_row
from scheduler.db.tables import jobs, runs

GRACE = timedelta(seconds=60)
"""How long before its node's fault was told a run may have failed for that.

An agent tells an XID within two seconds, a gateway delivers every six, and a driver that hangs
before it announces anything counts as stuck after ten; three times that, and some. Longer, and
a job would come back to somebody who has long read that it failed.
Source: agents/node (daemon, gateway, `stuck_after`); Slurm requeues for a failed node likewise.
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """What was found on a node that asks for its drain; `gpu` None: it is the whole node's."""

    node: str
    gpu: int | None
    why: str


async def requeue_faulted(
    conn: AsyncConnection, faults: Sequence[Fault], policy: Policy, now: datetime
) -> list[str]:
    """Requeue the jobs whose last run failed on a faulty GPU within `GRACE`; return which.

    Such a run counts as lost from then on, also for `max_lost`: a job that brings its nodes
    down is not run for ever.
    """
    if not faults:
        return []
    query = (
        select(runs)
        .join(jobs, jobs.c.id == runs.c.job_id)
        .where(
            runs.c.ended_at.is_not(None),
            runs.c.ended_at >= now - GRACE,
            runs.c.state == RunState.FAILED.value,
            runs.c.stop_reason.is_(None),
            jobs.c.state == JobState.FAILED.value,
            jobs.c.attempt == runs.c.attempt,
        )
        .order_by(runs.c.id)
        .with_for_update()
    )
    found = [run_row(row) for row in (await conn.execute(query)).mappings()]
    requeued = []
    for run in found:
        fault = _of(run, faults)
        if fault is not None and await _requeue(conn, run, fault, policy, now):
            requeued.append(run.job_id)
    await note_changes(conn, [("job", job) for job in requeued])
    return requeued


def _of(run: RunRow, faults: Sequence[Fault]) -> Fault | None:
    held = {(slot.node, gpu) for slot in run.slots for gpu in slot.gpus}
    whole = {slot.node for slot in run.slots}
    for fault in faults:
        if (fault.node, fault.gpu) in held or (fault.gpu is None and fault.node in whole):
            return fault
    return None


async def _requeue(
    conn: AsyncConnection, run: RunRow, fault: Fault, policy: Policy, now: datetime
) -> bool:
    await conn.execute(update(runs).where(runs.c.id == run.id).values(state=RunState.LOST.value))
    lost = select(func.count()).where(
        runs.c.job_id == run.job_id,
        runs.c.state == RunState.LOST.value,
        runs.c.stop_reason.is_(None),
        runs.c.seen_at.is_not(None),
    )
    count = (await conn.execute(lost)).scalar_one()
    said = f"run {run.id} counts as lost to its node: {fault.node}: {fault.why}"
    notes = [JobNote(run.job_id, now, "lost", said, run.id)]
    if again := count < policy.rules.max_lost:
        await conn.execute(
            update(jobs)
            .where(jobs.c.id == run.job_id)
            .values(
                state=JobState.PENDING.value,
                attempt=run.attempt + 1,
                not_before=None,
                started_at=None,
                ended_at=None,
                message="",
                error_type=None,
                exit_code=None,
            )
        )
        told = f"it failed with its node; requeued as attempt {run.attempt + 1}, keeps its place"
    else:
        told = f"{count} of its runs were lost, so it is not run again: submit it anew"
    notes.append(JobNote(run.job_id, now, "requeued" if again else "failed", told, run.id))
    await write_history(conn, notes)
    return again
