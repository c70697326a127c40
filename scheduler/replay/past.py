"""A recording as a history that can be played again: what was asked for, how long it ran."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from scheduler.core.model import Job, JobId, Run, RunId
from scheduler.core.snapshot import DropRun, Entity, Event, Put
from scheduler.core.whatif import PastJob
from scheduler.replay.recording import Recording


def past_jobs(recordings: Iterator[Recording]) -> tuple[PastJob, ...]:
    """Return the jobs whose last run ended within the recordings, which are in order.

    A run that was recalled counts for nothing: its job came back and ran again.
    """
    told = _Told()
    for recording in recordings:
        snapshot = recording.snapshot
        for run in snapshot.runs.values():
            told.put(run)
        for job in snapshot.jobs.values():
            told.put(job)
        for frame in recording.frames:
            for event in frame.events:
                told.take(event, frame.now)
    return tuple(told.ended.values())


class _Told:
    """What is known of jobs and runs so far."""

    def __init__(self) -> None:
        self.ended: dict[JobId, PastJob] = {}
        self._runs: dict[RunId, Run] = {}

    def take(self, event: Event, now: datetime) -> None:
        if isinstance(event, Put):
            self.put(event.entity)
        elif isinstance(event, DropRun):
            run = self._runs.pop(event.id, None)
            if run is not None and run.started_at is not None:
                self.ended[run.job] = PastJob(_job(run), max(now - run.started_at, now - now))

    def put(self, entity: Entity) -> None:
        if isinstance(entity, Run):
            self._runs[entity.id] = entity
        elif isinstance(entity, Job):
            self.ended.pop(entity.id, None)


def _job(run: Run) -> Job:
    """Return the job of a run as it was first submitted."""
    return Job(
        id=run.job,
        user=run.user,
        account=run.account,
        shape=replace(run.shape, reservation=None),
        priority=run.priority,
        submitted_at=run.submitted_at,
        sequence=run.sequence,
        time_limit=run.time_limit,
        name=run.name,
    )
