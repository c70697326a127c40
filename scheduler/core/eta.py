"""An expected start is a statement: told with an interval, held against what came, corrected.

The interval that the forecast gives knows today's queue and nothing of who comes later and
goes first. So each end is moved by what earlier intervals were wrong by: as far as would
have made nine of ten of the latest hold on that side. A job's first interval counts.

Source: conformalized quantile regression (Y. Romano, E. Patterson, E. Candes, NeurIPS
2019), each side for itself, on the logarithm of waits.
"""

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import exp, log

from scheduler.core.model import Job, JobId, Run
from scheduler.core.predict import HIGH, quantile

LATEST = 100
"""Settled intervals that the correction looks back on."""

LEAST = 10
"""Settled intervals without which nothing is corrected."""

_SHORTEST = timedelta(seconds=30)  # waits below count alike: nobody plans by seconds
_MOST = 4.0  # of a correction: an end is moved by a factor of 55 at most
_LEAST_SHRINK = -0.7  # and to the half at least


@dataclass(frozen=True, slots=True)
class Eta:
    """An expected start: within `low`..`high` in four cases of five; None is beyond the horizon.

    `informed` is whether run times of earlier jobs went into it, or limits alone.
    """

    low: datetime
    likely: datetime | None
    high: datetime | None
    informed: bool = True

    def holds(self, started_at: datetime) -> bool:
        """Return whether a start was within the interval."""
        return self.low <= started_at and (self.high is None or started_at <= self.high)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the first interval that a job was told."""

    job: JobId
    eta: Eta
    started_at: datetime

    @property
    def hit(self) -> bool:
        """Return whether the job started within the interval."""
        return self.eta.holds(self.started_at)


@dataclass(frozen=True, slots=True)
class _Promise:
    """What was told at `made_at`, and what the forecast alone would have said."""

    made_at: datetime
    raw: Eta
    told: Eta


class Score:
    """How often intervals held, and by how much the next ones are to be moved."""

    def __init__(self, most: int = 100_000) -> None:
        """Follow at most so many jobs at once."""
        self.hits = 0
        self.misses = 0
        self._most = most
        self._open: dict[JobId, _Promise] = {}
        self._too_early: deque[float] = deque(maxlen=LATEST)
        self._too_late: deque[float] = deque(maxlen=LATEST)

    @property
    def rate(self) -> float | None:
        """Return the part of intervals that held; None before any was settled."""
        settled = self.hits + self.misses
        return self.hits / settled if settled else None

    def corrected(self, etas: Mapping[JobId, Eta], now: datetime) -> Mapping[JobId, Eta]:
        """Return the intervals as they are to be told."""
        earlier, later = exp(-_correction(self._too_early)), exp(_correction(self._too_late))
        if earlier == later == 1.0:
            return etas
        return {job: _moved(eta, now, earlier, later) for job, eta in etas.items()}

    def promise(
        self, raw: Mapping[JobId, Eta], told: Mapping[JobId, Eta], now: datetime
    ) -> Mapping[JobId, Eta]:
        """Take in what was forecast and told; return what is the first told of its job."""
        new = sorted(job for job in told if job not in self._open)
        new = new[: max(0, self._most - len(self._open))]
        for job in new:
            self._open[job] = _Promise(now, raw[job], told[job])
        return {job: told[job] for job in new}

    def settle(self, jobs: Mapping[JobId, Job], runs: Collection[Run]) -> tuple[Settled, ...]:
        """Settle what has started since; forget what neither waits nor runs."""
        settled, still = [], {job: self._open[job] for job in self._open if job in jobs}
        for run in sorted(runs, key=lambda run: run.id):
            promise = self._open.get(run.job)
            if promise is None or run.job in jobs:
                continue
            if run.started_at is None:
                still[run.job] = promise  # leased, and about to start
            else:
                settled.append(Settled(run.job, promise.told, run.started_at))
                self._learn(promise, run.started_at)
        self._open = still
        hits = sum(one.hit for one in settled)
        self.hits += hits
        self.misses += len(settled) - hits
        return tuple(settled)

    def _learn(self, promise: _Promise, started_at: datetime) -> None:
        waited = _log(started_at - promise.made_at)
        self._too_early.append(_log(promise.raw.low - promise.made_at) - waited)
        if promise.raw.high is not None:
            self._too_late.append(waited - _log(promise.raw.high - promise.made_at))


def _log(wait: timedelta) -> float:
    return log(max(wait, _SHORTEST) / _SHORTEST)


def _correction(wrong_by: Collection[float]) -> float:
    """Return by how much an end has to move so that nine of ten would have held."""
    if len(wrong_by) < LEAST:
        return 0.0
    return min(max(quantile(sorted(wrong_by), HIGH), _LEAST_SHRINK), _MOST)


def _moved(eta: Eta, now: datetime, earlier: float, later: float) -> Eta:
    """Move the ends, and keep what is likely between them."""
    likely = eta.likely
    low = now + max(eta.low - now, timedelta(0)) * earlier
    if likely is not None:
        low = min(low, likely)
    if low - now < _SHORTEST:
        low = now
    if eta.high is None:
        return replace(eta, low=low)
    high = now + max(eta.high - now, _SHORTEST) * later
    return replace(eta, low=low, high=max(high, likely or low))
