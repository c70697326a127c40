"""What happened in a simulation, as values: attempts, ends, and what the planner was asked."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from scheduler.core.model import Job, JobId, Slot
from scheduler.core.recalls import Recall


class EndedBy(StrEnum):
    """How an attempt ended. Where several coincide the first of these counts."""

    COMPLETED = "completed"
    TIME_LIMIT = "time_limit"
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True)
class Work:
    """A job and what it has to do: `duration` is its run time where nothing interrupts it."""

    job: Job
    duration: timedelta


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run from the start of its work to its end; both alike where it never got to work."""

    job: JobId
    number: int
    start_at: datetime
    end_at: datetime
    ended_by: EndedBy
    slots: tuple[Slot, ...]

    @property
    def gpu_seconds(self) -> float:
        """Return for how long its GPUs were busy, in GPU-seconds."""
        gpus = sum(len(slot.gpus) for slot in self.slots)
        return gpus * (self.end_at - self.start_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that is over. `progress` is the work that got done: less only at a time limit."""

    work: Work
    end_at: datetime
    progress: timedelta
    attempts: int

    @property
    def jct(self) -> timedelta:
        """Return the completion time: from submission to the end."""
        return self.end_at - self.work.job.submitted_at

    @property
    def wait(self) -> timedelta:
        """Return all the time that was not progress: queueing, lost work and restarts."""
        return self.jct - self.progress


@dataclass(slots=True)
class Tally:
    """What the planner was asked and answered, counted while it happens.

    `held` are jobs that were told why they wait, at least once; `planned` are jobs that
    were promised a start on named nodes (R6). `planner_cpu` are CPU-seconds of planning and
    of carrying plans out on the world.
    """

    cycles: int = 0
    starts: int = 0
    preempts: int = 0
    held: set[JobId] = field(default_factory=set)
    planned: set[JobId] = field(default_factory=set)
    planner_cpu: float = 0.0

    @property
    def decisions(self) -> int:
        """Return starts, preemptions, and jobs that were told why they wait or when they start."""
        return self.starts + self.preempts + len(self.held) + len(self.planned)


@dataclass(frozen=True, slots=True)
class History:
    """A whole simulation. `lost_gpu_seconds` were run without progress, because of preemption."""

    begins_at: datetime
    gpus: int
    attempts: tuple[Attempt, ...]
    ended: tuple[Ended, ...]
    unfinished: tuple[Work, ...]
    lost_gpu_seconds: float
    tally: Tally
    recalls: tuple[Recall, ...] = ()
