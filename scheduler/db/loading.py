"""What planning looks at, read whole (`load_snapshot`) or as what changed (`take_changes`).

Changes are level-triggered: the outbox only says which things to look at again, and
what is read is their present state. So a row that is seen twice, or that was written
before the snapshot was taken, does no harm.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Column, RowMapping, Select, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core import metering
from scheduler.core.lifecycle import JobState
from scheduler.core.model import (
    AccountName,
    BudgetId,
    Gpu,
    Job,
    JobId,
    Node,
    NodeId,
    PoolId,
    PriorityClass,
    QuotaClass,
    ReservationId,
    Run,
    RunId,
    RunState,
)
from scheduler.core.policy import Policy
from scheduler.core.snapshot import (
    Claim,
    DropJob,
    DropNode,
    DropRun,
    Entity,
    Event,
    Put,
    Snapshot,
    Spent,
    Turnover,
    Usage,
)
from scheduler.db.nodes import SITE_SILENT, WITH_SITE, why_unusable
from scheduler.db.rows import predicted_of, training_of
from scheduler.db.shapes import SHAPE_COLUMNS, shape_of, slots_of
from scheduler.db.tables import (
    budget_totals,
    jobs,
    nodes,
    outbox,
    reservation_claims,
    runs,
    turnovers,
    usage,
)

# Bounds a cycle after a long pause; the rest comes with the next, which follows at once.
_MOST_CHANGES = 10_000

_ASKED = (
    jobs.c.id,
    jobs.c.user,
    jobs.c.account,
    jobs.c.priority,
    jobs.c.submitted_at,
    jobs.c.sequence,
    jobs.c.time_limit_seconds,
    jobs.c.preemptions,
    jobs.c.name,
    jobs.c.predicted_seconds,
    jobs.c.training,
    *(jobs.c[name] for name in SHAPE_COLUMNS),
)
_PENDING = select(*_ASKED, jobs.c.attempt, jobs.c.not_before).where(
    jobs.c.state == JobState.PENDING.value
)
_HELD = (
    select(
        *_ASKED,
        runs.c.id.label("run_id"),
        runs.c.attempt.label("run_attempt"),
        runs.c.pool,
        runs.c.slots,
        runs.c.quota_class,
        runs.c.state,
        runs.c.token,
        runs.c.leased_at,
        runs.c.ends_by,
        runs.c.started_at,
        runs.c.agreement,
        runs.c.after,
        runs.c.draining,
        runs.c.stop_at,
        runs.c.checkpointed_at,
        runs.c.lent,
        runs.c.over,
    )
    .join(jobs, jobs.c.id == runs.c.job_id)
    .where(~runs.c.acknowledged, runs.c.ended_at.is_(None))
)
_DRAINING = select(runs.c.id).where(~runs.c.acknowledged, runs.c.ended_at.is_(None))
_NODES = select(
    nodes.c.id,
    nodes.c.pool,
    nodes.c.site,
    nodes.c.gpus,
    nodes.c.block,
    nodes.c.usable,
    nodes.c.why_unusable,
    nodes.c.simulated,
    SITE_SILENT.label("site_silent"),
).select_from(WITH_SITE)


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since the leader last looked. `policy_changed`: build the world anew."""

    events: tuple[Event, ...] = ()
    last_outbox_id: int | None = None
    policy_changed: bool = False
    more: bool = False


async def load_snapshot(conn: AsyncConnection, policy: Policy) -> Snapshot:
    """Read all that planning looks at; under `Database.reading` it is of one moment."""
    del policy  # What is stored does not depend on it: the world weighs it by the policy.
    return Snapshot(
        jobs=await pending_jobs(conn),
        runs=await held_runs(conn),
        nodes=await reported_nodes(conn),
        usage=await _usage(conn),
        spent=await _spent(conn),
        claims=await reservation_claims_of(conn),
        turnovers=await pool_turnovers(conn),
    )


