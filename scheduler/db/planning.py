"""Carrying a plan into the database: each decision is re-checked, stale ones are dropped.

The planner worked on what was known a moment ago. Here, inside one transaction, every
start is held against the rows themselves; what no longer holds is put back on the
outbox, so that the leader's world is corrected before its next cycle. Behind all this
stands the unique index on leased GPUs, which no mistake gets past.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Table, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core import hardware
from scheduler.core.decisions import (
    Plan,
    Preempt,
    Start,
    preempted_run,
    started_run,
    turnovers,
)
from scheduler.core.lifecycle import JobState
from scheduler.core.model import (
    Job,
    JobId,
    Node,
    NodeId,
    Pool,
    Run,
    RunId,
    RunState,
    StopReason,
)
from scheduler.core.policy import Policy
from scheduler.db import budgets, etas, loans, recalls
from scheduler.db.engine import insert_into
from scheduler.db.holds import Some, Told
from scheduler.db.loading import (
    Changes,
    has_changes,
    held_runs,
    load_snapshot,
    pending_jobs,
    pool_turnovers,
    reported_nodes,
    take_changes,
)
from scheduler.db.outbox import JobNote, Kind, note_changes, write_history
from scheduler.db.shapes import slots_json
from scheduler.db.tables import jobs, lease_gpus, runs, usage_intervals
from scheduler.db.tables import turnovers as turnover_rows

__all__ = ["Changes", "Committed", "commit_plan", "has_changes", "load_snapshot", "take_changes"]

_Gpu = tuple[NodeId, int]


@dataclass(frozen=True, slots=True)
class Committed:
    """What was stored: `plan` without its stale decisions; `stale` is how many were dropped.

    `sites` have other desired leases than before, `jobs` another state.
    """

    plan: Plan
    stale: int
    sites: frozenset[str]
    jobs: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is stored together or not at all: a start, and the victims that make room for it."""

    start: Start | None
    preempts: tuple[Preempt, ...]


@dataclass(frozen=True, slots=True)
class _Facts:
    """The rows that a plan is held against, locked until the transaction ends."""

    jobs: Mapping[JobId, Job]
    runs: Mapping[RunId, Run]
    nodes: Mapping[NodeId, Node]
    holders: Mapping[_Gpu, Mapping[str, bool]]  # run -> draining, by GPU
    pools: Mapping[str, Pool]


async def commit_plan(
    conn: AsyncConnection,
    plan: Plan,
    policy: Policy,
    told: Told | None = None,
    some: Some | None = None,
) -> Committed:
    """Store what still holds of a plan: leases, recalls, planned starts and verdicts.

    `told` remembers the verdicts and planned starts that are stored, from one commit to the
    next; it is to be reset where the transaction does not commit. `some`: as in `Told.store`.
    """
    units = _units(plan)
    facts = await _facts(conn, plan, policy)
    taken, ending = set[_Gpu](), set[RunId]()
    sound = [unit for unit in units if _holds_still(unit, facts, taken, ending)]
    stored = await _store(conn, sound, facts, plan.now, policy)
    kept = _kept(plan, stored)
    await _put_back(conn, [unit for unit in units if unit not in set(stored)], facts)
    await _count_turnovers(conn, kept, facts)
    await (told or Told()).store(conn, kept, some)
    victims = [facts.runs[preempt.run] for preempt in kept.preempts]
    pools = {start.pool for start in kept.starts} | {victim.pool for victim in victims}
    return Committed(
        plan=kept,
        stale=len(units) - len(stored),
        sites=frozenset(facts.pools[pool].site for pool in pools if pool in facts.pools),
        jobs=frozenset(start.job for start in kept.starts) | {run.job for run in victims},
    )


def _units(plan: Plan) -> list[_Unit]:
    victims: defaultdict[JobId, list[Preempt]] = defaultdict(list)
    alone = []  # those that make room for a reservation, and for no job (R7)
    for preempt in plan.preempts:
        if preempt.by is None:
            alone.append(_Unit(None, (preempt,)))
        else:
            victims[preempt.by].append(preempt)
    units = [_Unit(start, tuple(victims.pop(start.job, ()))) for start in plan.starts]
    return [*units, *(_Unit(None, tuple(rest)) for rest in victims.values()), *alone]


async def _facts(conn: AsyncConnection, plan: Plan, policy: Policy) -> _Facts:
    victims = {p.run for p in plan.preempts}.union(*(start.after for start in plan.starts))
    starting = {start.job for start in plan.starts}
    named = {slot.node for start in plan.starts for slot in start.slots}
    # Runs before jobs, each in order of ids, as everywhere: so nobody waits in a circle.
    await _lock(conn, runs, victims)
    await _lock(conn, jobs, starting)
    leased = select(lease_gpus).where(lease_gpus.c.node_id.in_(sorted(named)))
    holders: defaultdict[_Gpu, dict[str, bool]] = defaultdict(dict)
    for row in await conn.execute(leased):
        holders[row.node_id, row.gpu][row.run_id] = row.draining
    return _Facts(
        jobs=await pending_jobs(conn, starting),
        runs=await held_runs(conn, victims),
        nodes=await reported_nodes(conn, named),
        holders=holders,
        pools={pool.id: pool for pool in policy.pools},
    )


