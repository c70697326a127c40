"""How a run ended, decided from what Ray says and from what was asked of it. Pure.

The rule for checkpoints: a run that is asked to leave finds `COMMONPOOL_CHECKPOINT_FILE`.
One that then writes the file's `.done` (`commonpool.checkpointed()`) and leaves, or that
leaves with code 85, was preempted and its job comes back. One that exits by itself
without either has finished, well or badly, and that result stands. One that stays is
killed when its time is up, which is preemption too.
"""

from dataclasses import dataclass
from datetime import timedelta

from agents.site.records import Ending, RunRecord
from scheduler.core.model import RunState

CHECKPOINTED_EXIT_CODE = 85


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """What the engine says about a program that is over: `state` is its own word for it."""

    state: RunState  # succeeded, failed or stopped
    message: str = ""
    error_type: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the hub is told in the end."""

    state: RunState
    message: str
    error_type: str | None = None
    exit_code: int | None = None


def settle(end: ProgramEnd | None, record: RunRecord, *, acknowledged: bool) -> Outcome:
    """Return a run's outcome; `end` None means that it was ended with no word from the engine."""
    reason = record.stop_reason
    if end is not None and _stands(end, record, acknowledged=acknowledged):
        return Outcome(end.state, end.message, end.error_type, end.exit_code)
    if reason is None:
        message = end.message if end else "ended at the site"
        return Outcome(RunState.STOPPED, message or "stopped at the site by someone else")
    return _ended_for(reason, record, end.exit_code if end else None)


def _stands(end: ProgramEnd, record: RunRecord, *, acknowledged: bool) -> bool:
    """Say whether the program's own result counts, rather than why it was asked to leave."""
    if end.state is RunState.STOPPED:
        return False
    if record.ending is not None:  # We killed it: only success can be its own doing.
        return end.state is RunState.SUCCEEDED
    left = acknowledged or end.exit_code == CHECKPOINTED_EXIT_CODE
    return not (record.signalled_at is not None and left)


def _ended_for(reason: Ending, record: RunRecord, exit_code: int | None) -> Outcome:
    match reason:
        case Ending.CANCELLED:
            return Outcome(RunState.STOPPED, "cancelled", None, exit_code)
        case Ending.ENDED_IDLE:
            return Outcome(RunState.STOPPED, "its GPUs did nothing for too long", None, exit_code)
        case Ending.RECALLED | Ending.SHARES | Ending.RESERVED | Ending.DRAINED | Ending.IDLE:
            return Outcome(RunState.PREEMPTED, _recall_message(record), None, exit_code)
        case Ending.TIME_LIMIT:
            limit = timedelta(seconds=round(record.lease.time_limit_seconds))
            text = f"time limit of {limit} reached"
            return Outcome(RunState.FAILED, text, "COMMONPOOL_TIME_LIMIT", exit_code)
        case Ending.BIND_EXPIRED:
            text = f"did not start by {record.lease.bind_by:%Y-%m-%d %H:%M:%S} UTC"
            if record.message:
                text += f": {record.message}"
            return Outcome(RunState.LOST, text, "COMMONPOOL_BIND_EXPIRED", exit_code)
        case Ending.UNLISTED:
            text = "the hub no longer lists this lease, so the run was ended"
            return Outcome(RunState.STOPPED, text, "COMMONPOOL_UNLISTED", exit_code)


def _recall_message(record: RunRecord) -> str:
    if record.started_at is None:
        return "recalled before it started"
    asked, saved = record.signalled_at, record.checkpointed_at
    state = "after a checkpoint" if asked and saved and saved >= asked else "without a checkpoint"
    if record.ending is None:
        return f"recalled; left {state}"
    return f"recalled; killed at the end of its notice, {state}"
