"""Where and when: R5, R6 and R13 to R19 of scheduling.md §3, one small example each."""

from dataclasses import replace

from scheduler.core.explain import Reason
from scheduler.core.model import (
    QuotaClass,
    Tier,
)
from scheduler.core.policy import Rules
from tests import build
from tests.build import DAY, HOUR, MINUTE, NOON
from tests.core.small import ALL_BUSY, SHARED, TREE, decide, reasons, started


def test_r5_a_gang_starts_whole_or_not_at_all():
    busy = build.run("r1", "a", {"hub-1": range(4)})
    result = decide(SHARED, build.snapshot(build.nodes(), busy, build.job("j1", "b", 5, 2)))
    assert started(result) == []
    assert reasons(result, "j1") == {"hub": Reason.CAPACITY}


def test_r5_a_gang_prefers_one_block():
    nodes = [build.node(f"n{i}", block=block) for i, block in enumerate("xyyzz")]
    policy = build.policy(pools=[build.pool(nodes=5)])
    taken = build.run("r1", "national", {"n3": [0]})
    (start,) = decide(policy, build.snapshot(nodes, taken, build.job("j1", gpus=8, count=2))).starts
    assert [slot.node for slot in start.slots] == ["n1", "n2"]


def test_r6_the_blocked_head_gets_a_planned_start_by_the_limits_of_running_jobs():
    runs = [
        build.run("r1", "national", {"hub-1": range(8)}, limit=2 * HOUR),
        build.run("r2", "national", {"hub-2": range(8)}, limit=3 * HOUR),
    ]
    result = decide(build.policy(), build.snapshot(build.nodes(), runs, build.job("j1", gpus=4)))
    (reserve,) = result.reserves
    assert reserve.start_at == NOON + 2 * HOUR
    assert [slot.node for slot in reserve.slots] == ["hub-1"]


def test_r6_a_later_job_starts_only_if_it_delays_no_planned_start():
    """EASY: a short job slips in before the head's planned start, a long one does not."""
    running = build.run("r1", "national", {"hub-1": range(8)}, limit=2 * HOUR)
    head = build.job("j1", gpus=8, count=2)
    long = build.job("j2", gpus=8, time_limit=3 * HOUR)
    short = build.job("j3", gpus=8, time_limit=2 * HOUR)
    snapshot = build.snapshot(build.nodes(), running, head, long, short)
    result = decide(build.policy(), snapshot)
    assert started(result) == ["j3"]
    assert [(r.job, r.start_at) for r in result.reserves] == [
        ("j1", NOON + 2 * HOUR),
        ("j2", NOON + 3 * HOUR),
    ]


def test_r6_reserve_depth_says_how_many_heads_of_a_shape_are_promised_a_start():
    running = build.run("r1", "national", ALL_BUSY)
    jobs = [build.job(f"j{n}", gpus=8) for n in (1, 2, 3)]
    policy = build.policy(rules=Rules(reserve_depth=2))
    result = decide(policy, build.snapshot(build.nodes(), running, jobs))
    assert [reserve.job for reserve in result.reserves] == ["j1", "j2"]


TIERS = build.policy(
    [build.account("national", None), build.account("inst"), build.account("team", "inst")],
    [
        build.pool("den", "team", 1, tier=Tier.TEAM),
        build.pool("hpc", "inst", 1, tier=Tier.INSTITUTION),
        build.pool("hub", "national", 1),
    ],
    [
        build.quota("team", 8, where="hpc"),
        build.quota("inst", 4, borrow=4),
        build.quota("team", 4, borrow=4),
    ],
)
MACHINES = build.nodes("den", 1) + build.nodes("hpc", 1) + build.nodes("hub", 1)


def test_r13_a_job_spills_over_in_the_order_of_tiers():
    jobs = [build.job(f"j{n}", "team", 8) for n in (1, 2, 3)]
    result = decide(TIERS, build.snapshot(MACHINES, jobs))
    assert [(s.pool, s.quota_class.name) for s in result.starts] == [
        ("den", "IN_QUOTA"),
        ("hpc", "IN_QUOTA"),
        ("hub", "BORROWED"),
    ]


def test_r13_an_in_quota_start_further_up_beats_a_recall_nearby():
    lent = build.run("r1", "team", {"den-1": range(8)}, "den", quota_class=QuotaClass.BACKGROUND)
    result = decide(TIERS, build.snapshot(MACHINES, lent, build.job("j1", "team", 8)))
    assert [start.pool for start in result.starts] == ["hpc"]
    assert result.preempts == ()


def test_r13_a_recall_beats_a_borrowed_start():
    busy = [
        build.run("r1", "team", {"den-1": range(8)}, "den", quota_class=QuotaClass.BACKGROUND),
        build.run("r2", "team", {"hpc-1": range(8)}, "hpc"),
    ]
    result = decide(TIERS, build.snapshot(MACHINES, busy, build.job("j1", "team", 8)))
    assert [(start.pool, len(start.after)) for start in result.starts] == [("den", 1)]


