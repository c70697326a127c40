"""Rows as people read them: the state of a job in one sentence, its runs, its verdicts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.core.explain import Reason, Verdict, sentence
from scheduler.core.lifecycle import JobState
from scheduler.core.model import QuotaClass, RunState, StopReason, Tier
from scheduler.core.policy import Policy
from scheduler.core.thresholds import PETA
from scheduler.core.training import Training
from scheduler.db.rows import EventRow, HoldRow, JobRow, ReservationRow, RunRow
from scheduler.wire.jobs import (
    Explanation,
    JobEvent,
    JobRun,
    JobView,
    TrainingView,
    VerdictView,
)

NOT_PLANNED = "It waits for the next planning cycle."

# Answers that do not change by waiting; the others say more about when a job may start.
_FIXED = frozenset(
    {
        Reason.NO_POOL,
        Reason.LABEL,
        Reason.SECTOR,
        Reason.SECTOR_AGREEMENT,
        Reason.HARDWARE,
        Reason.MEMORY,
        Reason.SOFTWARE,
        Reason.JOB_LIMIT,
        Reason.TIER,
        Reason.TIME_LIMIT,
    }
)


@dataclass(frozen=True, slots=True)
class JobFacts:
    """All that is known of a job, read at one moment. `runs` are in order of attempts."""

    job: JobRow
    runs: Sequence[RunRow] = ()
    hold: HoldRow | None = None
    reservation: ReservationRow | None = None
    forecast: datetime | None = None

    @property
    def starts_at(self) -> datetime | None:
        """Return the planned start, else the forecast one; None once it has started."""
        if self.job.state is not JobState.PENDING:
            return None
        return self.reservation.start_at if self.reservation else self.forecast

    @property
    def position(self) -> int | None:
        """Return the place in its account's queue, from 1; None where it does not wait."""
        if self.job.state is not JobState.PENDING or self.hold is None:
            return None
        return self.hold.position or None


def job_view(facts: JobFacts, policy: Policy) -> JobView:
    """Return a job as lists and pages show it."""
    return new_job_view(facts.job).model_copy(
        update={
            "reason": reason(facts, policy),
            "position": facts.position,
            "starts_at": facts.starts_at,
            "runs": tuple(run_view(run, policy) for run in facts.runs),
        }
    )


def new_job_view(job: JobRow) -> JobView:
    """Return a job as its row alone tells: all there is to say of one that was just stored."""
    return JobView(
        id=job.id,
        submission_id=job.submission_id,
        user=job.user,
        account=job.account,
        state=job.state,
        reason=NOT_PLANNED,
        name=job.name,
        entrypoint=job.entrypoint,
        nodes=job.shape.nodes,
        gpus_per_node=job.shape.gpus_per_node,
        gpu_models=tuple(sorted(job.shape.gpu_models)),
        memory_gib=job.shape.memory_gib,
        h100e=job.shape.h100e,
        software=tuple(sorted(job.shape.software)),
        reservation=job.shape.reservation,
        tier=(job.shape.tier_min, job.shape.tier_max),
        label=job.shape.label,
        priority=job.priority,
        preemptible=job.shape.preemptible,
        time_limit_seconds=int(job.time_limit.total_seconds()),
        predicted_seconds=(None if job.predicted is None else int(job.predicted.total_seconds())),
        submitted_at=job.submitted_at,
        ended_at=job.ended_at,
        metadata=dict(job.metadata),
        training=None if job.training is None else _training(job.training),
    )


def _training(training: Training) -> TrainingView:
    return TrainingView(
        model_line=training.line,
        flop=float(training.pflop * PETA),
        line_flop=float(training.reaches * PETA),
    )


def run_view(run: RunRow, policy: Policy) -> JobRun:
    """Return one attempt, as history shows it."""
    return JobRun(
        run=run.id,
        attempt=run.attempt,
        state=run.state,
        site=run.site,
        pool=run.pool,
        tier=tier_of(policy, run.pool) or Tier.TEAM,
        nodes=tuple(slot.node for slot in run.slots),
        gpus=run.gpus,
        quota_class=run.quota_class,
        agreement=run.agreement,
        leased_at=run.leased_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        why=run.why,
        message=run.message,
        exit_code=run.exit_code,
        simulated=run.simulated,
        lent=run.lent and run.state is RunState.RUNNING,
        guest=run.over is not None,
    )


def tier_of(policy: Policy, pool: str) -> Tier | None:
    """Return a pool's tier; None for one that the policy no longer has."""
    return next((p.tier for p in policy.pools if p.id == pool), None)


