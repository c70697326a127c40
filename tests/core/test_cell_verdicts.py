"""What a job is told that only other accounts' guaranteed cells keep out (R11)."""

from scheduler.core.explain import Reason
from scheduler.core.plan import plan
from scheduler.core.world import World
from tests import build
from tests.build import NOON


def test_a_job_kept_out_by_cells_is_not_told_that_its_own_planned_start_is_in_the_way():
    """Found live: two half nodes of an idle hub whose four nodes are guaranteed, node by node."""
    policy = build.policy(
        accounts=(
            build.account("national", None),
            build.account("arl", "national"),
            build.account("state-u", "national"),
        ),
        pools=(build.pool("hub", "national", 2),),
        quotas=(build.quota("arl", 8), build.quota("state-u", 8)),
    )
    job = build.job("gang", "arl", gpus=4, count=2)
    snapshot = build.snapshot(job, *build.nodes())
    found = plan(World(policy, snapshot), policy, NOON)
    assert found.starts == ()
    (hold,) = found.holds
    assert [verdict.reason for verdict in hold.verdicts] == [Reason.CELL]
