"""Runs that must leave their nodes: told, given notice, and requeued when they have ended."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.model import PoolId, RunState, StopReason
from scheduler.core.policy import Policy
from scheduler.db.ending import End, end_run, open_runs, stop_run, waits_for_others
from scheduler.db.outbox import JobNote, write_history
from scheduler.db.rows import RunRow
from scheduler.db.tables import jobs, lease_gpus, runs


@dataclass(frozen=True, slots=True)
class Lease:
    """A leased GPU, and whose it is."""

    node: str
    gpu: int
    run: str
    job: str
    user: str


async def leases_on(conn: AsyncConnection, nodes: Sequence[str]) -> list[Lease]:
    """Return the leased GPUs of these nodes; of a GPU that is handed over, the new lease last."""
    if not nodes:
        return []
    query = (
        select(lease_gpus.c.node_id, lease_gpus.c.gpu, runs.c.id, jobs.c.id, jobs.c.user)
        .join(runs, runs.c.id == lease_gpus.c.run_id)
        .join(jobs, jobs.c.id == runs.c.job_id)
        .where(lease_gpus.c.node_id.in_(nodes))
        .order_by(lease_gpus.c.draining.desc(), lease_gpus.c.node_id, lease_gpus.c.gpu)
    )
    return [Lease(*row) for row in await conn.execute(query)]


async def drain_runs(  # whom, by what, when, why and how soon
    conn: AsyncConnection,
    nodes: Sequence[str],
    policy: Policy,
    now: datetime,
    why: str,
    at_most: timedelta | None = None,
) -> list[str]:
    """Tell every run on these nodes to end by its notice; return the sites that have orders now.

    The notice is the policy's for the run, or `at_most`. A run that was told before keeps its
    reason and its earlier end.
    """
    ids = sorted({lease.run for lease in await leases_on(conn, nodes)})
    if not ids:
        return []
    told = []
    for run in await open_runs(conn, runs.c.id.in_(ids)):
        if run.stop_reason is None:
            notice = policy.notice(PoolId(run.pool), run.agreement)
            by = now + (notice if at_most is None else min(notice, at_most))
            await _drain(conn, run, now, by, why)
            told.append(run.site)
    return sorted(set(told))


async def _drain(conn: AsyncConnection, run: RunRow, now: datetime, by: datetime, why: str) -> None:
    sentence = f"{why}; run {run.id} ends by {by:%H:%M:%S} UTC and is requeued"
    await write_history(conn, [JobNote(run.job_id, now, "drained", sentence, run.id)])
    await stop_run(conn, run, StopReason.DRAINED, by)
    if run.seen_at is None and await waits_for_others(conn, run):
        # No site was ever told of it, so nobody else can end it.
        stopped = replace(run, stop_reason=StopReason.DRAINED)
        await end_run(conn, stopped, End(RunState.STOPPED, now, why), now)
