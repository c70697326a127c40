"""What a cycle did, told to whom it concerns: waiters by a bell, people by log and metrics.

How things stand afterwards is in `gauges.py`.
"""

from collections import Counter
from collections.abc import Mapping

import structlog

from scheduler import metrics
from scheduler.core.decisions import Plan
from scheduler.core.world import World
from scheduler.db.holds import Some
from scheduler.db.planning import Committed
from scheduler.wake import Wake

log = structlog.get_logger("cycle")

SLOW_SECONDS = 1.0
"""A cycle that takes so long is logged, with its phases."""


def report(committed: Committed, some: Some, wake: Wake) -> None:
    """Ring for sites and jobs whose state is another now, count decisions, and log them."""
    for site in committed.sites:
        wake.ring(f"site:{site}")
    for job in committed.jobs:
        wake.ring(f"job:{job}")
    _count(committed, some)
    for start in committed.plan.starts:
        log.info(
            "run_leased",
            job_id=start.job,
            pool=start.pool,
            gpus=sum(len(slot.gpus) for slot in start.slots),
            nodes=",".join(slot.node for slot in start.slots),
            quota=start.quota_class.name.lower(),
        )
    for preempt in committed.plan.preempts:
        log.info("run_recalled", run_id=preempt.run, by=preempt.by, notice=str(preempt.notice))
    if committed.stale:
        log.warning("stale_decisions_dropped", count=committed.stale)


def _count(committed: Committed, some: Some) -> None:
    plan = committed.plan
    metrics.CYCLES.labels("committed").inc()
    metrics.STALE.inc(committed.stale)
    decided: Counter[tuple[str, str]] = Counter()
    decided.update(("start", start.quota_class.name.lower()) for start in plan.starts)
    decided.update(("preempt", preempt.reason.value) for preempt in plan.preempts)
    decided.update(("reserve", "planned") for _ in plan.reserves)
    for rows in some.values():
        decided.update(("hold", hold.verdicts[0].reason.value) for hold in rows if hold.verdicts)
    for (kind, reason), count in decided.items():
        metrics.DECISIONS.labels(kind, reason).inc(count)


def observe_waits(world: World, plan: Plan) -> None:
    """Count how long jobs waited that are about to start; after a preemption nobody waits anew.

    To be called before the plan is carried out: then the jobs still wait in the world.
    """
    for start in plan.starts:
        job = world.jobs.get(start.job)
        if job is not None and job.attempt == 1:
            waited = max(0.0, (plan.now - job.submitted_at).total_seconds())
            quota = start.quota_class.name.lower()
            metrics.WAIT_SECONDS.labels(job.priority.value, quota).observe(waited)


def slow(seconds: float, phases: Mapping[str, float]) -> None:
    """Log a cycle that took long, under the id that is on its exemplar (bound by the loop)."""
    if seconds >= SLOW_SECONDS:
        took = {f"{phase}_seconds": round(time, 3) for phase, time in phases.items()}
        log.warning("cycle_slow", seconds=round(seconds, 3), **took)
