"""One run as the simulated site knows it: when it works, and what ends it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from scheduler.core.model import Run, RunId
from scheduler.sim.history import EndedBy, Work

_NOTHING = timedelta(0)


@dataclass(frozen=True, slots=True)
class Costs:
    """What a preemption costs a job, besides waiting.

    `restart` is spent by every attempt but the first before it gets on with its work.
    Work is kept each `checkpoint_every` of progress, and all is lost where that is None.
    """

    restart: timedelta = _NOTHING
    checkpoint_every: timedelta | None = None

    def kept(self, worked: timedelta) -> timedelta:
        """Return the part of an attempt's work that its last checkpoint kept."""
        every = self.checkpoint_every
        return _NOTHING if every is None else every * (worked // every)


@dataclass(slots=True)
class Active:
    """A run that holds GPUs. `begun_at` is None while others still drain on them (R8.6).

    `overhead` is spent before work goes on, `todo` is the work that was left at its lease.
    """

    work: Work
    run: Run
    overhead: timedelta
    todo: timedelta
    begun_at: datetime | None = None
    waits_for: set[RunId] = field(default_factory=set)
    end_at: datetime | None = None
    ends_by: EndedBy = EndedBy.COMPLETED

    def foresee(self) -> datetime | None:
        """Work out when it ends, and by what, as far as is known; return that time."""
        self.end_at = None
        stop_at, begun_at = self.run.stop_at, self.begun_at
        if begun_at is not None:
            done_at = begun_at + self.overhead + self.todo
            if done_at <= self.run.ends_by:
                self.end_at, self.ends_by = done_at, EndedBy.COMPLETED
            else:
                self.end_at, self.ends_by = self.run.ends_by, EndedBy.TIME_LIMIT
        if stop_at is not None and (self.end_at is None or stop_at < self.end_at):
            self.end_at, self.ends_by = stop_at, EndedBy.PREEMPTED
        return self.end_at

    def worked(self, now: datetime) -> timedelta:
        """Return the progress that this attempt has made until `now`, kept or not."""
        if self.begun_at is None:
            return _NOTHING
        return max(_NOTHING, now - self.begun_at - self.overhead)

    def checkpointed_at(self, now: datetime, every: timedelta) -> datetime | None:
        """Return when this attempt last wrote a checkpoint, None where it has not yet."""
        kept = self.worked(now) // every
        if self.begun_at is None or not kept:
            return None
        return self.begun_at + self.overhead + every * kept
