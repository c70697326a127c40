"""What a cycle tries on a world, and how it is taken back: planning leaves no trace.

What is a sum is not taken back start by start: quotas once for all starts that were charged
alike, what is counted by name from copies, and the floor from what each node was before.
"""

from collections import Counter
from datetime import datetime

from scheduler.core.decisions import Preempt, Start
from scheduler.core.model import AccountName, Job, PoolId, QuotaClass, Run
from scheduler.core.ordering import Kind
from scheduler.core.world import World


class Trial:
    """Starts and preemptions on a world, from when it is made until they are taken back."""

    def __init__(self, world: World, now: datetime) -> None:
        world.floor.mark()
        self._world = world
        self._now = now
        self._done: list[tuple[Job, Kind, Run] | Run] = []
        self._version = world.version
        self._claims, self._turnovers = dict(world.claims), dict(world.turnovers)
        self._by_user, self._lent = dict(world.held_by_user), dict(world.lent)
        self._in_use, self._committed = dict(world.use.now), dict(world.use.budgets.committed)

    @property
    def is_current(self) -> bool:
        """Return whether the world is still the one that was planned on."""
        return self._world.version == self._version

    def start(self, job: Job, kind: Kind, start: Start) -> Run:
        """Start a job."""
        run = self._world.try_start(job, kind, start, self._now)
        self._done.append((job, kind, run))
        return run

    def preempt(self, preempt: Preempt) -> None:
        """Tell a run to end."""
        self._done.append(self._world.runs[preempt.run])
        self._world.advance_by((preempt,), (), self._now)

    def take_back(self) -> None:
        """Bring the world back to what it was."""
        world, charged = self._world, Counter[tuple[PoolId, AccountName, QuotaClass]]()
        with world.floor.undo():
            for done in reversed(self._done):
                match done:
                    case Run():
                        world.put_run(done)
                    case (job, kind, run):
                        gpus = run.gpus
                        self._end(run, gpus)
                        world.waiting.put_back(job, kind)
                        if run.over is None and run.shape.reservation is None:
                            charged[run.pool, run.account, run.quota_class] += gpus
        for (pool, account, quota_class), gpus in charged.items():
            world.quotas[pool].charge(account, quota_class, -gpus)
        self._restore()

    def _end(self, run: Run, gpus: int) -> None:
        world = self._world
        del world.runs[run.id]
        if run.over is not None:
            world.lending.drop(run)
            return
        world.floor.take_back(run)
        world.rooms.touch(run.pool)
        world.expect_no_more(run, gpus)

    def _restore(self) -> None:
        world = self._world
        world.version = self._version
        world.claims, world.turnovers = dict(self._claims), dict(self._turnovers)
        world.held_by_user, world.lent = dict(self._by_user), dict(self._lent)
        world.use.now = dict(self._in_use)
        world.use.budgets.committed = dict(self._committed)
