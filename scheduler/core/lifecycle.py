"""States of jobs and runs as tables: a move that is not listed does not happen."""

from enum import StrEnum

from scheduler.core.model import RunState, StopReason


class JobState(StrEnum):
    """What a person sees. `pending` again after a preempted or lost run."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_terminal(self) -> bool:
        """Return whether nothing more will happen to the job."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED)


RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.LEASED: frozenset(
        {
            RunState.STARTING,
            RunState.RUNNING,
            RunState.STOPPING,
            RunState.UNKNOWN,
            RunState.SUCCEEDED,
            RunState.FAILED,
            RunState.STOPPED,
            RunState.PREEMPTED,
            RunState.LOST,
        }
    ),
    RunState.STARTING: frozenset(
        {
            RunState.RUNNING,
            RunState.STOPPING,
            RunState.UNKNOWN,
            RunState.SUCCEEDED,
            RunState.FAILED,
            RunState.STOPPED,
            RunState.PREEMPTED,
            RunState.LOST,
        }
    ),
    RunState.RUNNING: frozenset(
        {
            RunState.STOPPING,
            RunState.UNKNOWN,
            RunState.SUCCEEDED,
            RunState.FAILED,
            RunState.STOPPED,
            RunState.LOST,
        }
    ),
    RunState.STOPPING: frozenset(
        {
            RunState.SUCCEEDED,
            RunState.FAILED,
            RunState.STOPPED,
            RunState.PREEMPTED,
            RunState.LOST,
        }
    ),
    RunState.UNKNOWN: frozenset(
        {
            RunState.STARTING,
            RunState.RUNNING,
            RunState.STOPPING,
            RunState.SUCCEEDED,
            RunState.FAILED,
            RunState.STOPPED,
            RunState.PREEMPTED,
            RunState.LOST,
        }
    ),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.STOPPED: frozenset(),
    RunState.PREEMPTED: frozenset(),
    RunState.LOST: frozenset(),
}


def advance(state: RunState, reported: RunState) -> RunState:
    """Return the state after a report: the reported one where the move is legal, else unchanged.

    Reports are level-triggered and may arrive twice or late, so an illegal move is
    not an error: a run that ended stays ended.
    """
    return reported if reported in RUN_MOVES[state] else state


def is_lost(ended: RunState, told: StopReason | None) -> bool:
    """Return whether a run was lost where nobody had told it to stop, so that its job may be why.

    One that did not bind never began, and one that was recalled would have gone anyway.
    """
    return ended is RunState.LOST and told is None


def job_after(ended: RunState, told: StopReason | None) -> JobState:
    """Return what becomes of a job whose run ended so; `pending` is a requeue.

    A run that finished by itself keeps its result even while it was told to stop. A
    recall or a lost node costs the person nothing but time; their own cancel, and the
    time limit they agreed to, are final. What fails on a node that is being drained is run
    again elsewhere: the node may be why (R19).
    """
    if ended is RunState.SUCCEEDED:
        return JobState.SUCCEEDED
    if told is StopReason.DRAINED:
        return JobState.PENDING
    if told is StopReason.ENDED_IDLE:
        return JobState.STOPPED
    if ended is RunState.FAILED or told is StopReason.TIME_LIMIT:
        return JobState.FAILED
    if told is StopReason.CANCELLED or (ended is RunState.STOPPED and told is None):
        return JobState.STOPPED
    return JobState.PENDING
