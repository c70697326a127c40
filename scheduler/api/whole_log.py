"""Is a job's log whole? Ended runs may still have some of it on the way to the hub."""

from collections.abc import Sequence
from datetime import timedelta

from scheduler.api.deps import HubState
from scheduler.db.rows import JobRow, RunRow

# How long a site may take to deliver what it has seen, before a reader is let go without.
LOG_GRACE = timedelta(seconds=30)


def run_is_whole(hub: HubState, run: RunRow) -> bool:
    """Return whether a run ended and all the log that its site has seen of it is here."""
    if run.ended_at is None:
        return False
    if hub.files.has_log(run.job_id, run.id, run.log_bytes):
        return True
    return run.ended_at + LOG_GRACE <= hub.clock.now()


def job_is_whole(hub: HubState, job: JobRow, runs: Sequence[RunRow]) -> bool:
    """Return whether a job ended, and no more will come of any attempt's log."""
    return job.state.is_terminal and all(run_is_whole(hub, run) for run in runs)