def explanation(facts: JobFacts, events: Sequence[EventRow], policy: Policy) -> Explanation:
    """Return why a job is where it is: every verdict, and its history."""
    waits = facts.job.state is JobState.PENDING
    # What holds for all pools alike, such as a budget, is one verdict.
    verdicts = dict.fromkeys(facts.hold.verdicts if waits and facts.hold else ())
    return Explanation(
        job=facts.job.id,
        state=facts.job.state,
        summary=reason(facts, policy),
        position=facts.position,
        starts_at=facts.starts_at,
        verdicts=tuple(verdict_view(verdict, policy) for verdict in verdicts),
        history=tuple(
            JobEvent(at=e.at, event=e.event, run=e.run_id, sentence=e.sentence) for e in events
        ),
    )


def verdict_view(verdict: Verdict, policy: Policy) -> VerdictView:
    """Return a verdict as data and as a sentence."""
    return VerdictView(
        reason=verdict.reason,
        pool=verdict.pool,
        tier=None if verdict.pool is None else tier_of(policy, verdict.pool),
        sentence=sentence(verdict, policy),
        numbers=dict(verdict.numbers),
    )


def reason(facts: JobFacts, policy: Policy) -> str:
    """Return one plain sentence: why the job waits, or what it does."""
    state = facts.job.state
    if state is JobState.PENDING:
        return _waiting(facts, policy)
    if state.is_terminal:
        return facts.job.message or _ENDED[state]
    if not facts.runs:
        return f"It is {state}."
    return _UNDER_WAY[state](facts.runs[-1])


_ENDED = {
    JobState.SUCCEEDED: "It ended by itself, with success.",
    JobState.FAILED: "It ended by itself, with an error.",
    JobState.STOPPED: "It was stopped.",
}


def _waiting(facts: JobFacts, policy: Policy) -> str:
    if facts.hold is None or not facts.hold.verdicts:
        requeued = facts.job.attempt > 1
        return (
            "It is back in the queue, and waits for the next planning cycle."
            if requeued
            else NOT_PLANNED
        )
    verdicts = facts.hold.verdicts
    open_ones = [verdict for verdict in verdicts if verdict.reason not in _FIXED]
    return sentence((open_ones or list(verdicts))[0], policy)


def _starting(run: RunRow) -> str:
    leased = f"{_gpus(run)} of {run.pool} {'is' if run.gpus == 1 else 'are'} leased to it"
    if run.state is RunState.UNKNOWN:
        return f"{leased}, but {run.site} has not been heard of."
    if run.state is RunState.LEASED and run.after:
        return f"{leased}; it starts when those who hold them have given them back."
    return f"{leased}; {run.site} is starting it."


def _running(run: RunRow) -> str:
    if run.state is RunState.UNKNOWN:
        return f"It ran on {run.pool} when {run.site} was last heard of; its GPUs stay leased."
    since = f" since {run.started_at:%Y-%m-%d %H:%M} UTC" if run.started_at else ""
    match run.quota_class:
        case QuotaClass.IN_QUOTA:
            how = "in quota"
        case QuotaClass.BORROWED:
            how = f"borrowed under {run.agreement}" if run.agreement else "borrowed"
        case QuotaClass.BACKGROUND:
            how = "in the background"
    if run.over is not None:
        how += ", where another job leaves its GPUs idle"
    idle = " Its GPUs idle, and background work may use them meanwhile." if run.lent else ""
    return f"It runs on {_gpus(run)} of {run.pool}{since}, {how}.{idle}"


def _gpus(run: RunRow) -> str:
    return "1 GPU" if run.gpus == 1 else f"{run.gpus} GPUs"


def _stopping(run: RunRow) -> str:
    by = f" by {run.stop_at:%H:%M:%S} UTC" if run.stop_at else ""
    said = None if run.stop_reason is None else _STOPPING.get(run.stop_reason)
    return (said or "It is being stopped{by}.").format(by=by)


_STOPPING = {
    StopReason.RECALLED: "Its GPUs were recalled: "
    "it checkpoints and ends{by}, then it is requeued.",
    StopReason.SHARES: "A smaller share takes its GPUs over: it checkpoints and ends{by}.",
    StopReason.RESERVED: "Its nodes are reserved or in maintenance soon: "
    "it checkpoints and ends{by}.",
    StopReason.IDLE: "Its GPUs do nothing: it checkpoints and ends{by}, then it is requeued.",
    StopReason.ENDED_IDLE: "Its GPUs do nothing: it checkpoints and ends{by}.",
    StopReason.DRAINED: "Its node is drained: it checkpoints and ends{by}, then it is requeued.",
    StopReason.TIME_LIMIT: "It reached its time limit and ends{by}.",
    StopReason.CANCELLED: "It was cancelled and ends{by}.",
}


_UNDER_WAY: dict[JobState, Callable[[RunRow], str]] = {
    JobState.STARTING: _starting,
    JobState.RUNNING: _running,
    JobState.STOPPING: _stopping,
}
