"""What the site agent makes of what node agents say: all bind or none, fenced means asked after."""

from datetime import UTC, datetime

from agents.site.launched import Launched
from agents.site.records import Phase, RunRecord
from scheduler.core.model import Backend
from scheduler.wire.launches import LaunchPhase
from scheduler.wire.sites import LeasedNode, NodeLaunched
from tests.agents.fake_hub import a_lease

RUN = "cp-j1-1"
NODES = (LeasedNode(node="n1", gpus=(0,)), LeasedNode(node="n2", gpus=(0,)))


def a_record(phase):
    lease = a_lease(RUN, backend=Backend.RAY_PRIVATE, nodes=NODES)
    return RunRecord(lease=lease, phase=phase, reserved_at=datetime(2026, 1, 1, tzinfo=UTC))


def members(first, second, why=""):
    return (
        NodeLaunched(run=RUN, node="n1", phase=first, api="http://n1:1"),
        NodeLaunched(run=RUN, node="n2", phase=second, why=why),
    )


def test_who_has_not_bound_is_named_until_all_have():
    launched, record = Launched(), a_record(Phase.LAUNCHING)
    assert launched.missing(record) == "n1 (unknown), n2 (unknown)"
    launched.heard(1, members(LaunchPhase.UP, LaunchPhase.STARTING))
    assert launched.missing(record) == "n2 (starting)"
    launched.heard(2, members(LaunchPhase.UP, LaunchPhase.UP))
    assert launched.missing(record) == ""
    assert launched.failed(RUN) == ""


def test_one_member_that_is_over_is_the_end_of_the_run_with_its_reason():
    launched = Launched()
    launched.heard(1, members(LaunchPhase.UP, LaunchPhase.FENCED, why="Ray ended: no memory"))
    assert launched.failed(RUN) == "n2: Ray ended: no memory"


def test_a_run_is_fenced_only_by_an_answer_to_a_message_that_no_longer_wanted_it():
    launched = Launched()
    assert launched.wanted({RUN: a_record(Phase.LAUNCHING)}, 7) == (RUN,)
    launched.heard(6, members(LaunchPhase.NONE, LaunchPhase.NONE))
    assert not launched.is_fenced(RUN)
    launched.heard(7, members(LaunchPhase.NONE, LaunchPhase.NONE))
    assert not launched.is_fenced(RUN)
    assert launched.wanted({RUN: a_record(Phase.ENDED)}, 8) == ()
    launched.heard(8, members(LaunchPhase.FENCED, LaunchPhase.ENDING))
    assert not launched.is_fenced(RUN)
    launched.heard(9, members(LaunchPhase.FENCED, LaunchPhase.NONE))
    assert launched.is_fenced(RUN)


def test_an_answer_that_a_newer_one_overtook_changes_nothing():
    launched = Launched()
    launched.heard(3, members(LaunchPhase.FENCED, LaunchPhase.FENCED))
    launched.heard(2, members(LaunchPhase.UP, LaunchPhase.UP))
    assert launched.is_fenced(RUN)
