"""The working state of planning: a snapshot, indexed, and brought forward by events.

`World(s)` after `apply(e)` equals `World(apply_event(s, e))`: every index is a pure
function of what happened, kept with integers and exact sums, so that a hub that runs for
months plans like one that has just started.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from scheduler.core.decisions import (
    HOUR,
    Plan,
    Preempt,
    Start,
    preempted_run,
    started_run,
    turnovers,
)
from scheduler.core.floor import Floor
from scheduler.core.index import PolicyIndex
from scheduler.core.lending import Lending, left_alone
from scheduler.core.model import (
    AccountName,
    AgreementId,
    BudgetId,
    Job,
    JobId,
    Node,
    NodeId,
    PoolId,
    QuotaClass,
    ReservationId,
    Run,
    RunId,
    RunState,
)
from scheduler.core.ordering import Kind
from scheduler.core.policy import Policy
from scheduler.core.quota import Below, PoolQuota
from scheduler.core.returns import Returns
from scheduler.core.rooms import Rooms, in_tier_order
from scheduler.core.snapshot import (
    Claim,
    DropJob,
    DropNode,
    DropRun,
    Entity,
    Event,
    Snapshot,
    Spent,
    Turnover,
    Usage,
)
from scheduler.core.use import Use
from scheduler.core.waiting import Waiting

_NOTHING_HELD = Returns()

EVERYBODY = AccountName("")
"""All accounts together, where a pool's runs are looked up by account."""


