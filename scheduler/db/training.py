"""What model lines are trained with: added up as jobs come, taken back where none ran (R17).

A line's row is locked by whoever adds to it until the end of the transaction, so the job by
which a line reaches a threshold is one job, also where two hubs take submissions.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.lifecycle import JobState
from scheduler.core.thresholds import UNNAMED
from scheduler.core.training import Training
from scheduler.db.engine import insert_into
from scheduler.db.outbox import note_changes
from scheduler.db.rows import JobRow, training_json, training_of
from scheduler.db.tables import jobs
from scheduler.db.training_tables import model_lines

_Other = TypeVar("_Other")


async def add_up(conn: AsyncConnection, stored: Sequence[JobRow | _Other]) -> list[JobRow | _Other]:
    """Return new jobs with what their lines reach by them, in this order; others as they are."""
    return [await _added(conn, row) if isinstance(row, JobRow) else row for row in stored]


async def _added(conn: AsyncConnection, job: JobRow) -> JobRow:
    training = job.training
    if training is None or training.line == UNNAMED:
        return job
    values = {"institution": training.institution, "line": training.line}
    new = insert_into(conn, model_lines).values(**values, pflop=training.pflop)
    total = new.on_conflict_do_update(
        index_elements=["institution", "line"],
        set_={"pflop": model_lines.c.pflop + training.pflop},
    ).returning(model_lines.c.pflop)
    reaches = (await conn.execute(total)).scalar_one()
    added = replace(training, reaches=reaches)
    await _store(conn, job.id, added)
    return replace(job, training=added)


async def take_back(conn: AsyncConnection, job_id: str) -> None:
    """Take back what a job that never ran would have added, also from those who wait behind it."""
    row = (
        await conn.execute(
            select(jobs.c.training, jobs.c.attempt, jobs.c.sequence).where(jobs.c.id == job_id)
        )
    ).one()
    training = training_of(row.training)
    if training is None or training.line == UNNAMED or row.attempt > 1:
        return
    await conn.execute(
        update(model_lines)
        .where(
            model_lines.c.institution == training.institution,
            model_lines.c.line == training.line,
        )
        .values(pflop=model_lines.c.pflop - training.pflop)
    )
    behind = select(jobs.c.id, jobs.c.training).where(
        jobs.c.state == JobState.PENDING.value,
        jobs.c.training.is_not(null()),
        jobs.c.sequence > row.sequence,
    )
    for other in (await conn.execute(behind.order_by(jobs.c.sequence))).all():
        theirs = training_of(other.training)
        if theirs is None or (theirs.institution, theirs.line) != (
            training.institution,
            training.line,
        ):
            continue
        less = replace(theirs, reaches=theirs.reaches - training.pflop)
        await _store(conn, other.id, less)
        await note_changes(conn, [("job", other.id)])


async def line_total(conn: AsyncConnection, institution: str, line: str) -> int:
    """Return the petaFLOP that a line has by now; jobs of no line are added to nothing."""
    query = select(model_lines.c.pflop).where(
        model_lines.c.institution == institution, model_lines.c.line == line
    )
    return (await conn.execute(query)).scalar_one_or_none() or 0


async def _store(conn: AsyncConnection, job_id: str, training: Training) -> None:
    kept = training_json(training)
    await conn.execute(update(jobs).where(jobs.c.id == job_id).values(training=kept))
