"""When will each waiting job start? The planner itself is asked, beside the cycle.

Run times are learnt from jobs as they end. The interval that a job is first told is a
statement: when the job starts it is held against it, and the hit rate is published.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from scheduler import metrics
from scheduler.clock import Clock
from scheduler.core.eta import Eta, Score, Settled
from scheduler.core.forecast import Foresight, effort, outlook
from scheduler.core.model import JobId
from scheduler.core.policy import Policy
from scheduler.core.predict import Predictor
from scheduler.core.snapshot import Snapshot
from scheduler.core.whatif import PastJob
from scheduler.loops.cycle import CycleLoop

_SECONDS = 5.0
# The share of a core that forecasts may take: they share it with everything else here.
_SHARE = 0.05
_LEARN_FROM = timedelta(days=30)

Past = Callable[[datetime], Awaitable[Sequence[PastJob]]]
"""Returns the jobs that ended after an instant."""


class EtaLedger(Protocol):
    """Where intervals are kept beyond this process."""

    async def record(self, etas: Mapping[JobId, Eta], made_at: datetime) -> None:
        """Keep the interval that each job was first told."""
        ...

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Keep what became of them."""
        ...


async def nothing_ended(since: datetime) -> Sequence[PastJob]:
    """Return no past jobs: nothing is learnt."""
    del since
    return ()


class ForecastLoop:
    """Keeps `etas`, and their likely `starts`, by job id, of the jobs that wait."""

    name = "forecast"
    bell = "forecast"

    def __init__(
        self,
        cycle: CycleLoop,
        clock: Clock,
        past: Past = nothing_ended,
        ledger: EtaLedger | None = None,
    ) -> None:
        self._cycle = cycle
        self._clock = clock
        self._past = past
        self._ledger = ledger
        self._learnt_until: datetime | None = None
        self._learnt: set[JobId] = set()
        self.starts: dict[str, datetime] = {}
        self.etas: dict[str, Eta] = {}
        self.predictor = Predictor()
        self.score = Score()

    def reset(self) -> None:
        """Forget what was forecast; what was learnt stays true."""
        self.starts.clear()
        self.etas.clear()

    async def step(self) -> float:
        """Settle what has started, and forecast once, where anything waits."""
        found = await self._cycle.looked_at()
        if found is None:
            self.reset()
            return _SECONDS
        policy, snapshot = found
        await self._settle(snapshot)
        if not snapshot.jobs:
            self.reset()
            return _SECONDS
        await self._learn()
        began, now = self._clock.monotonic(), self._clock.now()
        etas = await asyncio.to_thread(self._look_ahead, policy, snapshot, now)
        await self._tell(etas, snapshot, now)
        return max(_SECONDS, (self._clock.monotonic() - began) / _SHARE)

    def _look_ahead(self, policy: Policy, snapshot: Snapshot, now: datetime) -> Mapping[JobId, Eta]:
        foresight = Foresight(policy, self.predictor)
        return outlook(foresight, snapshot, now, *effort(len(snapshot.jobs)))

    async def _tell(self, etas: Mapping[JobId, Eta], snapshot: Snapshot, now: datetime) -> None:
        told = self.score.corrected(etas, snapshot.jobs, now)
        # Changed in place: the API holds these very mappings.
        self.reset()
        self.etas.update({str(job): eta for job, eta in told.items()})
        self.starts.update({str(j): e.likely for j, e in told.items() if e.likely is not None})
        new = self.score.promise(etas, told, snapshot.jobs, now)
        if new and self._ledger is not None:
            await self._ledger.record(new, now)

    async def _settle(self, snapshot: Snapshot) -> None:
        settled = self.score.settle(snapshot.jobs, snapshot.runs.values(), self._clock.now())
        for one in settled:
            metrics.ETA_HITS.labels(str(one.hit).lower()).inc()
        if self.score.rate is not None:
            metrics.ETA_HIT_RATE.set(self.score.rate)
        if settled and self._ledger is not None:
            await self._ledger.settle(settled)

    async def _learn(self) -> None:
        """Take in the jobs that ended since the last look, the earliest first."""
        now = self._clock.now()
        since = self._learnt_until or now - _LEARN_FROM
        # One that ended just before the last look may be told only now.
        past = await self._past(since - timedelta(minutes=1))
        for one in sorted(past, key=lambda one: (one.job.submitted_at, one.job.sequence)):
            if one.job.id not in self._learnt:
                job = one.job
                seconds = one.ran.total_seconds()
                self.predictor.observe(job.user, job.account, job.shape.gpus, job.name, seconds)
        self._learnt = {one.job.id for one in past}
        self._learnt_until = now