async def _lock(conn: AsyncConnection, table: Table, ids: Iterable[str]) -> None:
    if conn.dialect.name == "sqlite":
        return  # The whole database is locked already.
    query = select(table.c.id).where(table.c.id.in_(sorted(ids))).order_by(table.c.id)
    await conn.execute(query.with_for_update())


def _holds_still(unit: _Unit, facts: _Facts, taken: set[_Gpu], ending: set[RunId]) -> bool:
    """Return whether a unit may be stored; count its GPUs, and victims that others wait for too."""
    victims = {preempt.run for preempt in unit.preempts}
    if not all(run in facts.runs and _may_be_recalled(facts.runs[run]) for run in victims):
        return False
    start = unit.start
    if start is None:
        return True
    if start.job not in facts.jobs or start.pool not in facts.pools:
        return False
    wanted = {(slot.node, gpu) for slot in start.slots for gpu in slot.gpus}
    drains = victims | {run for run in start.after if run in facts.runs}
    sound = (
        wanted.isdisjoint(taken)
        and all(_is_usable(gpu, start.pool, facts) for gpu in wanted)
        and all(_comes_free(facts.holders.get(gpu, {}), victims | ending, drains) for gpu in wanted)
    )
    if sound:
        taken |= wanted
        ending |= victims
    return sound


def _may_be_recalled(run: Run) -> bool:
    return not run.draining and run.state is not RunState.STOPPING


def _is_usable(gpu: _Gpu, pool: str, facts: _Facts) -> bool:
    node = facts.nodes.get(gpu[0])
    if node is None or node.pool != pool or not node.usable:
        return False
    return any(each.index == gpu[1] and each.healthy for each in node.gpus)


def _comes_free(holders: Mapping[str, bool], victims: set[RunId], drains: set[RunId]) -> bool:
    """Return whether all who hold a GPU drain, or begin to, and are waited for."""
    return all(run in drains and (draining or run in victims) for run, draining in holders.items())


async def _store(
    conn: AsyncConnection, units: Sequence[_Unit], facts: _Facts, now: datetime, policy: Policy
) -> list[_Unit]:
    """Store all units at once; where that is refused, each for itself, without the refused."""
    if not units or await _try(conn, units, facts, now, policy):
        return list(units)
    return [unit for unit in units if await _try(conn, [unit], facts, now, policy)]


async def _try(
    conn: AsyncConnection, units: Sequence[_Unit], facts: _Facts, now: datetime, policy: Policy
) -> bool:
    try:
        async with conn.begin_nested():
            await _recall(conn, units, facts, now)
            await _lease(conn, units, facts, now, policy)
    except IntegrityError:
        return False
    return True


async def _recall(
    conn: AsyncConnection, units: Sequence[_Unit], facts: _Facts, now: datetime
) -> None:
    """Tell victims to leave; from now on their GPUs may be leased to others too (R8.6)."""
    preempts = [preempt for unit in units for preempt in unit.preempts]
    if not preempts:
        return
    victims = [preempted_run(facts.runs[each.run], each, now) for each in preempts]
    ids = [victim.id for victim in victims]
    marked = [
        {"key": victim.id, "to": victim.stop_at, "reason": preempt.reason.value}
        for victim, preempt in zip(victims, preempts, strict=True)
    ]
    await conn.execute(
        update(runs)
        .where(runs.c.id == bindparam("key"))
        .values(
            state=RunState.STOPPING.value,
            draining=True,
            stop_at=bindparam("to"),
            stop_reason=bindparam("reason"),
        ),
        marked,
    )
    await conn.execute(update(lease_gpus).where(lease_gpus.c.run_id.in_(ids)).values(draining=True))
    stopping = update(jobs).where(jobs.c.id.in_([victim.job for victim in victims]))
    await conn.execute(stopping.values(state=JobState.STOPPING.value))
    await write_history(
        conn,
        [
            JobNote(
                victim.job, now, preempt.reason.value, _farewell(victim, preempt, facts), victim.id
            )
            for victim, preempt in zip(victims, preempts, strict=True)
        ],
    )


def _farewell(victim: Run, preempt: Preempt, facts: _Facts) -> str:
    by = facts.jobs.get(preempt.by) if preempt.by is not None else None
    whose = f" by {by.account}" if by else ""
    return f"recalled{whose}: checkpoint by {victim.stop_at:%H:%M:%S} UTC ({preempt.why})"


