"""When would each waiting job start? The planner itself is asked, beside the cycle."""

import asyncio
from datetime import datetime

from scheduler.clock import Clock
from scheduler.core.forecast import STEPS, forecast
from scheduler.core.model import Snapshot
from scheduler.core.policy import Policy
from scheduler.core.world import World
from scheduler.loops.cycle import CycleLoop

_SECONDS = 5.0
# A forecast costs about a cycle per step: a long queue is looked at less far ahead.
_LONG_QUEUE, _FEWER_STEPS = 500, 3
# The share of a core that forecasts may take: they share it with everything else here.
_SHARE = 0.05


class ForecastLoop:
    """Keeps `starts`, by job id, of the jobs that wait."""

    name = "forecast"
    bell = "forecast"

    def __init__(self, cycle: CycleLoop, clock: Clock) -> None:
        self._cycle = cycle
        self._clock = clock
        self.starts: dict[str, datetime] = {}

    def reset(self) -> None:
        """Forget what was forecast."""
        self.starts.clear()

    async def step(self) -> float:
        """Forecast once, where anything waits."""
        found = await self._cycle.looked_at()
        if found is None or not found[1].jobs:
            self.reset()
            return _SECONDS
        policy, snapshot = found
        began = self._clock.monotonic()
        starts = await asyncio.to_thread(_forecast, policy, snapshot, self._clock.now())
        # Changed in place: the API holds this very mapping.
        self.starts.clear()
        self.starts.update(starts)
        return max(_SECONDS, (self._clock.monotonic() - began) / _SHARE)


def _forecast(policy: Policy, snapshot: Snapshot, now: datetime) -> dict[str, datetime]:
    steps = STEPS if len(snapshot.jobs) < _LONG_QUEUE else _FEWER_STEPS
    starts = forecast(World(policy, snapshot), policy, now, steps)
    return {str(job): start for job, start in starts.items()}
