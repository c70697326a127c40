"""Looks for leases whose GPUs do nothing, in every process that hears their nodes (R18).

A run whose nodes speak to several processes is not seen whole by any, and then nothing is done:
missing data is never idleness, and no work either, so what was warned about or lent stays so.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from scheduler import metrics
from scheduler.clock import Clock
from scheduler.core.idleness import Step, Watched, idle_since, next_step
from scheduler.core.lending import may_be_lent
from scheduler.core.model import Pool
from scheduler.core.policy import Policy
from scheduler.db.engine import Database
from scheduler.db.idleness import Told, Working, take_steps, working_runs
from scheduler.db.lending import Gpu, is_any_lent, visited
from scheduler.db.policies import policy_in_force
from scheduler.errors import Refused
from scheduler.fleet.memory import Fleet
from scheduler.wake import Wake

log = structlog.get_logger("idle")

_SECONDS = 60.0
_LEAST_SECONDS = 5.0
_SETTLED = timedelta(seconds=30)
"""After a guest came or went, reports say whose use it is, or that nobody else is there."""


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
            looks = bool(_steps(policy)) or await is_any_lent(conn)
            working = await working_runs(conn) if looks else []
            lent = [run.run for run in working if run.taken is Step.LEND]
            guests = await visited(conn, lent, now - 2 * _SETTLED)
        steps = [told for run in working if (told := self._due(run, policy, guests, now))]
        if steps:
            await self._take(steps, policy, now)
        lent_out = lent or any(told.step is Step.LEND for told in steps)
        return _LEAST_SECONDS if lent_out else _pause(policy)

    async def _take(self, steps: Sequence[Told], policy: Policy, now: datetime) -> None:
        async with self._db.transaction() as conn:
            taken = await take_steps(conn, steps, policy, now)
        for told in steps:
            metrics.WATCHED.labels(f"idle_{told.step.name.lower()}").inc()
            log.info("run_idle", run_id=told.run, step=told.step.name.lower())
        for bell in ("cycle", *_bells("job", taken.jobs), *_bells("site", taken.sites)):
            self._wake.ring(bell)

    def _due(
        self, run: Working, policy: Policy, guests: Mapping[Gpu, datetime], now: datetime
    ) -> Told | None:
        pool = next((pool for pool in policy.pools if pool.id == run.pool), None)
        if pool is None or any(self._fleet.heard_at(slot.node) is None for slot in run.slots):
            return None  # Another process hears it, or none since this one began.
        rules = policy.tier_rules(pool.tier)
        watched = Watched(
            run.started_at,
            self._since(run, guests, now),
            run.priority,
            run.preemptible,
            run.background,
            run.requeued,
            run.taken,
            self._is_lendable(run, pool),
            run.idle_from,
        )
        step = next_step(watched, rules, now)
        if step is run.taken:
            return None
        began = None if step is Step.NONE else idle_since(watched, rules)
        return Told(run.run, run.job, step, began, run.taken)

    def _since(
        self, run: Working, guests: Mapping[Gpu, datetime], now: datetime
    ) -> list[datetime | None]:
        """Return since when each of a run's GPUs does nothing for it."""
        gpus = [(slot.node, gpu) for slot in run.slots for gpu in slot.gpus]
        if run.taken is not Step.LEND:
            return [self._idle_since(*gpu) for gpu in gpus]
        works = any(self._works(run.run, gpu, guests.get(gpu), now) for gpu in gpus)
        return [None if works else run.idle_from] * len(gpus)

    def _works(self, run: str, gpu: Gpu, visited_at: datetime | None, now: datetime) -> bool:
        """Return whether a lent run is seen to use a GPU, on which a guest may be too."""
        told = self._fleet.works(*gpu, run)
        if told is not None:
            return told
        if visited_at is not None and now - visited_at < _SETTLED:
            return False  # The report may be of the guest before anybody told it apart.
        return self._fleet.is_busy(*gpu)

    def _is_lendable(self, run: Working, pool: Pool) -> bool:
        return may_be_lent(pool) and all(self._fleet.tells_runs(slot.node) for slot in run.slots)

    def _idle_since(self, node: str, gpu: int) -> datetime | None:
        at = self._fleet.idle_since(node, gpu)
        return None if at is None else datetime.fromtimestamp(at, UTC)


def _bells(kind: str, names: Iterable[str]) -> list[str]:
    return [f"{kind}:{name}" for name in sorted(names)]


def _steps(policy: Policy) -> list[timedelta]:
    """Return after how long any tier takes any step."""
    every = (
        (rules.idle_warn, rules.idle_lend, rules.idle_requeue, rules.idle_end)
        for _, rules in policy.tiers
    )
    return [after for tier in every for after in tier if after]


def _pause(policy: Policy) -> float:
    """Return the seconds until the next look: a quarter of the shortest step, a minute at most."""
    shortest = min((after.total_seconds() for after in _steps(policy)), default=4 * _SECONDS)
    return max(_LEAST_SECONDS, min(_SECONDS, shortest / 4))