async def _lease(
    conn: AsyncConnection, units: Sequence[_Unit], facts: _Facts, now: datetime, policy: Policy
) -> None:
    """Turn starts into runs that hold their GPUs."""
    starts = [unit.start for unit in units if unit.start is not None]
    if not starts:
        return
    new = [started_run(facts.jobs[start.job], start, now) for start in starts]
    pairs = list(zip(new, starts, strict=True))
    leaves = {run.id: run.stop_at or now for run in facts.runs.values()}
    leaves |= {each.run: now + each.notice for unit in units for each in unit.preempts}
    await conn.execute(
        insert(runs),
        [
            {**_run_columns(run, start, facts), **_binding(run, leaves, policy)}
            for run, start in pairs
        ],
    )
    held = [
        {"run_id": run.id, "node_id": slot.node, "gpu": gpu}
        for run in new
        for slot in run.slots
        for gpu in slot.gpus
    ]
    await conn.execute(insert(lease_gpus), held)
    await conn.execute(
        insert(usage_intervals), [_interval_columns(run, facts, policy) for run in new]
    )
    leased = update(jobs).where(jobs.c.id.in_([run.job for run in new]))
    await conn.execute(leased.values(state=JobState.STARTING.value, not_before=None))
    claimed = {run.shape.reservation for run in new if run.shape.reservation is not None}
    await budgets.claim(conn, claimed, now)
    await etas.settle(conn, [run.job for run in new], now)
    await recalls.record(conn, new, leaves, policy)
    await loans.record(conn, new, policy)
    notes = [JobNote(run.job, now, "leased", _grant(run, start), run.id) for run, start in pairs]
    await write_history(conn, notes)


def _binding(run: Run, leaves: Mapping[RunId, datetime], policy: Policy) -> dict[str, Any]:
    """Return by when the run must bind: an estimate until the last of `after` has left."""
    within = policy.rules.bind_within
    latest = max((leaves[name] for name in run.after if name in leaves), default=run.leased_at)
    return {
        "bind_by": max(run.leased_at, latest) + within,
        "bind_within_seconds": max(1, int(within.total_seconds())),
    }


def _run_columns(run: Run, start: Start, facts: _Facts) -> dict[str, Any]:
    return {
        "id": run.id,
        "job_id": run.job,
        "attempt": run.attempt,
        "site": facts.pools[run.pool].site,
        "pool": run.pool,
        "quota_class": run.quota_class.value,
        "agreement": run.agreement,
        "state": run.state.value,
        "token": run.token,
        "slots": slots_json(run.slots),
        "gpus": run.gpus,
        "leased_at": run.leased_at,
        "ends_by": run.ends_by,
        "after": sorted(run.after),
        "why": start.why,
        "simulated": any(facts.nodes[slot.node].simulated for slot in run.slots),
    }


def _interval_columns(run: Run, facts: _Facts, policy: Policy) -> dict[str, Any]:
    model = facts.pools[run.pool].gpu_model
    return {
        "run_id": run.id,
        "account": run.account,
        "pool": run.pool,
        "gpus": run.gpus,
        "factor": hardware.factor(policy.hardware, model, run.leased_at),
        "started_at": run.leased_at,
    }


def _grant(run: Run, start: Start) -> str:
    where = ", ".join(slot.node for slot in run.slots)
    waits = "; starts when the recalled runs there have left" if run.after else ""
    return f"got {run.gpus} GPUs on {where} ({run.pool}): {start.why}{waits}"


def _kept(plan: Plan, stored: Sequence[_Unit]) -> Plan:
    """Return the plan without what was dropped, in its own order."""
    starts = {unit.start for unit in stored}
    preempts = {preempt for unit in stored for preempt in unit.preempts}
    return replace(
        plan,
        starts=tuple(start for start in plan.starts if start in starts),
        preempts=tuple(preempt for preempt in plan.preempts if preempt in preempts),
    )


async def _count_turnovers(conn: AsyncConnection, kept: Plan, facts: _Facts) -> None:
    """Count the runs that lose their GPUs to smaller shares, by pool and hour (R9)."""
    shares = [each for each in kept.preempts if each.reason is StopReason.SHARES]
    if not shares:
        return
    before = await pool_turnovers(conn, {facts.runs[each.run].pool for each in shares})
    for count in turnovers(before, shares, facts.runs, kept.now).values():
        values = {"since": count.since, "count": count.count}
        statement = insert_into(conn, turnover_rows).values(pool=count.pool, **values)
        await conn.execute(statement.on_conflict_do_update(index_elements=["pool"], set_=values))


async def _put_back(conn: AsyncConnection, stale: Sequence[_Unit], facts: _Facts) -> None:
    """Have the leader look again at everything that a dropped decision was about."""
    again: list[tuple[Kind, str]] = []
    for unit in stale:
        again += [("run", preempt.run) for preempt in unit.preempts]
        if unit.start is None:
            continue
        again.append(("job", unit.start.job))
        again += [("run", run) for run in sorted(unit.start.after)]
        for slot in unit.start.slots:
            again.append(("node", slot.node))
            for gpu in slot.gpus:
                again += [("run", run) for run in facts.holders.get((slot.node, gpu), ())]
    await note_changes(conn, again)
