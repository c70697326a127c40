"""The conversation with a site: what it has seen comes in, what should be goes out.

Both are level-triggered. A report may be lost, repeated, late or out of order: each is
held against the stored state, and only a legal move from it changes anything.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.lifecycle import JobState, advance
from scheduler.core.model import Backend, PoolId, RunState, Slot
from scheduler.core.policy import Policy
from scheduler.db.ending import End, end_run, release_predecessors
from scheduler.db.engine import insert_into
from scheduler.db.nodes import note_nodes_of
from scheduler.db.outbox import JobNote, note_changes, write_history
from scheduler.db.rows import RunRow, run_row
from scheduler.db.tables import jobs, nodes, runs, sites
from scheduler.wire.sites import (
    DesiredLease,
    LeasedNode,
    ObservedRun,
    PackageRef,
    SiteSync,
    Wanted,
)


async def record_sync(conn: AsyncConnection, site: str, sync: SiteSync, now: datetime) -> list[str]:
    """Take in what a site says; return the ids of the jobs whose state changed.

    A message that a newer one of the same agent overtook is ignored whole, since the
    newer one said all. A run that the hub does not know needs no answer of its own: it
    is not among the desired leases, and an agent ends what is not listed.
    """
    if not await _note_site(conn, site, sync, now):
        return []
    query = (
        select(runs, jobs.c.account)
        .join(jobs, jobs.c.id == runs.c.job_id)
        .where(runs.c.site == site, ~runs.c.acknowledged)
        # In the order of accounts, so that two syncs lock balances in the same order.
        .order_by(jobs.c.account, runs.c.id)
        .with_for_update(of=runs)
    )
    rows = (await conn.execute(query)).mappings().all()
    reported = {observed.run: observed for observed in sync.runs}
    changed = [
        row["job_id"]
        for row in rows
        if row["id"] in reported and await _observe(conn, run_row(row), reported[row["id"]], now)
    ]
    forgotten = [
        row["id"] for row in rows if row["ended_at"] is not None and row["id"] not in reported
    ]
    if forgotten:
        await conn.execute(update(runs).where(runs.c.id.in_(forgotten)).values(acknowledged=True))
    return changed


async def _note_site(conn: AsyncConnection, site: str, sync: SiteSync, now: datetime) -> bool:
    """Note that the site spoke; False for a message that a newer one overtook."""
    query = select(sites.c.instance, sites.c.sequence, sites.c.silent).where(sites.c.id == site)
    old = (await conn.execute(query.with_for_update())).one_or_none()
    if old is not None and old.instance == sync.instance and sync.sequence < old.sequence:
        return False
    said = {
        "instance": sync.instance,
        "sequence": sync.sequence,
        "ray_version": sync.ray_version,
        "seen_at": now,
        "silent": False,
    }
    statement = insert_into(conn, sites).values(id=site, **said)
    await conn.execute(statement.on_conflict_do_update(index_elements=["id"], set_=said))
    if old is not None and old.silent:
        await note_nodes_of(conn, [site])
    return True


async def _observe(
    conn: AsyncConnection, run: RunRow, observed: ObservedRun, now: datetime
) -> bool:
    """Hold one report against a run; return whether its job's state changed by it."""
    if run.ended_at is not None or observed.token < run.token:
        return False
    state = advance(run.state, observed.state)
    began = await _note_facts(conn, run, observed, now)
    if state.is_terminal:
        # Until the site says that nothing is left of it, the GPUs are not free.
        return observed.fenced and await end_run(conn, run, _end(run, observed, now), now)
    if state is run.state:
        return False
    await conn.execute(update(runs).where(runs.c.id == run.id).values(state=state.value))
    if state in _JOB_STATES:
        # An update from here never revives a job: its run is open, so it has not ended.
        job = update(jobs).where(jobs.c.id == run.job_id)
        await conn.execute(job.values(state=_JOB_STATES[state].value))
    if state in (RunState.STARTING, RunState.RUNNING):
        await release_predecessors(conn, run)
    await write_history(conn, [_note(run, state, observed, began or now)])
    await note_changes(conn, [("run", run.id)])
    return True


_JOB_STATES = {
    RunState.STARTING: JobState.STARTING,
    RunState.RUNNING: JobState.RUNNING,
    RunState.STOPPING: JobState.STOPPING,
}


async def _note_facts(
    conn: AsyncConnection, run: RunRow, observed: ObservedRun, now: datetime
) -> datetime | None:
    """Keep what a report adds to the run's record; return when work began, if it has."""
    facts = _facts(run, observed, now)
    if facts:
        await conn.execute(update(runs).where(runs.c.id == run.id).values(**facts))
    began: datetime | None = facts.get("started_at", run.started_at)
    if "started_at" in facts:
        await conn.execute(update(jobs).where(jobs.c.id == run.job_id).values(started_at=began))
    if facts.keys() & {"started_at", "checkpointed_at"}:
        await note_changes(conn, [("run", run.id)])
    return began


def _facts(run: RunRow, observed: ObservedRun, now: datetime) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    working = observed.started_at or observed.state is RunState.RUNNING
    if run.started_at is None and working:
        began = _between(run.leased_at, observed.started_at or now, now)
        # Until now the time limit was counted from the lease.
        facts |= {"started_at": began, "ends_by": began + (run.ends_by - run.leased_at)}
    if run.seen_at is None:
        facts["seen_at"] = now
    if observed.log_bytes > run.log_bytes:
        facts["log_bytes"] = observed.log_bytes
    for name in ("checkpointed_at", "driver_job_id", "driver_node"):
        value = getattr(observed, name)
        if value is not None and value != getattr(run, name):
            facts[name] = value
    return facts


