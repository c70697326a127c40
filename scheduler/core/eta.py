"""An expected start is a statement: told with an interval, held against what came, corrected.

The interval that the forecast gives knows today's queue and nothing of who comes later and
goes first. So each end is moved by what earlier intervals of such jobs were wrong by, as far
as makes nine of ten hold on that side (`calibration.py`). A job's first interval counts.

What is known before a job starts counts at once: that it still waits past the end it was
told is a miss already. Under a growing queue those who wait longest are told of last, and
an interval that learnt from starts alone would always be one of an easier time.

Source: conformalized quantile regression (Y. Romano, E. Patterson, E. Candes, NeurIPS
2019), each side for itself, on the logarithm of waits.
"""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import exp, log

from scheduler.core.calibration import EVERYTHING, End, Kinds
from scheduler.core.model import Job, JobId, Run

_SHORTEST = timedelta(seconds=30)  # waits below count alike: nobody plans by seconds


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


@dataclass(slots=True)
class _Promise:
    """What was told at `made_at`, and what the forecast alone would have said.

    `not_early` and `counted_late`: it was counted already that the job waits longer than that.
    """

    made_at: datetime
    raw: Eta
    told: Eta
    kinds: Kinds
    not_early: bool = False
    counted_late: bool = False

    def late_by(self, at: datetime) -> float | None:
        """Return by how much the forecast's end was too soon for a start then; None: open."""
        if self.raw.high is None:
            return None
        return _log(at - self.made_at) - _log(self.raw.high - self.made_at)


class Score:
    """How often intervals held, and by how much the next ones are to be moved."""

    def __init__(self, most: int = 100_000) -> None:
        """Follow at most so many jobs at once."""
        self.hits = 0
        self.misses = 0
        self._most = most
        self._open: dict[JobId, _Promise] = {}
        self._early = End()
        self._late = End()

    @property
    def rate(self) -> float | None:
        """Return the part of intervals that held; None before any was settled."""
        settled = self.hits + self.misses
        return self.hits / settled if settled else None

    def corrected(
        self, etas: Mapping[JobId, Eta], jobs: Mapping[JobId, Job], now: datetime
    ) -> Mapping[JobId, Eta]:
        """Return the intervals of waiting jobs as they are to be told."""
        early = self._early.corrections({})
        late = self._late.corrections(self._overdue(now))
        told: dict[JobId, Eta] = {}
        for job, eta in etas.items():
            kinds = _kinds(jobs[job])
            told[job] = _moved(eta, now, exp(-early.of(kinds)), exp(late.of(kinds)))
        return told

    def _overdue(self, now: datetime) -> Mapping[Hashable, list[float]]:
        """Return by how much jobs that wait past what they were told are late already."""
        found: dict[Hashable, list[float]] = {}
        for promise in self._open.values():
            late_by = promise.late_by(now) if promise.counted_late else None
            for kind in promise.kinds if late_by is not None else ():
                found.setdefault(kind, []).append(late_by or 0.0)
        return found

    def promise(
        self,
        raw: Mapping[JobId, Eta],
        told: Mapping[JobId, Eta],
        jobs: Mapping[JobId, Job],
        now: datetime,
    ) -> Mapping[JobId, Eta]:
        """Take in what was forecast and told; return what is the first told of its job."""
        new = sorted(job for job in told if job not in self._open)
        new = new[: max(0, self._most - len(self._open))]
        for job in new:
            self._open[job] = _Promise(now, raw[job], told[job], _kinds(jobs[job]))
        return {job: told[job] for job in new}

    def settle(
        self, jobs: Mapping[JobId, Job], runs: Collection[Run], now: datetime
    ) -> tuple[Settled, ...]:
        """Settle what has started until `now`; forget what neither waits nor runs."""
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
        for promise in still.values():
            self._note_wait(promise, now)
        hits = sum(one.hit for one in settled)
        self.hits += hits
        self.misses += len(settled) - hits
        return tuple(settled)

    def _learn(self, promise: _Promise, started_at: datetime) -> None:
        waited = _log(started_at - promise.made_at)
        self._early.learn(promise.kinds, _log(promise.raw.low - promise.made_at) - waited)
        late_by = promise.late_by(started_at)
        if late_by is not None:
            self._late.learn(promise.kinds, late_by)
        high = promise.told.high
        if not promise.not_early:
            self._early.count(missed=started_at < promise.told.low)
        if not promise.counted_late and high is not None:
            self._late.count(missed=started_at > high)

    def _note_wait(self, promise: _Promise, now: datetime) -> None:
        """Count what is certain of a job that has not started until now."""
        high = promise.told.high
        if not promise.not_early and now >= promise.told.low:
            promise.not_early = True
            self._early.count(missed=False)
        if not promise.counted_late and high is not None and now > high:
            promise.counted_late = True
            self._late.count(missed=True)


def _kinds(job: Job) -> Kinds:
    """Return whose intervals are likely to be wrong alike: of like size, and of one account."""
    size = job.shape.gpus.bit_length()
    return ((job.account, size), size, EVERYTHING)


def _log(wait: timedelta) -> float:
    return log(max(wait, _SHORTEST) / _SHORTEST)


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
