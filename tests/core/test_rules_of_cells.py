"""R11: work that nobody may take back leaves every other account its guaranteed nodes."""

from tests import build
from tests.build import DAY, NOON
from tests.core.small import SHARED, decide, started


def wide(**more):
    """`a` holds 6 of hub-1 and wants one there and one on the node that `b` is promised."""
    mine = build.run("r1", "a", {"hub-1": range(6)})
    job = build.job("j1", "a", 1, 2, preemptible=False, **more)
    return decide(SHARED, build.snapshot(build.nodes(), mine, job))


def test_r11_a_start_in_quota_never_takes_the_last_node_that_another_is_guaranteed():
    assert started(wide()) == []


def test_r12_an_aged_job_is_not_kept_out_by_the_cells_of_others():
    assert started(wide(submitted_at=NOON - DAY)) == ["j1"]