async def has_changes(conn: AsyncConnection) -> bool:
    """Return whether the outbox holds anything: cheaper than taking nothing."""
    return (await conn.execute(select(outbox.c.id).limit(1))).first() is not None


async def take_changes(conn: AsyncConnection, policy: Policy) -> Changes:
    """Read and delete what the outbox says, once this transaction commits.

    Rows are deleted by what was read and not up to an id: on PostgreSQL a lower id may
    be committed later.
    """
    del policy
    oldest = select(outbox.c.id).order_by(outbox.c.id).limit(_MOST_CHANGES)
    taken = (
        await conn.execute(
            delete(outbox)
            .where(outbox.c.id.in_(oldest))
            .returning(outbox.c.id, outbox.c.kind, outbox.c.key)
        )
    ).all()
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for row in taken:
        keys[row.kind].add(row.key)
    return Changes(
        events=tuple(await _events(conn, keys)),
        last_outbox_id=max((row.id for row in taken), default=None),
        policy_changed="policy" in keys,
        more=len(taken) == _MOST_CHANGES,
    )


async def _events(conn: AsyncConnection, keys: Mapping[str, set[str]]) -> list[Event]:
    """Return what is now so: first what is gone, so that nothing holds a GPU twice meanwhile."""
    runs_now = await held_runs(conn, keys.get("run", ()))
    jobs_now = await pending_jobs(conn, keys.get("job", ()))
    nodes_now = await reported_nodes(conn, keys.get("node", ()))
    usage_now = await _usage(conn, keys.get("usage", ()))
    spent_now = await _spent(conn, keys.get("spent", ()))
    claims_now = await reservation_claims_of(conn, keys.get("claim", ()))
    gone: list[Event] = [
        *(DropRun(RunId(key)) for key in sorted(keys.get("run", ())) if key not in runs_now),
        *(DropJob(JobId(key)) for key in sorted(keys.get("job", ())) if key not in jobs_now),
        *(DropNode(NodeId(key)) for key in sorted(keys.get("node", ())) if key not in nodes_now),
    ]
    there: list[Entity] = [
        *nodes_now.values(),
        *usage_now.values(),
        *spent_now.values(),
        *claims_now.values(),
        *runs_now.values(),
        *jobs_now.values(),
    ]
    return gone + [Put(entity) for entity in there]


async def pending_jobs(conn: AsyncConnection, ids: Iterable[str] | None = None) -> dict[JobId, Job]:
    """Return the jobs that wait; with `ids`, those among them."""
    rows = await _rows(conn, _PENDING.order_by(jobs.c.sequence), jobs.c.id, ids)
    return {JobId(row["id"]): _job(row) for row in rows}


async def held_runs(conn: AsyncConnection, ids: Iterable[str] | None = None) -> dict[RunId, Run]:
    """Return the runs that hold GPUs; with `ids`, those among them."""
    rows = await _rows(conn, _HELD.order_by(runs.c.id), runs.c.id, ids)
    predecessors = {name for row in rows for name in row["after"]}
    draining = _DRAINING.where(runs.c.id.in_(sorted(predecessors)))
    still: set[RunId] = set()
    if predecessors:
        still.update((await conn.execute(draining)).scalars())
    return {RunId(row["run_id"]): _run(row, still) for row in rows}


async def reported_nodes(
    conn: AsyncConnection, ids: Iterable[str] | None = None
) -> dict[NodeId, Node]:
    """Return the nodes that were reported; with `ids`, those among them."""
    rows = await _rows(conn, _NODES.order_by(nodes.c.id), nodes.c.id, ids)
    return {NodeId(row["id"]): _node(row) for row in rows}


async def _usage(
    conn: AsyncConnection, accounts: Iterable[str] | None = None
) -> dict[AccountName, Usage]:
    query = select(usage).order_by(usage.c.account)
    rows = await _rows(conn, query, usage.c.account, accounts)
    return {
        AccountName(row["account"]): Usage(row["account"], row["h100e_seconds"], row["as_of"])
        for row in rows
    }