class World:
    """Pending jobs by kind, nodes by free GPUs, quotas by level, all as of the last event."""

    def __init__(self, policy: Policy, snapshot: Snapshot) -> None:
        self.policy = policy
        self.index = PolicyIndex(policy)
        # Changes with everything that planning looks at: what was worked out before may not hold.
        self.version = 0
        self.runs: dict[RunId, Run] = {}
        self.usage: dict[AccountName, Usage] = dict(snapshot.usage)
        self.spent: dict[BudgetId, Spent] = dict(snapshot.spent)
        self.claims: dict[ReservationId, Claim] = dict(snapshot.claims)
        self.turnovers: dict[PoolId, Turnover] = dict(snapshot.turnovers)
        # Pools have their bits in the order of tiers and names: see `Rooms`.
        self.below = Below()
        self.quotas_by_bit = tuple(
            PoolQuota(self.index, pool, bit, self.below)
            for bit, pool in enumerate(in_tier_order(self.index.pools.values()))
        )
        self.quotas = {quota.pool.id: quota for quota in self.quotas_by_bit}
        self.floor = Floor({name: quota.cells for name, quota in self.quotas.items()})
        self.rooms = Rooms(self.index, self.floor)
        self.waiting = Waiting(self.index, self.rooms, self.quotas)
        self.jobs = self.waiting.jobs
        self.use, self.lending = Use(self.index), Lending()
        self.notices = {signed.id: signed.recall_notice for signed in policy.agreements}
        self.lent: dict[AgreementId, int] = {}
        self.held_by_user: dict[str, int] = {}
        # Runs that an owner may recall (R10); and when each run that counts in an account's
        # quota of a pool ends by its limit, with how many GPUs.
        self.recallable: dict[PoolId, dict[RunId, Run]] = {}
        self.recallable_gpus, self._background = Counter[PoolId](), Counter[PoolId]()
        # Runs that end for others already, maybe on more GPUs than those need.
        self.leaving: dict[PoolId, dict[RunId, Run]] = {}
        # Pools with any of both, and those with background work to recall, a bit each.
        self.lent_out = self.in_background = 0
        self.charged: dict[tuple[AccountName, PoolId], Returns] = {}
        self._load(snapshot)

    def _load(self, snapshot: Snapshot) -> None:
        for node in snapshot.nodes.values():
            self.put_node(node)
        for run in snapshot.runs.values():
            self.put_run(run)
        for job in snapshot.jobs.values():
            self.put_job(job)

    def snapshot(self) -> Snapshot:
        """Return what happened, without the indexes."""
        return Snapshot(
            dict(self.jobs),
            dict(self.runs),
            dict(self.floor.reported),
            dict(self.usage),
            dict(self.spent),
            dict(self.claims),
            dict(self.turnovers),
        )

    def apply(self, event: Event) -> None:
        """Bring the world forward by one event, in place."""
        match event:
            case DropJob(job):
                self.drop_job(job)
            case DropRun(run):
                self.end_run(run)
            case DropNode(node):
                self._drop_node(node)
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
            case Turnover():
                self.turnovers[entity.pool] = entity
        self.version += 1

    def advance(self, plan: Plan) -> None:
        """Carry out a plan, in place: the same as `decisions.apply` on the snapshot."""
        self.advance_by(plan.preempts, plan.starts, plan.now)

    def advance_by(
        self, preempts: Iterable[Preempt], starts: Iterable[Start], now: datetime
    ) -> None:
        """Carry out decisions made at `now`, in place."""
        preempts = tuple(preempts)
        self.turnovers.update(turnovers(self.turnovers, preempts, self.runs, now))
        for preempt in preempts:
            self.put_run(preempted_run(self.runs[preempt.run], preempt, now))
        for start in starts:
            self.start(start, now)

    def start(self, start: Start, now: datetime) -> Run:
        """Turn a waiting job into the run that a start creates."""
        job = self.jobs[start.job]
        run = self.try_start(job, self.waiting.kind_of(job.id), start, now)
        self.waiting.forget(job.id)
        self.use.accrue(run)
        return run

    def try_start(self, job: Job, kind: Kind, start: Start, now: datetime) -> Run:
        """Do the same for the length of a cycle, which takes it back (`trial.py`).

        Recent use stays as it is: a cycle reads it before its first start, and not again.
        """
        run = started_run(job, start, now)
        self.waiting.take(job, kind)
        self.drop_run(run.id)
        self._add(run)
        reservation = job.shape.reservation
        if reservation is not None and reservation not in self.claims:
            self.claims[reservation] = Claim(reservation, now)
        return run

    def put_node(self, node: Node) -> None:
        """Add a node or replace what is known about it."""
        self._drop_node(node.id)
        self.floor.put_node(node)
        self.rooms.touch(node.pool)

    def _drop_node(self, node: NodeId) -> None:
        known = self.floor.nodes.get(node)
        if known is not None:
            self.rooms.touch(known.node.pool)
        self.floor.drop_node(node)
        self.version += 1

    def put_job(self, job: Job) -> None:
        """Let a job wait, or replace what is known about it."""
        self.waiting.put(job)
        self.version += 1

    def drop_job(self, job_id: JobId) -> None:
        """Let a job wait no longer."""
        self.waiting.drop(job_id)
        self.version += 1

    def put_run(self, run: Run) -> None:
        """Let a run hold its GPUs, or replace what is known about it."""
        self.drop_run(run.id)
        self._add(run)
        if run.over is None:
            self.use.accrue(run)

    def _add(self, run: Run) -> None:
        gpus = run.gpus
        self.version += 1
        self.runs[run.id] = run
        if run.lent or run.over is not None:
            self.lending.put(run)
        if run.over is not None:
            self._count_guest(run, gpus)
            return
        self.floor.hold(run)
        self._touch(run)
        self.use.hold(run, gpus)
        if run.draining:
            self.leaving.setdefault(run.pool, {})[run.id] = run
            self._mark(run, 0)
            return
        self._count(run, gpus)
        self._charge((EVERYBODY, run.pool), run, gpus)
        if run.quota_class is not QuotaClass.BACKGROUND:
            self._charge((run.account, run.pool), run, gpus)
        if is_recallable(run):
            self.recallable.setdefault(run.pool, {})[run.id] = run
            self.recallable_gpus[run.pool] += gpus
            self._mark(run, 1)

    def _charge(self, key: tuple[AccountName, PoolId], run: Run, gpus: int) -> None:
        known = self.charged.get(key)
        if known is None:
            known = self.charged[key] = Returns()
        known.put(run.id, run.ends_by, gpus)

    def _mark(self, run: Run, sign: int) -> None:
        """Bring forward which pools have runs that may be recalled, and background work."""
        bit = 1 << self.rooms.bits[run.pool] if run.pool in self.rooms.bits else 0
        is_lent = self.recallable.get(run.pool) or self.leaving.get(run.pool)
        self.lent_out = self.lent_out | bit if is_lent else self.lent_out & ~bit
        if sign and run.quota_class is QuotaClass.BACKGROUND:
            self._background[run.pool] += sign
            there = self._background[run.pool] > 0
            self.in_background = self.in_background | bit if there else self.in_background & ~bit

    def _touch(self, run: Run) -> None:
        """Take note of what has changed on a run's nodes, which may be of another pool by now."""
        nodes, touched = self.floor.nodes, None
        for slot in run.slots:
            state = nodes.get(slot.node)
            if state is not None and state.node.pool != touched:
                touched = state.node.pool
                self.rooms.touch(touched)

    def drop_run(self, run_id: RunId) -> None:
        """Let a run hold nothing any more."""
        run = self.runs.pop(run_id, None)
        if run is None:
            return
        gpus = run.gpus
        self.version += 1
        if run.lent or run.over is not None:
            self.lending.drop(run)
        if run.over is not None:
            self._count_guest(run, -gpus)
            return
        self.floor.release(run)
        self._touch(run)
        self.use.drop(run, gpus)
        if run.draining:
            self.leaving[run.pool].pop(run_id)
            self._mark(run, 0)
        else:
            self._count(run, -gpus)
            self.expect_no_more(run, gpus)

    def expect_no_more(self, run: Run, gpus: int) -> None:
        """Forget when a run's GPUs would be back, and that it might be recalled."""
        for key in ((EVERYBODY, run.pool), (run.account, run.pool)):
            known = self.charged.get(key)
            if known is not None:
                known.drop(run.id)
        if is_recallable(run) and self.recallable.get(run.pool, {}).pop(run.id, None) is not None:
            self.recallable_gpus[run.pool] -= gpus
            self._mark(run, -1)

    def end_run(self, run_id: RunId) -> None:
        """Let a run that has ended hold nothing; whoever sat on its GPUs holds them now (R18)."""
        host = self.runs.get(run_id)
        if host is None:
            return
        self.drop_run(run_id)
        for guest in self.lending.guests(run_id):
            self.put_run(left_alone(guest, host))

    def _count_guest(self, run: Run, gpus: int) -> None:
        """Count work on a lent lease: its GPUs are held, charged and due back as the host's."""
        if not run.draining:
            self._count_people(run, gpus)

    def _count(self, run: Run, gpus: int) -> None:
        """Count a run in quotas: a draining one no longer counts, its successor does (R8.6)."""
        if run.pool in self.quotas and run.shape.reservation is None:
            self.quotas[run.pool].charge(run.account, run.quota_class, gpus)
        self._count_people(run, gpus)

    def _count_people(self, run: Run, gpus: int) -> None:
        self.held_by_user[run.user] = self.held_by_user.get(run.user, 0) + gpus
        if run.agreement is not None:
            self.lent[run.agreement] = self.lent.get(run.agreement, 0) + gpus

    def may_move(self, pool: PoolId, now: datetime) -> int:
        """Return how many more runs of a pool may lose their GPUs to smaller shares now (R9)."""
        known = self.turnovers.get(pool)
        recent = known.count if known is not None and now - known.since < HOUR else 0
        return self.policy.rules.preempt_per_hour - recent

    def returns(self, account: AccountName, pool: PoolId) -> Returns:
        """Return when the GPUs that an account is charged for in a pool are back by limits.

        For `EVERYBODY`, all GPUs that anyone holds there.
        """
        return self.charged.get((account, pool), _NOTHING_HELD)

    def usage_at(self, now: datetime) -> dict[AccountName, float]:
        """Return every account's decayed usage with its subtree, in H100e-seconds (R3)."""
        return self.use.at(now, self.usage, self.claims)

    def position(self, job_id: JobId) -> int | None:
        """Return a job's place in its account's queue, from 1; None where it does not wait."""
        return self.waiting.position(job_id)

    def state(self) -> tuple[object, ...]:
        """Return all that planning looks at in one canonical form, for comparing worlds."""
        return (
            self.snapshot(),
            self.waiting.state(),
            tuple(self.floor.state()),
            tuple(row for pool in sorted(self.quotas) for row in self.quotas[pool].state()),
            {name: gpus for name, gpus in self.lent.items() if gpus},
            {name: gpus for name, gpus in self.held_by_user.items() if gpus},
            tuple(self.use.state()),
            tuple(self.lending.state()),
            (self.lent_out, self.in_background),
            _filled(self.recallable.items()),
            _filled(self.leaving.items()),
            _filled((key, returns.runs) for key, returns in self.charged.items()),
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
        training=run.training,
    )


def _filled(items: Iterable[tuple[object, Mapping[RunId, object]]]) -> dict[object, object]:
    return {key: dict(values) for key, values in items if values}
