"""R11 of scheduling.md §3: whole nodes that others are guaranteed, one small example each."""

from datetime import datetime

from tests import build
from tests.build import DAY, NOON
from tests.core.small import SHARED, decide, started


def cramped(submitted_at: datetime = NOON):
    """Half of `a`'s node is broken and the rest in use; the other node is guaranteed to `b`."""
    mine = build.run("r1", "a", {"hub-1": range(4)})
    job = build.job("j1", "a", 2, submitted_at=submitted_at)
    nodes = [build.node("hub-1", gpus=4), build.node("hub-2")]
    return decide(SHARED, build.snapshot(nodes, mine, job))


def test_r11_a_start_in_quota_never_takes_the_last_node_that_another_is_guaranteed():
    assert started(cramped()) == []


def test_r12_an_aged_job_is_not_kept_out_by_the_cells_of_others():
    assert started(cramped(NOON - 4 * DAY)) == ["j1"]