async def _spent(
    conn: AsyncConnection, budgets: Iterable[str] | None = None
) -> dict[BudgetId, Spent]:
    query = select(budget_totals).order_by(budget_totals.c.budget)
    rows = await _rows(conn, query, budget_totals.c.budget, budgets)
    return {
        BudgetId(row["budget"]): metering.spent(row["budget"], row["milli_h100e_seconds"])
        for row in rows
    }


async def reservation_claims_of(
    conn: AsyncConnection, reservations: Iterable[str] | None = None
) -> dict[ReservationId, Claim]:
    """Return when reservations were first used: all, or those named (R7)."""
    query = select(reservation_claims).order_by(reservation_claims.c.reservation)
    rows = await _rows(conn, query, reservation_claims.c.reservation, reservations)
    return {ReservationId(r["reservation"]): Claim(r["reservation"], r["at"]) for r in rows}


async def pool_turnovers(
    conn: AsyncConnection, pools: Iterable[str] | None = None
) -> dict[PoolId, Turnover]:
    """Return how many runs lost their GPUs to smaller shares lately; with `pools`, in those."""
    query = select(turnovers).order_by(turnovers.c.pool)
    rows = await _rows(conn, query, turnovers.c.pool, pools)
    return {PoolId(r["pool"]): Turnover(r["pool"], r["since"], r["count"]) for r in rows}


async def _rows(
    conn: AsyncConnection,
    query: Select[*tuple[Any, ...]],
    key: Column[str],
    ids: Iterable[str] | None,
) -> Sequence[RowMapping]:
    if ids is not None:
        wanted = sorted(ids)
        if not wanted:
            return ()
        query = query.where(key.in_(wanted))
    return (await conn.execute(query)).mappings().all()


def _job(row: RowMapping) -> Job:
    return Job(
        id=row["id"],
        user=row["user"],
        account=row["account"],
        shape=shape_of(row),
        priority=PriorityClass(row["priority"]),
        submitted_at=row["submitted_at"],
        sequence=row["sequence"],
        time_limit=timedelta(seconds=row["time_limit_seconds"]),
        attempt=row["attempt"],
        preemptions=row["preemptions"],
        not_before=row["not_before"],
        name=row["name"],
        predicted=predicted_of(row),
        training=training_of(row["training"]),
    )


def _run(row: RowMapping, still_draining: set[RunId]) -> Run:
    return Run(
        id=row["run_id"],
        job=row["id"],
        attempt=row["run_attempt"],
        user=row["user"],
        account=row["account"],
        pool=row["pool"],
        shape=shape_of(row),
        slots=slots_of(row["slots"]),
        quota_class=QuotaClass(row["quota_class"]),
        priority=PriorityClass(row["priority"]),
        state=RunState(row["state"]),
        token=row["token"],
        leased_at=row["leased_at"],
        ends_by=row["ends_by"],
        time_limit=timedelta(seconds=row["time_limit_seconds"]),
        sequence=row["sequence"],
        submitted_at=row["submitted_at"],
        started_at=row["started_at"],
        agreement=row["agreement"],
        after=frozenset(still_draining.intersection(row["after"])),
        draining=row["draining"],
        stop_at=row["stop_at"],
        preemptions=row["preemptions"],
        checkpointed_at=row["checkpointed_at"],
        name=row["name"],
        predicted=predicted_of(row),
        lent=row["lent"],
        over=row["over"],
        training=training_of(row["training"]),
    )


def _node(row: RowMapping) -> Node:
    return Node(
        id=row["id"],
        pool=row["pool"],
        gpus=tuple(Gpu(gpu["index"], gpu["uuid"], gpu["healthy"]) for gpu in row["gpus"]),
        block=row["block"],
        usable=bool(row["usable"] and not row["site_silent"]),
        why_unusable=why_unusable(row),
        simulated=row["simulated"],
    )
