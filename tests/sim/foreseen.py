"""Waiting jobs are told starts during a simulation, as the hub's forecast loop tells them.

The planner, the predictor and the forecast are the real ones; what is new is only who asks.
The same events can be played again with another score, which takes no planning.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from scheduler.core.eta import Eta, Score
from scheduler.core.forecast import Foresight, effort, outlook
from scheduler.core.model import Job, JobId, Run
from scheduler.core.predict import Predictor
from scheduler.sim.engine import Engine

MINUTE, HOUR = 60, 3600


@dataclass(frozen=True)
class Look:
    """What a forecast loop saw at one instant: first intervals, not corrected, and starts."""

    now: datetime
    raw: Mapping[JobId, Eta]
    jobs: Mapping[JobId, Job]
    started: tuple[Run, ...]


class _EnoughError(Exception):
    """As many starts were seen as were asked for."""


class Foreseeing(Engine):
    """An engine beside which a hub forecasts, at most once in `every`, where jobs are new."""

    every = timedelta(minutes=1)
    most = 10**9
    """So many starts are enough."""

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.looks: list[Look] = []
        self._waiting: set[JobId] = set()
        self._seen: set[JobId] = set()
        self._due: datetime | None = None

    def looks_of(self, setting):
        """Replay the jobs, and return what a hub would have seen."""
        with suppress(_EnoughError):
            self.run(setting.works, setting.begins_at)
        return self.looks

    def _decide(self, now):
        super()._decide(now)
        world = self.world
        # A site would say that a run works as soon as nobody drains before it.
        started = tuple(
            run if run.started_at else replace(run, started_at=now)
            for run in (self._active[f"cp-{job}-{self._attempts[job]}"].run for job in self._gone())
        )
        self._waiting -= {run.job for run in started}
        raw = self._foresee_new(now)
        jobs = {job: world.jobs[job] for job in raw}
        if raw or started:
            self.looks.append(Look(now, raw, jobs, started))
            self.most -= len(started)
        if self.most <= 0:
            raise _EnoughError

    def _gone(self):
        """Return the jobs that were told a start and that work now, in order."""
        leased = sorted(job for job in self._waiting if job not in self.world.jobs)
        active = ((job, self._active[f"cp-{job}-{self._attempts[job]}"]) for job in leased)
        return [job for job, one in active if one.begun_at is not None]

    def _foresee_new(self, now) -> Mapping[JobId, Eta]:
        world = self.world
        fresh = world.jobs.keys() - self._seen
        if not fresh or (self._due is not None and now < self._due):
            return {}
        foresight = Foresight(world.policy, self._predictor or Predictor())
        raw = outlook(foresight, world.snapshot(), now, *effort(len(world.jobs)))
        raw = {job: raw[job] for job in sorted(fresh & raw.keys())}
        self._seen |= raw.keys()
        self._waiting |= raw.keys()
        self._due = now + self.every
        return raw


def replayed(looks, score=None):
    """Return what became of each first interval, in the order in which it was settled."""
    score, settled, waiting = score or Score(), [], {}
    for look in looks:
        for run in look.started:
            del waiting[run.job]
        settled += score.settle(waiting, look.started, look.now)
        if look.raw:
            waiting |= look.jobs
            told = score.corrected(look.raw, look.jobs, look.now)
            score.promise(look.raw, told, look.jobs, look.now)
    return settled


def rows(load: str, count: int, seed: int):
    """Return jobs (submission, seconds, GPUs, tenant) for a cluster of 32 GPUs.

    `steady` asks for 9 GPUs of 10, `growing` for 8 of 10 at first and 15 in the end,
    `shrinking` for twice what there is and then for half, `bursty` for half in bursts.
    """
    random, at, found = Random(seed), 0.0, []
    for number in range(count):
        gpus = random.choice((1, 1, 1, 2, 2, 4, 8, 16))
        tenant = random.choice("abc")
        seconds = min(random.lognormvariate(7.0 + 0.4 * "abc".index(tenant), 1.0), 12 * HOUR)
        found.append((int(at), max(1, int(seconds)), gpus, tenant))
        part = number / count
        each = 4.4 * 2950 / 32  # seconds of the whole cluster that a job takes, on average
        wanted = {
            "steady": 0.95,
            "growing": 0.8 + 0.7 * part,
            "shrinking": 2.0 if part < 0.35 else 0.5,
            "bursty": 0.6,
        }[load]
        gap = random.expovariate(wanted / each)
        if load == "bursty":
            gap = 20 * each / wanted if number % 20 == 19 else 5.0
        at += gap
    return found
