"""What a cycle did, told to whom it concerns: waiters by a bell, people by log and metrics."""

from collections import Counter

import structlog

from scheduler import metrics
from scheduler.core.world import World
from scheduler.db.holds import Some
from scheduler.db.planning import Committed
from scheduler.wake import Wake

log = structlog.get_logger("cycle")


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


def gauge(world: World) -> None:
    """Show how many jobs wait and how many runs hold GPUs."""
    waiting = Counter[str]()
    for kind in world.waiting.kinds():
        waiting[kind.account] += len(kind.queue)
    metrics.PENDING.clear()
    for account, count in waiting.items():
        metrics.PENDING.labels(account).set(count)
    held = Counter((run.pool, run.quota_class.name.lower()) for run in world.runs.values())
    metrics.LEASES.clear()
    for (pool, quota_class), count in held.items():
        metrics.LEASES.labels(pool, quota_class).set(count)
