"""R1 and R8 where levels of the tree meet: what is kept at home, and who is over its nominal."""

import pytest

from scheduler.core.explain import Reason
from scheduler.core.model import QuotaClass
from tests import build
from tests.core.small import decide, reasons, started


@pytest.mark.parametrize("gpus", [1, 8])
@pytest.mark.parametrize("background", [False, True], ids=["borrower", "background"])
def test_r1_what_a_team_keeps_at_home_is_not_lent_to_outsiders_either(gpus, background):
    """The agreement's cap is the whole pool; half of it never leaves the team."""
    tree = [build.account("national", None), build.account("owner"), build.account("guest")]
    policy = build.policy(
        [*tree, build.account("team", "owner")],
        [build.pool(owner="owner")],
        [build.quota("team", 8, lend=0)],
        agreements=(build.agreement("all", "owner", "guest", cap=16),),
    )
    priority = {"priority": build.PriorityClass.BACKGROUND} if background else {}
    jobs = [build.job(f"j{n}", "guest", gpus=gpus, **priority) for n in range(20)]
    result = decide(policy, build.snapshot(build.nodes(), jobs))
    assert len(started(result)) * gpus == 8
    waits = next(hold for hold in result.holds if hold.job is not None)
    assert reasons(result, waits.job)["hub"] is Reason.QUOTA


def test_r8_2_a_level_that_both_share_makes_nobody_a_victim():
    """`a` is over its nominal by what a3 has since the policy changed; a2 is within its own."""
    tree = [build.account("national", None), build.account("a"), build.account("b")]
    teams = [build.account(name, "a") for name in ("a1", "a2", "a3")]
    policy = build.policy(
        [*tree, *teams],
        quotas=[
            build.quota("a", 8, borrow=8),
            build.quota("a1", 2, borrow=8),
            build.quota("a2", 6, borrow=8),
            build.quota("b", 8),
        ],
    )
    runs = [
        build.run("r1", "b", {"hub-2": range(6)}),
        build.run("r2", "a2", {"hub-1": range(6)}, quota_class=QuotaClass.BORROWED),
        build.run("r3", "a3", {"hub-1": [6, 7], "hub-2": [6, 7]}),
    ]
    scene = build.snapshot(build.nodes(), runs, build.job("j1", "a1", gpus=2))
    assert (decide(policy, scene).starts, decide(policy, scene).preempts) == ((), ())
