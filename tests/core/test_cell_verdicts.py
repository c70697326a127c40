"""What a job is told that only other accounts' guaranteed cells keep out (R11)."""

from scheduler.core.explain import Reason
from scheduler.core.plan import plan
from scheduler.core.world import World
from tests import build
from tests.build import NOON


def test_a_job_kept_out_by_cells_is_not_told_that_its_own_planned_start_is_in_the_way():
    """Half of the account's own node is broken, and the only other one is guaranteed to another."""
    policy = build.policy(
        accounts=(
            build.account("national", None),
            build.account("arl", "national"),
            build.account("state-u", "national"),
        ),
        pools=(build.pool("hub", "national", 2),),
        quotas=(build.quota("arl", 8), build.quota("state-u", 8)),
    )
    mine = build.run("r1", "arl", {"hub-1": range(4)})
    job = build.job("j1", "arl", gpus=2)
    snapshot = build.snapshot(job, mine, build.node("hub-1", gpus=4), build.node("hub-2"))
    found = plan(World(policy, snapshot), policy, NOON)
    assert found.starts == ()
    (hold,) = found.holds
    assert [verdict.reason for verdict in hold.verdicts] == [Reason.CELL]
