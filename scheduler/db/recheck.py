"""Holding a plan against the rows themselves: what of it may be stored still.

The planner worked on what was known a moment ago. Here are the rows as they are, locked, and
each start and recall is checked against them, in the order in which they were decided.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.decisions import Plan, Preempt, Start
from scheduler.core.lending import is_host
from scheduler.core.model import Job, JobId, Node, NodeId, Pool, Run, RunId, RunState, Slot
from scheduler.core.policy import Policy
from scheduler.db.loading import held_runs, pending_jobs, reported_nodes
from scheduler.db.tables import jobs, lease_gpus, runs

Gpu = tuple[NodeId, int]


@dataclass(frozen=True, slots=True)
class Unit:
    """What is stored together or not at all: a start, and the victims that make room for it."""

    start: Start | None
    preempts: tuple[Preempt, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """The rows that a plan is held against, locked until the transaction ends."""

    jobs: Mapping[JobId, Job]
    runs: Mapping[RunId, Run]
    nodes: Mapping[NodeId, Node]
    holders: Mapping[Gpu, Mapping[str, bool]]  # run -> draining, by GPU
    pools: Mapping[str, Pool]
    seated: AbstractSet[Gpu]  # where background work sits on a lent lease (R18)


def units_of(plan: Plan) -> list[Unit]:
    """Return what is stored together, in the order in which it was decided."""
    victims: defaultdict[JobId, list[Preempt]] = defaultdict(list)
    alone = []  # those that make room for a reservation, and for no job (R7)
    for preempt in plan.preempts:
        if preempt.by is None:
            alone.append(Unit(None, (preempt,)))
        else:
            victims[preempt.by].append(preempt)
    units = [Unit(start, tuple(victims.pop(start.job, ()))) for start in plan.starts]
    return [*units, *(Unit(None, tuple(rest)) for rest in victims.values()), *alone]


async def facts_of(conn: AsyncConnection, plan: Plan, policy: Policy) -> Facts:
    """Read and lock all rows that a plan is about."""
    victims = {p.run for p in plan.preempts}.union(*(start.after for start in plan.starts))
    victims |= {start.over for start in plan.starts if start.over is not None}
    starting = {start.job for start in plan.starts}
    named = {slot.node for start in plan.starts for slot in start.slots}
    # Runs before jobs, each in order of ids, as everywhere: so nobody waits in a circle.
    await _lock(conn, runs, victims)
    await _lock(conn, jobs, starting)
    leased = select(lease_gpus).where(lease_gpus.c.node_id.in_(sorted(named)))
    holders: defaultdict[Gpu, dict[str, bool]] = defaultdict(dict)
    seated = set[Gpu]()
    for row in await conn.execute(leased):
        if row.guest:
            seated.add((row.node_id, row.gpu))
        else:
            holders[row.node_id, row.gpu][row.run_id] = row.draining
    return Facts(
        jobs=await pending_jobs(conn, starting),
        runs=await held_runs(conn, victims),
        nodes=await reported_nodes(conn, named),
        holders=holders,
        pools={pool.id: pool for pool in policy.pools},
        seated=seated,
    )


async def _lock(conn: AsyncConnection, table: Table, ids: Iterable[str]) -> None:
    if conn.dialect.name == "sqlite":
        return  # The whole database is locked already.
    query = select(table.c.id).where(table.c.id.in_(sorted(ids))).order_by(table.c.id)
    await conn.execute(query.with_for_update())


@dataclass(slots=True)
class Counted:
    """What the units that hold still take: GPUs, GPUs of lent leases, and runs that end."""

    gpus: set[Gpu] = field(default_factory=set)
    seats: set[Gpu] = field(default_factory=set)
    ending: set[RunId] = field(default_factory=set)


def holds_still(unit: Unit, facts: Facts, counted: Counted) -> bool:
    """Return whether a unit may be stored; count its GPUs, and victims that others wait for too."""
    victims = {preempt.run for preempt in unit.preempts}
    if not all(run in facts.runs and _may_be_recalled(facts.runs[run]) for run in victims):
        return False
    start = unit.start
    if start is None:
        return True
    if start.job not in facts.jobs or start.pool not in facts.pools:
        return False
    wanted = gpus_of(start.slots)
    if not all(_is_usable(gpu, start.pool, facts) for gpu in wanted):
        return False
    if start.over is not None:
        return _may_sit(wanted, start.over, facts, counted)
    drains = victims | {run for run in start.after if run in facts.runs}
    ending = victims | counted.ending
    sound = wanted.isdisjoint(counted.gpus) and all(
        _comes_free(facts.holders.get(gpu, {}), ending, drains) for gpu in wanted
    )
    if sound:
        counted.gpus |= wanted
        counted.ending |= victims
    return sound


def gpus_of(slots: Iterable[Slot]) -> set[Gpu]:
    """Return the GPUs that slots name."""
    return {(slot.node, gpu) for slot in slots for gpu in slot.gpus}


def _may_sit(wanted: set[Gpu], over: RunId, facts: Facts, counted: Counted) -> bool:
    """Return whether all these GPUs are of a run whose lease is lent still, and nobody's seat."""
    host = facts.runs.get(over)
    sound = (
        host is not None
        and is_host(host)
        and over not in counted.ending
        and wanted <= gpus_of(host.slots)
        and wanted.isdisjoint(facts.seated | counted.seats)
    )
    if sound:
        counted.seats |= wanted
    return sound


def _may_be_recalled(run: Run) -> bool:
    return not run.draining and run.state is not RunState.STOPPING


def _is_usable(gpu: Gpu, pool: str, facts: Facts) -> bool:
    node = facts.nodes.get(gpu[0])
    if node is None or node.pool != pool or not node.usable:
        return False
    return any(each.index == gpu[1] and each.healthy for each in node.gpus)


def _comes_free(holders: Mapping[str, bool], victims: set[RunId], drains: set[RunId]) -> bool:
    """Return whether all who hold a GPU drain, or begin to, and are waited for."""
    return all(run in drains and (draining or run in victims) for run, draining in holders.items())
