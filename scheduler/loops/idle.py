"""Looks for leases whose GPUs do nothing, in every process that hears their nodes (R18).

A run whose nodes speak to several processes is not seen whole by any, and then it is not
idle: missing data never is.
"""

from datetime import UTC, datetime, timedelta

import structlog

from scheduler import metrics
from scheduler.clock import Clock
from scheduler.core.idleness import GRACE, Step, Watched, next_step
from scheduler.core.policy import Policy
from scheduler.db.engine import Database
from scheduler.db.idleness import Told, Working, take_steps, working_runs
from scheduler.db.policies import policy_in_force
from scheduler.errors import Refused
from scheduler.fleet.memory import Fleet
from scheduler.wake import Wake

log = structlog.get_logger("idle")

_SECONDS = 60.0


class IdleLoop:
    """Takes the steps that a tier's rules ask for."""

    name = "idle"
    bell = "idle"

    def __init__(self, db: Database, fleet: Fleet, wake: Wake, clock: Clock) -> None:
        self._db, self._fleet, self._wake, self._clock = db, fleet, wake, clock

    def reset(self) -> None:
        """Nothing is remembered between rounds but in the fleet's memory and the database."""

    async def step(self) -> float:
        """Look at every run that works; return the seconds until the next look."""
        now = self._clock.now()
        async with self._db.reading() as conn:
            try:
                policy = await policy_in_force(conn)
            except Refused:
                return _SECONDS
            working = await working_runs(conn) if _looks(policy) else []
        steps = [told for run in working if (told := self._due(run, policy, now)) is not None]
        if steps:
            async with self._db.transaction() as conn:
                sites = await take_steps(conn, steps, policy, now)
            for told in steps:
                metrics.WATCHED.labels(f"idle_{told.step.name.lower()}").inc()
                log.info("run_idle", run_id=told.run, step=told.step.name.lower())
                self._wake.ring(f"job:{told.job}")
            for site in sites:
                self._wake.ring(f"site:{site}")
        return _SECONDS

    def _due(self, run: Working, policy: Policy, now: datetime) -> Told | None:
        pool = next((pool for pool in policy.pools if pool.id == run.pool), None)
        if pool is None:
            return None
        since = [self._idle_since(slot.node, gpu) for slot in run.slots for gpu in slot.gpus]
        watched = Watched(
            run.started_at,
            since,
            run.priority,
            run.preemptible,
            run.background,
            run.requeued,
            run.taken,
        )
        step = next_step(watched, policy.tier_rules(pool.tier), now)
        if step is run.taken:
            return None
        known = [at for at in since if at is not None]
        began = max(*known, run.started_at + GRACE) if step is not Step.NONE else None
        return Told(run.run, run.job, step, began)

    def _idle_since(self, node: str, gpu: int) -> datetime | None:
        at = self._fleet.idle_since(node, gpu)
        return None if at is None else datetime.fromtimestamp(at, UTC)


def _looks(policy: Policy) -> bool:
    nothing = timedelta(0)
    return any(
        max(rules.idle_warn, rules.idle_requeue, rules.idle_end) > nothing
        for _, rules in policy.tiers
    )
