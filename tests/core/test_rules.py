"""Who gets GPUs: R1 to R3 and R8 to R10 of scheduling.md §3, one small example each."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.core.decisions import apply
from scheduler.core.explain import Reason
from scheduler.core.model import PriorityClass, QuotaClass, RunState, Sector
from scheduler.core.plan import plan
from scheduler.core.policy import Rules
from scheduler.core.snapshot import Snapshot, Usage
from scheduler.core.world import World
from tests import build
from tests.build import DAY, HOUR, MINUTE, NOON
from tests.core.small import ALL_BUSY, HALVES, SHARED, TREE, decide, reasons, started


def test_r1_an_account_within_its_nominal_is_in_quota():
    (start,) = decide(SHARED, build.snapshot(build.nodes(), build.job("j1", "a", 8))).starts
    assert start.quota_class is QuotaClass.IN_QUOTA
    assert "a holds 8 of its 8 GPUs" in start.why


def test_r1_beyond_nominal_it_borrows_and_the_first_level_that_fails_is_named():
    result = decide(SHARED, build.snapshot(build.nodes(), build.job("j1", "a", 8, 2)))
    (start,) = result.starts
    assert start.quota_class is QuotaClass.BORROWED
    assert "a holds 16 GPUs, beyond its nominal of 8" in start.why


def test_r1_borrowing_ends_at_borrow_max():
    policy = build.policy(TREE, quotas=[build.quota("a", 8, borrow=3), build.quota("b", 8)])
    jobs = [build.job(f"j{n}", "a", 4) for n in (1, 2, 3)]
    result = decide(policy, build.snapshot(build.nodes(), jobs))
    assert len(result.starts) == 2
    (hold,) = result.holds
    assert hold.verdicts[0].reason is Reason.QUOTA
    assert dict(hold.verdicts[0].numbers)["available"] == 3


def test_r1_what_an_account_keeps_at_home_is_never_lent():
    policy = build.policy(TREE, quotas=[build.quota("a", 8, borrow=8), build.quota("b", 8, lend=2)])
    jobs = [build.job(f"j{n}", "a", 1) for n in range(1, 17)]
    assert len(decide(policy, build.snapshot(build.nodes(), jobs)).starts) == 10


def test_r1_an_account_without_a_row_has_and_borrows_nothing():
    result = decide(SHARED, build.snapshot(build.nodes(), build.job("j1", "guest")))
    assert started(result) == []
    assert reasons(result, "j1") == {"hub": Reason.QUOTA}


LENT = build.policy(
    [build.account("national", None), build.account("lab"), build.account("guest")],
    [build.pool("hub", "lab")],
    agreements=(build.agreement("deal", "lab", "guest", cap=4),),
)


def test_r1_an_outsider_borrows_under_an_agreement_up_to_its_cap():
    jobs = [build.job("j1", "guest", 4), build.job("j2", "guest", 4)]
    result = decide(LENT, build.snapshot(build.nodes(), jobs))
    (start,) = result.starts
    assert (start.agreement, start.quota_class) == ("deal", QuotaClass.BORROWED)
    assert reasons(result, "j2") == {"hub": Reason.AGREEMENT_CAP}


@pytest.mark.parametrize(
    ("now", "borrows"),
    [
        pytest.param(NOON, True, id="within its dates it lends"),
        pytest.param(NOON.replace(year=2025), False, id="before valid_from it does not"),
        pytest.param(NOON.replace(year=2027), False, id="after valid_to it does not"),
    ],
)
def test_r1_an_agreement_is_valid_by_date(now, borrows):
    result = decide(LENT, build.snapshot(build.nodes(), build.job("j1", "guest")), now)
    assert bool(result.starts) == borrows
    if not borrows:
        assert reasons(result, "j1") == {"hub": Reason.SECTOR_AGREEMENT}


def test_r1_a_sector_may_be_the_borrower():
    deal = build.agreement("deal", "lab", Sector.INDUSTRY)
    policy = build.policy(
        [
            build.account("national", None),
            build.account("lab"),
            build.account("firm", sector=Sector.INDUSTRY),
            build.account("school"),
        ],
        [build.pool("hub", "lab")],
        agreements=(deal,),
    )
    jobs = [build.job("j1", "firm"), build.job("j2", "school")]
    result = decide(policy, build.snapshot(build.nodes(), jobs))
    assert started(result) == ["j1"]
    assert reasons(result, "j2") == {"hub": Reason.SECTOR_AGREEMENT}


def test_r1_a_person_holds_no_more_gpus_than_their_limit():
    policy = build.policy(users=(build.user("alex", max_gpus=4),))
    jobs = [build.job("j1", gpus=3), build.job("j2", gpus=2), build.job("j3", gpus=2, user="bo")]
    result = decide(policy, build.snapshot(build.nodes(), jobs))
    assert started(result) == ["j1", "j3"]
    assert reasons(result, "j2") == {None: Reason.USER_LIMIT}


def test_r2_classes_go_in_order_in_quota_borrowed_background():
    jobs = [
        build.job("j1", "a", 8, priority=PriorityClass.BACKGROUND),
        build.job("j2", "a", 8),
        build.job("j3", "a", 8),
        build.job("j4", "b", 8),
    ]
    three = build.policy(TREE, [build.pool(nodes=4)], [
        build.quota("a", 8, borrow=8), build.quota("b", 8, borrow=8)
    ])  # fmt: skip
    result = decide(three, build.snapshot(build.nodes(count=4), jobs))
    assert [start.quota_class.name for start in result.starts] == [
        "IN_QUOTA",
        "IN_QUOTA",
        "BORROWED",
        "BACKGROUND",
    ]


def test_r2_the_account_with_the_least_share_goes_first():
    jobs = [build.job("j1", "a", 8, 2), build.job("j2", "b", 8, 2)]
    spent = Usage(TREE[1].name, 1e6, NOON)
    result = decide(SHARED, build.snapshot(build.nodes(), jobs, spent))
    assert started(result) == ["j2"]


def test_r2_a_weight_of_two_takes_two_turns_for_one():
    tree = [TREE[0], build.account("a", weight=2), TREE[2]]
    jobs = [build.job(f"j{n}", "ab"[n % 2], 1) for n in range(24)]
    policy = build.policy(tree, [build.pool(nodes=2)], [build.quota("a", 12), build.quota("b", 4)])
    result = decide(policy, build.snapshot(build.nodes(), jobs))
    first = started(result)[:6]
    assert sum(int(name[1:]) % 2 == 0 for name in first) == 4


def test_r2_inside_a_leaf_priority_then_age_then_submission():
    jobs = [
        build.job("j1", "a", 8, submitted_at=NOON),
        build.job("j2", "a", 8, submitted_at=NOON - HOUR),
        build.job("j3", "a", 8, submitted_at=NOON - HOUR),
        build.job("j4", "a", 8, priority=PriorityClass.URGENT),
    ]
    world = World(SHARED, build.snapshot(build.nodes(), jobs))
    assert [world.position(job.id) for job in jobs] == [4, 2, 3, 1]
    assert started(plan(world, SHARED, NOON)) == ["j4", "j2"]


def test_r3_last_months_use_no_longer_holds_an_account_back():
    """A week-old balance has halved many times under a half-life of an hour."""
    jobs = [build.job("j1", "a", 8, 2), build.job("j2", "b", 8, 2)]
    old = Usage(TREE[1].name, 1e9, NOON - 7 * DAY)
    fresh = Usage(TREE[2].name, 100.0, NOON)
    policy = build.policy(TREE, quotas=HALVES, rules=Rules(half_life=HOUR))
    assert started(decide(policy, build.snapshot(build.nodes(), jobs, old, fresh))) == ["j1"]


def test_r3_a_run_counts_from_its_lease_on_whether_it_has_started_or_not():
    waiting = build.run(
        "r1", "a", {"hub-1": [0]}, state=RunState.LEASED, started_at=None, since=NOON - HOUR
    )
    jobs = [build.job("j1", "a", 8), build.job("j2", "b", 8)]
    policy = build.policy(TREE, [build.pool(nodes=2)], HALVES)
    result = decide(policy, build.snapshot(build.nodes(), waiting, jobs))
    assert started(result)[0] == "j2"


def recall_scene(**more) -> Snapshot:
    """`a` holds the whole hub, half of it borrowed from `b`, who now wants 8 GPUs."""
    return build.snapshot(
        build.nodes(),
        build.run("own", "a", {"hub-1": range(8)}),
        build.run("lent", "a", {"hub-2": range(8)}, quota_class=QuotaClass.BORROWED, **more),
        build.job("j1", "b", 8),
    )


def test_r8_r10_an_owner_takes_its_gpus_back_from_the_borrower():
    result = decide(SHARED, recall_scene())
    (start,), (preempt,) = result.starts, result.preempts
    assert (preempt.run, preempt.by) == ("cp-lent-1", "j1")
    assert start.after == {"cp-lent-1"}
    assert start.quota_class is QuotaClass.IN_QUOTA
    assert "takes back 8 GPUs" in start.why


def test_r8_1_a_borrower_does_not_preempt():
    scene = recall_scene()
    jobs = {"j1": build.job("j1", "b", 8, 2)}
    result = decide(SHARED, replace(scene, jobs=jobs))
    assert (result.starts, result.preempts) == ((), ())


def test_r8_2_an_in_quota_run_is_never_a_victim():
    snapshot = build.snapshot(
        build.nodes(),
        build.run("r1", "a", {"hub-1": range(8)}),
        build.run("r2", "b", {"hub-2": range(4)}),
        build.job("j1", "b", 8),
    )
    assert decide(SHARED, snapshot).preempts == ()


def test_r8_2_a_borrower_that_is_back_within_its_nominal_is_no_borrower():
    snapshot = build.snapshot(
        build.nodes(count=1),
        build.run("r1", "a", {"hub-1": range(8)}, quota_class=QuotaClass.BORROWED),
        build.job("j1", "b", 8),
    )
    assert decide(SHARED, snapshot).preempts == ()


def test_r8_6_a_requeued_victim_waits_for_its_successor_to_bind():
    job = build.job("j1", "a", not_before=NOON + MINUTE)
    snapshot = build.snapshot(build.nodes(), job)
    assert reasons(decide(SHARED, snapshot), "j1") == {None: Reason.NOT_BEFORE}
    assert started(decide(SHARED, snapshot, NOON + MINUTE)) == ["j1"]


def test_r9_the_cheapest_victim_is_taken_and_a_checkpoint_makes_cheap():
    runs = [
        build.run("r1", "a", {"hub-1": range(4)}, quota_class=QuotaClass.BORROWED),
        build.run(
            "r2",
            "a",
            {"hub-1": range(4, 8)},
            quota_class=QuotaClass.BORROWED,
            checkpointed_at=NOON + 50 * MINUTE,
        ),
        build.run("r3", "a", {"hub-2": range(8)}),
    ]
    snapshot = build.snapshot(build.nodes(), runs, build.job("j1", "b", 4))
    result = decide(SHARED, snapshot, NOON + 55 * MINUTE)
    assert [preempt.run for preempt in result.preempts] == ["cp-r2-1"]


@pytest.mark.parametrize(
    ("first", "second", "victim"),
    [
        pytest.param({"preemptions": 1}, {}, "cp-r2-1", id="who was preempted before is dearer"),
        pytest.param({"priority": PriorityClass.HIGH}, {}, "cp-r2-1", id="then lower priority"),
        pytest.param({}, {"leased_at": NOON + MINUTE}, "cp-r2-1", id="then the newest start"),
        pytest.param({}, {}, "cp-r1-1", id="then by name, so that it is always the same one"),
    ],
)
def test_r9_ties_between_victims_are_broken(first, second, victim):
    runs = [
        build.run("r1", "a", {"hub-1": range(4)}, quota_class=QuotaClass.BORROWED, **first),
        build.run("r2", "a", {"hub-1": range(4, 8)}, quota_class=QuotaClass.BORROWED, **second),
        build.run("r3", "a", {"hub-2": range(8)}),
    ]
    result = decide(SHARED, build.snapshot(build.nodes(), runs, build.job("j1", "b", 4)))
    assert [preempt.run for preempt in result.preempts] == [victim]


def test_r9_a_victim_gets_the_notice_of_its_agreement_else_of_the_tier():
    (preempt,) = decide(SHARED, recall_scene()).preempts
    assert preempt.notice == 30 * MINUTE
    lent = build.run("r1", "guest", ALL_BUSY, quota_class=QuotaClass.BORROWED, agreement="deal")
    (recalled,) = decide(LENT, build.snapshot(build.nodes(), lent, build.job("j1", "lab"))).preempts
    assert recalled.notice == timedelta(seconds=30)


def test_r10_background_work_makes_way_for_an_owner():
    idle = build.run(
        "r1", "a", ALL_BUSY, quota_class=QuotaClass.BACKGROUND, priority=PriorityClass.BACKGROUND
    )
    result = decide(SHARED, build.snapshot(build.nodes(), idle, build.job("j1", "a", 1)))
    assert [preempt.run for preempt in result.preempts] == ["cp-r1-1"]
    assert started(result) == ["j1"]


def test_a_job_that_refuses_recall_starts_only_in_quota():
    jobs = [build.job("j1", "a", 8), build.job("j2", "a", 8, preemptible=False)]
    result = decide(SHARED, build.snapshot(build.nodes(), jobs))
    assert started(result) == ["j1"]
    assert reasons(result, "j2") == {"hub": Reason.NOT_PREEMPTIBLE}


def test_the_world_of_another_policy_is_refused():
    other = replace(SHARED, revision=2)
    with pytest.raises(ValueError, match="policy revision 1, not for 2"):
        plan(World(SHARED, Snapshot()), other, NOON)


def test_advancing_a_world_is_applying_the_plan():
    scene = recall_scene()
    world = World(SHARED, scene)
    result = plan(world, SHARED, NOON)
    world.advance(result)
    assert world.state() == World(SHARED, apply(scene, result)).state()
