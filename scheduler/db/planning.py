"""Carrying a plan into the database: each decision is re-checked, stale ones are dropped.

The planner worked on what was known a moment ago. Here, inside one transaction, every
start is held against the rows themselves; what no longer holds is put back on the
outbox, so that the leader's world is corrected before its next cycle. Behind all this
stands the unique index on leased GPUs, which no mistake gets past.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, insert, update
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
    Run,
    RunId,
    RunState,
    StopReason,
)
from scheduler.core.policy import Policy
from scheduler.db import budgets, etas, loans, recalls
from scheduler.db.engine import insert_into
from scheduler.db.holds import Some, Told
from scheduler.db.lending import seated
from scheduler.db.loading import (
    Changes,
    has_changes,
    load_snapshot,
    pool_turnovers,
    take_changes,
)
from scheduler.db.outbox import JobNote, Kind, note_changes, write_history
from scheduler.db.recheck import Counted, Facts, Unit, facts_of, gpus_of, holds_still, units_of
from scheduler.db.shapes import slots_json
from scheduler.db.tables import jobs, lease_gpus, runs, usage_intervals
from scheduler.db.tables import turnovers as turnover_rows

__all__ = ["Changes", "Committed", "commit_plan", "has_changes", "load_snapshot", "take_changes"]


@dataclass(frozen=True, slots=True)
class Committed:
    """What was stored: `plan` without its stale decisions; `stale` is how many were dropped.

    `sites` have other desired leases than before, `jobs` another state.
    """

    plan: Plan
    stale: int
    sites: frozenset[str]
    jobs: frozenset[str]


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
    units = units_of(plan)
    facts = await facts_of(conn, plan, policy)
    counted = Counted()
    sound = [unit for unit in units if holds_still(unit, facts, counted)]
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


async def _store(
    conn: AsyncConnection, units: Sequence[Unit], facts: Facts, now: datetime, policy: Policy
) -> list[Unit]:
    """Store all units at once; where that is refused, each for itself, without the refused."""
    if not units or await _try(conn, units, facts, now, policy):
        return list(units)
    return [unit for unit in units if await _try(conn, [unit], facts, now, policy)]


async def _try(
    conn: AsyncConnection, units: Sequence[Unit], facts: Facts, now: datetime, policy: Policy
) -> bool:
    try:
        async with conn.begin_nested():
            await _recall(conn, units, facts, now)
            await _lease(conn, units, facts, now, policy)
    except IntegrityError:
        return False
    return True


async def _recall(
    conn: AsyncConnection, units: Sequence[Unit], facts: Facts, now: datetime
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


def _farewell(victim: Run, preempt: Preempt, facts: Facts) -> str:
    by = facts.jobs.get(preempt.by) if preempt.by is not None else None
    whose = f" by {by.account}" if by else ""
    return f"recalled{whose}: checkpoint by {victim.stop_at:%H:%M:%S} UTC ({preempt.why})"


async def _lease(
    conn: AsyncConnection, units: Sequence[Unit], facts: Facts, now: datetime, policy: Policy
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
        {"run_id": run.id, "node_id": node, "gpu": gpu, "guest": run.over is not None}
        for run in new
        for node, gpu in sorted(gpus_of(run.slots))
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
    notes += [seated(facts.runs[run.over], run, now) for run in new if run.over is not None]
    await write_history(conn, notes)


def _binding(run: Run, leaves: Mapping[RunId, datetime], policy: Policy) -> dict[str, Any]:
    """Return by when the run must bind: an estimate until the last of `after` has left."""
    within = policy.rules.bind_within
    latest = max((leaves[name] for name in run.after if name in leaves), default=run.leased_at)
    return {
        "bind_by": max(run.leased_at, latest) + within,
        "bind_within_seconds": max(1, int(within.total_seconds())),
    }


def _run_columns(run: Run, start: Start, facts: Facts) -> dict[str, Any]:
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
        "over": run.over,
        "why": start.why,
        "simulated": any(facts.nodes[slot.node].simulated for slot in run.slots),
    }


def _interval_columns(run: Run, facts: Facts, policy: Policy) -> dict[str, Any]:
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
    gpus = "1 GPU" if run.gpus == 1 else f"{run.gpus} GPUs"
    return f"got {gpus} on {where} ({run.pool}): {start.why}{waits}"


def _kept(plan: Plan, stored: Sequence[Unit]) -> Plan:
    """Return the plan without what was dropped, in its own order."""
    starts = {unit.start for unit in stored}
    preempts = {preempt for unit in stored for preempt in unit.preempts}
    return replace(
        plan,
        starts=tuple(start for start in plan.starts if start in starts),
        preempts=tuple(preempt for preempt in plan.preempts if preempt in preempts),
    )


async def _count_turnovers(conn: AsyncConnection, kept: Plan, facts: Facts) -> None:
    """Count the runs that lose their GPUs to smaller shares, by pool and hour (R9)."""
    shares = [each for each in kept.preempts if each.reason is StopReason.SHARES]
    if not shares:
        return
    before = await pool_turnovers(conn, {facts.runs[each.run].pool for each in shares})
    for count in turnovers(before, shares, facts.runs, kept.now).values():
        values = {"since": count.since, "count": count.count}
        statement = insert_into(conn, turnover_rows).values(pool=count.pool, **values)
        await conn.execute(statement.on_conflict_do_update(index_elements=["pool"], set_=values))


async def _put_back(conn: AsyncConnection, stale: Sequence[Unit], facts: Facts) -> None:
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
