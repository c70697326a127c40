"""The working state of planning: a snapshot, indexed, and brought forward by events.

`World(s)` after `apply(e)` equals `World(apply_event(s, e))`: every index is a pure
function of what happened, kept with integers and exact sums, so that a hub that runs for
months plans like one that has just started.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from scheduler.core import fairshare
from scheduler.core.decisions import Plan, Start, preempted_run, started_run
from scheduler.core.hardware import H100E
from scheduler.core.index import PolicyIndex
from scheduler.core.model import (
    AccountName,
    AgreementId,
    BudgetId,
    Claim,
    DropJob,
    DropNode,
    DropRun,
    Entity,
    Event,
    Job,
    JobId,
    Node,
    PoolId,
    QuotaClass,
    ReservationId,
    Run,
    RunId,
    RunState,
    Shape,
    Snapshot,
    Spent,
    Usage,
)
from scheduler.core.ordering import Kind, entry
from scheduler.core.placement import Floor
from scheduler.core.policy import Policy
from scheduler.core.quota import PoolQuota

_Key = TypeVar("_Key")
_Row = TypeVar("_Row")
_KindKey = tuple[AccountName, Shape, int]


def apply_event(snapshot: Snapshot, event: Event) -> Snapshot:
    """Return the snapshot after one event: the plain meaning that `World.apply` must match."""
    match event:
        case DropJob(job):
            return replace(snapshot, jobs=_without(snapshot.jobs, job))
        case DropRun(run):
            return replace(snapshot, runs=_without(snapshot.runs, run))
        case DropNode(node):
            return replace(snapshot, nodes=_without(snapshot.nodes, node))
        case _:
            return _put(snapshot, event.entity)


def _put(snapshot: Snapshot, entity: Entity) -> Snapshot:
    match entity:
        case Job():
            return replace(snapshot, jobs={**snapshot.jobs, entity.id: entity})
        case Run():
            return replace(snapshot, runs={**snapshot.runs, entity.id: entity})
        case Node():
            return replace(snapshot, nodes={**snapshot.nodes, entity.id: entity})
        case Usage():
            return replace(snapshot, usage={**snapshot.usage, entity.account: entity})
        case Spent():
            return replace(snapshot, spent={**snapshot.spent, entity.budget: entity})
        case Claim():
            return replace(snapshot, claims={**snapshot.claims, entity.reservation: entity})


def _without(rows: Mapping[_Key, _Row], key: _Key) -> dict[_Key, _Row]:
    return {name: row for name, row in rows.items() if name != key}


class World:
    """Pending jobs by kind, nodes by free GPUs, quotas by level, all as of the last event."""

    def __init__(self, policy: Policy, snapshot: Snapshot) -> None:
        self.policy = policy
        self.index = PolicyIndex(policy)
        self.jobs: dict[JobId, Job] = {}
        self.runs: dict[RunId, Run] = {}
        self.usage: dict[AccountName, Usage] = {}
        self.spent: dict[BudgetId, Spent] = dict(snapshot.spent)
        self.claims: dict[ReservationId, Claim] = dict(snapshot.claims)
        self.floor = Floor()
        self.quotas = {pool.id: PoolQuota(self.index, pool) for pool in policy.pools}
        self.kinds: dict[_KindKey, Kind] = {}
        self._by_account: dict[AccountName, list[Kind]] = {}
        self.lent: dict[AgreementId, int] = {}
        self.held_by_user: dict[str, int] = {}
        # Runs that an owner may recall (R10); and when each run that counts in an account's
        # quota of a pool ends by its limit, with how many GPUs.
        self.recallable: dict[PoolId, dict[RunId, Run]] = {}
        self.charged: dict[tuple[AccountName, PoolId], dict[RunId, tuple[datetime, int]]] = {}
        self._accruing: dict[AccountName, dict[RunId, tuple[float, datetime]]] = {}
        self._kind_of: dict[JobId, Kind] = {}
        self._limit_classes: dict[timedelta, int] = {}
        for node in snapshot.nodes.values():
            self.put_node(node)
        for run in snapshot.runs.values():
            self.put_run(run)
        for job in snapshot.jobs.values():
            self.put_job(job)
        for usage in snapshot.usage.values():
            self.usage[usage.account] = usage

    def snapshot(self) -> Snapshot:
        """Return what happened, without the indexes."""
        nodes = {name: state.node for name, state in self.floor.nodes.items()}
        return Snapshot(
            dict(self.jobs),
            dict(self.runs),
            nodes,
            dict(self.usage),
            dict(self.spent),
            dict(self.claims),
        )

    def apply(self, event: Event) -> None:
        """Bring the world forward by one event, in place."""
        match event:
            case DropJob(job):
                self.drop_job(job)
            case DropRun(run):
                self.drop_run(run)
            case DropNode(node):
                self.floor.drop_node(node)
            case _:
                self._put(event.entity)

    def _put(self, entity: Entity) -> None:
        match entity:
            case Job():
                self.put_job(entity)
            case Run():
                self.put_run(entity)
            case Node():
                self.put_node(entity)
            case Usage():
                self.usage[entity.account] = entity
            case Spent():
                self.spent[entity.budget] = entity
            case Claim():
                self.claims[entity.reservation] = entity

    def advance(self, plan: Plan) -> None:
        """Carry out a plan, in place: the same as `decisions.apply` on the snapshot."""
        for preempt in plan.preempts:
            self.put_run(preempted_run(self.runs[preempt.run], preempt, plan.now))
        for start in plan.starts:
            self.start(start, plan.now)

    def start(self, start: Start, now: datetime) -> Run:
        """Turn a waiting job into the run that a start creates."""
        run = started_run(self.jobs[start.job], start, now)
        self.drop_job(start.job)
        self.put_run(run)
        return run

    def put_node(self, node: Node) -> None:
        """Add a node or replace what is known about it."""
        self.floor.put_node(node)

    def put_job(self, job: Job) -> None:
        """Let a job wait, or replace what is known about it."""
        self.drop_job(job.id)
        self.jobs[job.id] = job
        kind = self._kind(job)
        kind.put(job)
        self._kind_of[job.id] = kind

    def drop_job(self, job_id: JobId) -> None:
        """Let a job wait no longer."""
        job = self.jobs.pop(job_id, None)
        if job is None:
            return
        self._kind_of.pop(job_id).drop(job)

    def _kind(self, job: Job) -> Kind:
        limits = self._limit_classes.get(job.time_limit)
        if limits is None:
            limits = self.index.limit_class(job.time_limit)
            self._limit_classes[job.time_limit] = limits
        key = (job.account, job.shape, limits)
        kind = self.kinds.get(key)
        if kind is None:
            candidates = self.index.candidates(job.account, job.shape, job.time_limit)
            guaranteed = tuple(
                pool
                for pool in candidates.pools
                if self.quotas[pool.id].can_be_in_quota(job.account, job.shape.gpus)
            )
            kind = Kind(job.account, job.shape, candidates, guaranteed)
            self.kinds[key] = kind
            self._by_account.setdefault(job.account, []).append(kind)
        return kind

    def put_run(self, run: Run) -> None:
        """Let a run hold its GPUs, or replace what is known about it."""
        self.drop_run(run.id)
        self.runs[run.id] = run
        self.floor.hold(run)
        if run.quota_class is not QuotaClass.BACKGROUND:
            h100e = run.gpus * self.index.factor(run.pool, run.leased_at) / H100E
            self._accruing.setdefault(run.account, {})[run.id] = (h100e, run.leased_at)
        if not run.draining:
            self._count(run, 1)
            if run.quota_class is not QuotaClass.BACKGROUND:
                charged = self.charged.setdefault((run.account, run.pool), {})
                charged[run.id] = (run.ends_by, run.gpus)
            if is_recallable(run):
                self.recallable.setdefault(run.pool, {})[run.id] = run

    def drop_run(self, run_id: RunId) -> None:
        """Let a run hold nothing any more."""
        run = self.runs.pop(run_id, None)
        if run is None:
            return
        self.floor.release(run)
        self._accruing.get(run.account, {}).pop(run_id, None)
        if not run.draining:
            self._count(run, -1)
            self.charged.get((run.account, run.pool), {}).pop(run_id, None)
            self.recallable.get(run.pool, {}).pop(run_id, None)

    def _count(self, run: Run, sign: int) -> None:
        """Count a run in quotas: a draining one no longer counts, its successor does (R8.6)."""
        gpus = sign * run.gpus
        if run.pool in self.quotas:
            self.quotas[run.pool].charge(run.account, run.quota_class, gpus)
        self.held_by_user[run.user] = self.held_by_user.get(run.user, 0) + gpus
        if run.agreement is not None:
            self.lent[run.agreement] = self.lent.get(run.agreement, 0) + gpus

    def usage_at(self, now: datetime) -> dict[AccountName, float]:
        """Return every account's decayed usage with its subtree, in H100e-seconds (R3)."""
        half_life = self.policy.rules.half_life
        running = {name: runs.values() for name, runs in self._accruing.items()}
        leaves = fairshare.leaf_usage(self.usage.values(), running, now, half_life)
        return fairshare.subtree_usage(self.index, leaves)

    def waiting(self) -> list[Kind]:
        """Return the kinds that have jobs; forget the others."""
        if any(not kind.entries for kind in self.kinds.values()):
            self.kinds = {key: kind for key, kind in self.kinds.items() if kind.entries}
            self._by_account = {}
            for kind in self.kinds.values():
                self._by_account.setdefault(kind.account, []).append(kind)
        return list(self.kinds.values())

    def position(self, job_id: JobId) -> int | None:
        """Return a job's place in its account's queue, from 1; None where it does not wait."""
        job = self.jobs.get(job_id)
        if job is None:
            return None
        place = entry(job)
        kinds = self._by_account.get(job.account, ())
        return 1 + sum(bisect_left(kind.entries, place) for kind in kinds)

    def state(self) -> tuple[object, ...]:
        """Return all that planning looks at in one canonical form, for comparing worlds."""
        kinds = {k: tuple(kind.entries) for k, kind in self.kinds.items() if kind.entries}
        return (
            self.snapshot(),
            kinds,
            tuple(self.floor.state()),
            tuple(row for pool in sorted(self.quotas) for row in self.quotas[pool].state()),
            {name: gpus for name, gpus in self.lent.items() if gpus},
            {name: gpus for name, gpus in self.held_by_user.items() if gpus},
            _filled(self.recallable.items()),
            _filled(self.charged.items()),
            _filled(self._accruing.items()),
        )


def is_recallable(run: Run) -> bool:
    """Return whether an owner may take this run's GPUs back: not if it is ending anyway (R10)."""
    return (
        run.quota_class is not QuotaClass.IN_QUOTA
        and not run.draining
        and run.state is not RunState.STOPPING
    )


def requeued_job(run: Run, not_before: datetime | None) -> Job:
    """Return the job of a run that was preempted or lost: it keeps its age (R8.6)."""
    return Job(
        id=run.job,
        user=run.user,
        account=run.account,
        shape=run.shape,
        priority=run.priority,
        submitted_at=run.submitted_at,
        sequence=run.sequence,
        time_limit=run.time_limit,
        attempt=run.attempt + 1,
        preemptions=run.preemptions + 1,
        not_before=not_before,
        name=run.name,
        predicted=run.predicted,
    )


def _filled(items: Iterable[tuple[object, Mapping[RunId, object]]]) -> dict[object, object]:
    return {key: dict(values) for key, values in items if values}