def _end(run: RunRow, observed: ObservedRun, now: datetime) -> End:
    return End(
        state=observed.state,
        # The site's clock may be wrong: an end is neither before the start nor in the future.
        at=_between(run.started_at or run.leased_at, observed.observed_at, now),
        message=observed.message,
        error_type=observed.error_type,
        exit_code=observed.exit_code,
    )


def _between(earliest: datetime, instant: datetime, latest: datetime) -> datetime:
    return max(earliest, min(instant, latest))


def _note(run: RunRow, state: RunState, observed: ObservedRun, at: datetime) -> JobNote:
    nodes = ", ".join(slot.node for slot in run.slots)
    sentence = {
        RunState.STARTING: f"the site starts it on {nodes}",
        RunState.RUNNING: f"runs on {nodes} ({run.pool})",
        RunState.STOPPING: "the site is ending it",
        RunState.UNKNOWN: "the site does not know how it is; its GPUs stay leased",
    }[state]
    if run.state is RunState.UNKNOWN and state is RunState.RUNNING:
        sentence = f"the site sees it again: {sentence}"
    detail = f": {observed.message}" if observed.message else ""
    return JobNote(run.job_id, at, state.value, sentence + detail, run.id)


async def ray_versions(conn: AsyncConnection) -> tuple[str, ...]:
    """Return the versions of Ray that sites said they run; those without one are left out."""
    query = select(sites.c.ray_version).where(sites.c.ray_version.is_not(None)).distinct()
    return tuple((await conn.execute(query)).scalars())


async def sites_heard(conn: AsyncConnection, since: datetime) -> frozenset[str]:
    """Return the sites whose agents have spoken since an instant."""
    rows = await conn.execute(select(sites.c.id).where(sites.c.seen_at >= since))
    return frozenset(rows.scalars())


async def desired_leases(
    conn: AsyncConnection, site: str, policy: Policy
) -> tuple[DesiredLease, ...]:
    """Return every lease that the site should know of, by run.

    A lease whose GPUs still drain is left out, so that the site cannot start it early.
    """
    rows = (await conn.execute(_LISTED, {"site": site})).mappings().all()
    open_ids = {row["id"] for row in rows if row["ended_at"] is None}
    due = [row for row in rows if not open_ids.intersection(row["after"])]
    uuids = await uuids_of(
        conn, {node for row in due if row["ended_at"] is None for node, _ in row["slots"]}
    )
    return tuple(_lease(row, policy, uuids) for row in due)


_JOB_COLUMNS = (
    "entrypoint",
    "runtime_env",
    "user_metadata",
    "entrypoint_options",
    "packages",
    "time_limit_seconds",
)
# Asked again and again by every site, so it is built once.
_LISTED = (
    select(runs, *(jobs.c[name].label(f"job_{name}") for name in _JOB_COLUMNS))
    .join(jobs, jobs.c.id == runs.c.job_id)
    .where(runs.c.site == bindparam("site"), ~runs.c.acknowledged)
    .order_by(runs.c.id)
)
_OPTIONS = ("num_cpus", "num_gpus", "memory", "resources", "label_selector")


async def uuids_of(conn: AsyncConnection, names: Collection[str]) -> Mapping[tuple[str, int], str]:
    """Return the UUID of each GPU of these nodes, by its node and index."""
    query = select(nodes.c.id, nodes.c.gpus).where(nodes.c.id.in_(sorted(names)))
    return {
        (row.id, gpu["index"]): gpu["uuid"]
        for row in (await conn.execute(query) if names else ())
        for gpu in row.gpus
    }


def _lease(row: RowMapping, policy: Policy, uuids: Mapping[tuple[str, int], str]) -> DesiredLease:
    run = run_row(row)
    pool = next((pool for pool in policy.pools if pool.id == run.pool), None)
    options = row["job_entrypoint_options"]
    return DesiredLease(
        run=run.id,
        job=run.job_id,
        attempt=run.attempt,
        token=run.token,
        wanted=_wanted(run),
        # A pool that was taken out of the policy: the site knows how it began the run.
        backend=Backend.RAY_PRIVATE if pool is None else pool.backend,
        nodes=tuple(_leased_node(slot, uuids) for slot in run.slots),
        guest=run.over is not None,
        gpu_model="unknown" if pool is None else pool.gpu_model,
        entrypoint=row["job_entrypoint"],
        runtime_env=row["job_runtime_env"],
        metadata=row["job_user_metadata"],
        **{f"entrypoint_{name}": options[name] for name in _OPTIONS if name in options},
        packages=tuple(PackageRef(**package) for package in row["job_packages"]),
        time_limit_seconds=row["job_time_limit_seconds"],
        grace_seconds=policy.notice(PoolId(run.pool), run.agreement).total_seconds(),
        bind_by=run.bind_by,
        stop_reason=run.stop_reason,
        stop_at=run.stop_at,
    )


def _wanted(run: RunRow) -> Wanted:
    if run.ended_at is not None:
        return Wanted.FORGET
    return Wanted.RUN if run.stop_reason is None else Wanted.STOP


def _leased_node(slot: Slot, uuids: Mapping[tuple[str, int], str]) -> LeasedNode:
    named = tuple(uuids.get((slot.node, gpu), "") for gpu in slot.gpus)
    return LeasedNode(node=slot.node, gpus=slot.gpus, gpu_uuids=named if all(named) else ())
