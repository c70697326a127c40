"""How a run ended, by what the program did and what was asked of it."""

from datetime import UTC, datetime, timedelta

import pytest

from agents.site.outcome import Outcome, ProgramEnd, settle
from agents.site.records import Ending, Phase, RunRecord
from scheduler.core.model import RunState, StopReason
from scheduler.wire.sites import Wanted
from tests.agents.fake_hub import a_lease

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
DONE = ProgramEnd(RunState.SUCCEEDED, "fine", None, 0)
CRASHED = ProgramEnd(RunState.FAILED, "boom", "JOB_ENTRYPOINT_COMMAND_ERROR", 1)
LEFT = ProgramEnd(RunState.FAILED, "exit code 85", "JOB_ENTRYPOINT_COMMAND_ERROR", 85)
STOPPED = ProgramEnd(RunState.STOPPED, "stopped", None, -15)
RECALLED, CANCELLED, LIMIT = StopReason.RECALLED, StopReason.CANCELLED, "limit"


def record(asked=None, *, ending=None) -> RunRecord:
    changes = {"wanted": Wanted.STOP, "stop_reason": asked} if isinstance(asked, StopReason) else {}
    return RunRecord(
        lease=a_lease(time_limit_seconds=90, bind_by=NOON + timedelta(minutes=1), **changes),
        phase=Phase.SUBMITTED,
        reserved_at=NOON,
        started_at=NOON,
        signalled_at=NOON if asked else None,
        ending=ending,
    )


@pytest.mark.parametrize(
    ("asked", "killed", "end", "acknowledged", "state"),
    [
        pytest.param(None, None, DONE, False, "succeeded", id="by itself, well"),
        pytest.param(None, None, CRASHED, False, "failed", id="by itself, badly"),
        pytest.param(None, None, LEFT, False, "failed", id="85 means nothing unasked"),
        pytest.param(None, None, STOPPED, False, "stopped", id="someone stopped it at the site"),
        pytest.param(RECALLED, None, DONE, False, "succeeded", id="finished while recalled"),
        pytest.param(RECALLED, None, DONE, True, "preempted", id="checkpointed and left with 0"),
        pytest.param(RECALLED, None, LEFT, False, "preempted", id="left with 85"),
        pytest.param(RECALLED, None, CRASHED, False, "failed", id="crashed while recalled"),
        pytest.param(RECALLED, None, CRASHED, True, "preempted", id="crashed, but saved before"),
        pytest.param(RECALLED, Ending.RECALLED, STOPPED, False, "preempted", id="killed in time"),
        pytest.param(RECALLED, Ending.RECALLED, None, False, "preempted", id="killed, no answer"),
        pytest.param(RECALLED, Ending.RECALLED, CRASHED, False, "preempted", id="died of the kill"),
        pytest.param(RECALLED, Ending.RECALLED, DONE, False, "succeeded", id="just finished"),
        pytest.param(CANCELLED, Ending.CANCELLED, STOPPED, False, "stopped", id="cancelled"),
        pytest.param(CANCELLED, Ending.CANCELLED, None, True, "stopped", id="cancelled after all"),
        pytest.param(LIMIT, None, DONE, False, "succeeded", id="finished within the grace"),
        pytest.param(LIMIT, None, DONE, True, "failed", id="out of time, saved and left"),
        pytest.param(LIMIT, Ending.TIME_LIMIT, STOPPED, False, "failed", id="out of time, killed"),
        pytest.param(None, Ending.BIND_EXPIRED, None, False, "lost", id="never started"),
        pytest.param(None, Ending.UNLISTED, STOPPED, False, "stopped", id="not listed any more"),
    ],
)
def test_the_outcome_is(asked, killed, end, acknowledged, state):
    outcome = settle(end, record(asked, ending=killed), acknowledged=acknowledged)
    assert outcome.state == RunState(state)


def test_a_time_limit_is_named():
    outcome = settle(STOPPED, record(LIMIT, ending=Ending.TIME_LIMIT), acknowledged=False)
    assert outcome == Outcome(
        RunState.FAILED, "time limit of 0:01:30 reached", "COMMONPOOL_TIME_LIMIT", -15
    )


def test_a_programs_own_end_is_passed_on_as_it_is():
    assert settle(CRASHED, record(), acknowledged=False) == Outcome(
        RunState.FAILED, "boom", "JOB_ENTRYPOINT_COMMAND_ERROR", 1
    )


def test_a_cancelled_job_does_not_come_back_although_it_was_recalled_before():
    held = record(RECALLED)
    cancelled = held.lease.model_copy(update={"stop_reason": CANCELLED})
    outcome = settle(DONE, held.model_copy(update={"lease": cancelled}), acknowledged=True)
    assert outcome.state is RunState.STOPPED