def test_r13_a_job_may_name_its_lowest_and_highest_tier():
    job = build.job("j1", "team", tier_min=Tier.INSTITUTION, tier_max=Tier.INSTITUTION)
    (start,) = decide(TIERS, build.snapshot(MACHINES, job)).starts
    assert start.pool == "hpc"


def test_r13_a_job_stays_on_its_own_tier_that_starts_it_soon_enough():
    busy = build.run("r1", "team", {"den-1": range(8)}, "den", limit=30 * MINUTE)
    patient = replace(TIERS, rules=Rules(spill_after=HOUR))
    hasty = replace(TIERS, rules=Rules(spill_after=10 * MINUTE))
    snapshot = build.snapshot(MACHINES, busy, build.job("j1", "team", 8))
    result = decide(patient, snapshot)
    assert reasons(result, "j1") == {
        "den": Reason.QUOTA,
        "hpc": Reason.OWN_TIER_SOONER,
        "hub": Reason.OWN_TIER_SOONER,
    }
    assert [start.pool for start in decide(hasty, snapshot).starts] == ["hpc"]


def test_r13_each_pool_is_refused_by_the_name_of_its_rule():
    policy = build.policy(
        [build.account("national", None), build.account("lab"), build.account("guest")],
        [
            build.pool("far", tier=Tier.FRONTIER),
            build.pool("old", gpu_model="V100"),
            build.pool("open", labels=frozenset({"public"})),
            build.pool("safe", labels=frozenset({"secret"}), nodes=1),
            build.pool("team", "lab", labels=frozenset({"secret"}), tier=Tier.TEAM),
            build.pool("theirs", "lab", labels=frozenset({"secret"})),
        ],
        [build.quota("guest", 4, where="safe")],
    )
    job = build.job(
        "j1", "guest", 8, 2, label="secret", gpu_models=frozenset({"H100"}), time_limit=9 * DAY
    )
    assert reasons(decide(policy, build.snapshot(job)), "j1") == {
        "far": Reason.TIER,
        "old": Reason.LABEL,
        "open": Reason.LABEL,
        "safe": Reason.HARDWARE,
        "team": Reason.TIME_LIMIT,
        "theirs": Reason.SECTOR_AGREEMENT,
    }


def test_r14_a_label_goes_only_where_the_pool_is_accredited():
    job = build.job("j1", label="controlled")
    result = decide(build.policy(), build.snapshot(build.nodes(), job))
    assert reasons(result, "j1") == {None: Reason.NO_POOL, "hub": Reason.LABEL}
    cleared = build.policy(pools=[build.pool(labels=frozenset({"controlled"}))])
    assert started(decide(cleared, build.snapshot(build.nodes(), job))) == ["j1"]


def test_r15_a_job_may_name_the_models_it_takes():
    policy = build.policy(pools=[build.pool("old", gpu_model="V100"), build.pool("hub")])
    machines = build.nodes("old") + build.nodes("hub")
    job = build.job("j1", gpu_models=frozenset({"H100", "H200"}))
    (start,) = decide(policy, build.snapshot(machines, job)).starts
    assert start.pool == "hub"


def test_r19_unusable_nodes_take_no_work_and_the_verdict_names_them():
    broken = build.node("hub-2", usable=False, why_unusable="XID 79")
    machines = [build.node("hub-1"), broken]
    result = decide(build.policy(), build.snapshot(machines, build.job("j1", gpus=8, count=2)))
    (hold,) = result.holds
    assert hold.verdicts[0].reason is Reason.NODES_UNUSABLE
    assert dict(hold.verdicts[0].numbers)["which"] == "hub-2 (XID 79)"


def test_r11_a_gang_wider_than_its_accounts_whole_nodes_starts_all_the_same():
    """All nodes are guaranteed, and the README's gang of half nodes starts all the same."""
    rows = [build.quota("a", 8), build.quota("b", 24)]
    shared = build.policy(TREE, [build.pool(nodes=4)], rows)
    snapshot = build.snapshot(build.nodes(count=4), build.job("j1", "a", 4, 2))
    assert started(decide(shared, snapshot)) == ["j1"]


def test_r11_small_work_in_quota_stays_off_nodes_that_others_are_guaranteed_whole():
    rows = [build.quota("a", 8), build.quota("b", 8)]
    shared = build.policy(TREE, quotas=rows)
    mine = build.run("r1", "a", {"hub-1": range(4)})
    jobs = [build.job("j1", "a", 2), build.job("j2", "a", 2)]
    result = decide(shared, build.snapshot(build.nodes(), mine, jobs))
    assert {slot.node for start in result.starts for slot in start.slots} == {"hub-1"}
