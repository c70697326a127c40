"""What a cycle decides, as values, and what the decisions do to a snapshot.

`apply(snapshot, plan)` is one side of the commuting square (scheduling.md §2); the
other side is `db.planning.commit_plan` followed by `load_snapshot`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.core.explain import Verdict
from scheduler.core.model import (
    AccountName,
    AgreementId,
    Job,
    JobId,
    PoolId,
    QuotaClass,
    Run,
    RunId,
    RunState,
    Shape,
    Slot,
    StopReason,
    run_id,
)
from scheduler.core.snapshot import Claim, Snapshot, Turnover


@dataclass(frozen=True, slots=True)
class Start:
    """Lease named GPUs to a job. `after` are victims that must end before it binds.

    `over` is the run whose idle lease is lent to it: these GPUs are leased twice (R18).
    """

    job: JobId
    pool: PoolId
    slots: tuple[Slot, ...]
    quota_class: QuotaClass
    why: str
    agreement: AgreementId | None = None
    after: frozenset[RunId] = frozenset()
    over: RunId | None = None


@dataclass(frozen=True, slots=True)
class Preempt:
    """Tell a run to checkpoint and end within `notice`; its GPUs are leased to `by` (R8, R9).

    `by` is None where no job takes them: a reservation or maintenance begins (R7).
    """

    run: RunId
    by: JobId | None
    reason: StopReason
    notice: timedelta
    why: str


@dataclass(frozen=True, slots=True)
class Reserve:
    """A planned start on named nodes; nothing may delay it (R6)."""

    job: JobId
    pool: PoolId
    slots: tuple[Slot, ...]
    start_at: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """Why jobs of one account and shape have not started.

    With `job` set it is that job's own verdict (it was tried, or is refused for
    itself); with `job` None it covers every other pending job of the group.
    """

    account: AccountName
    shape: Shape
    verdicts: tuple[Verdict, ...]
    job: JobId | None = None


Decision = Start | Preempt | Reserve | Hold


@dataclass(frozen=True, slots=True)
class Plan:
    """The result of one cycle at `now`, in the order in which it was decided.

    Places in queues are not part of it: `World.position` tells any job's. `holds` may be worked
    out only when it is read, which must be before the world changes (`verdicts.Holds`).
    """

    now: datetime
    policy_revision: int
    starts: tuple[Start, ...] = ()
    preempts: tuple[Preempt, ...] = ()
    reserves: tuple[Reserve, ...] = ()
    holds: Sequence[Hold] = ()


def started_run(job: Job, start: Start, now: datetime) -> Run:
    """Return the run that a start creates: leased now, fenced by the attempt number."""
    return Run(
        id=run_id(job.id, job.attempt),
        job=job.id,
        attempt=job.attempt,
        user=job.user,
        account=job.account,
        pool=start.pool,
        shape=job.shape,
        slots=start.slots,
        quota_class=start.quota_class,
        priority=job.priority,
        state=RunState.LEASED,
        token=job.attempt,
        leased_at=now,
        ends_by=now + job.time_limit,
        time_limit=job.time_limit,
        sequence=job.sequence,
        submitted_at=job.submitted_at,
        agreement=start.agreement,
        after=start.after,
        preemptions=job.preemptions,
        name=job.name,
        predicted=job.predicted,
        over=start.over,
        training=job.training,
    )


def preempted_run(run: Run, preempt: Preempt, now: datetime) -> Run:
    """Return the victim as it drains: told to end, and no longer counted in quotas."""
    return replace(run, state=RunState.STOPPING, draining=True, stop_at=now + preempt.notice)


HOUR = timedelta(hours=1)


def turned_over(before: Turnover | None, pool: PoolId, count: int, now: datetime) -> Turnover:
    """Return a pool's count of runs that lost their GPUs to smaller shares, with some more."""
    if before is None or now - before.since >= HOUR:
        return Turnover(pool, now, count)
    return Turnover(pool, before.since, before.count + count)


def turnovers(
    before: Mapping[PoolId, Turnover],
    preempts: Iterable[Preempt],
    runs: Mapping[RunId, Run],
    now: datetime,
) -> dict[PoolId, Turnover]:
    """Return the counts that change with these decisions; `runs` knows the victims' pools."""
    moved = Counter(runs[p.run].pool for p in preempts if p.reason is StopReason.SHARES)
    return {pool: turned_over(before.get(pool), pool, n, now) for pool, n in moved.items()}


def apply(snapshot: Snapshot, plan: Plan) -> Snapshot:
    """Carry out a plan on a snapshot. Reserves and holds change nothing that planning reads."""
    jobs, runs, claims = dict(snapshot.jobs), dict(snapshot.runs), dict(snapshot.claims)
    for preempt in plan.preempts:
        runs[preempt.run] = preempted_run(runs[preempt.run], preempt, plan.now)
    for start in plan.starts:
        run = started_run(jobs.pop(start.job), start, plan.now)
        runs[run.id] = run
        if run.shape.reservation is not None:
            claims.setdefault(run.shape.reservation, Claim(run.shape.reservation, plan.now))
    moved = turnovers(snapshot.turnovers, plan.preempts, snapshot.runs, plan.now)
    counts = {**snapshot.turnovers, **moved}
    return replace(snapshot, jobs=jobs, runs=runs, claims=claims, turnovers=counts)
