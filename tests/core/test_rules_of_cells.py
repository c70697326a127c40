"""R11 of scheduling.md §3: whole nodes that others are guaranteed, one small example each."""

from datetime import datetime

from scheduler.core.fairshare import Usage
from scheduler.core.model import QuotaClass, RunId
from scheduler.core.plan import plan
from scheduler.core.snapshot import DropRun, Put
from scheduler.core.world import World
from tests import build
from tests.build import DAY, HOUR, NOON
from tests.core.small import SHARED, TREE, decide, started

BORROWED = QuotaClass.BORROWED
LENT = build.policy(
    TREE, quotas=[build.quota("a", 8), build.quota("b", 8), build.quota("guest", 0, borrow=16)]
)


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


def test_r11_no_two_accounts_share_a_node_that_each_is_guaranteed_whole():
    """`b` would have no node to come back to once the work of `a` on hub-1 has ended."""
    mine = build.run("r1", "a", {"hub-1": [0]})
    jobs = [build.job("j1", "b", 1), build.job("j2", "b", 7)]
    result = decide(SHARED, build.snapshot(build.nodes(), mine, jobs))
    assert {slot.node for start in result.starts for slot in start.slots} == {"hub-2"}


def test_r11_work_in_quota_leaves_another_accounts_block_whole():
    """Two blocks of two nodes: `a` has begun one, the other is guaranteed to `b`."""
    shared = build.policy(TREE, [build.pool(nodes=4)], [build.quota("a", 16), build.quota("b", 16)])
    machines = [build.node(f"hub-{n}", block=f"block-{n // 2}") for n in range(4)]
    mine = build.run("r1", "a", {"hub-2": range(8)})
    result = decide(shared, build.snapshot(machines, mine, build.job("j1", "a", 8)))
    assert [slot.node for start in result.starts for slot in start.slots] == ["hub-3"]


def test_r11_a_gang_wider_than_its_account_is_guaranteed_borrows_and_gives_back():
    """A lone account starts 2 x 4 GPUs on an idle pool; the owner of a node has it back."""
    gang = build.job("j1", "a", 4, 2)
    first = decide(SHARED, build.snapshot(build.nodes(), gang))
    assert [(s.job, s.quota_class) for s in first.starts] == [("j1", QuotaClass.BORROWED)]
    world = World(SHARED, build.snapshot(build.nodes(), gang))
    world.advance(plan(world, SHARED, NOON))
    world.apply(Put(build.job("j2", "b", 8)))
    then = plan(world, SHARED, NOON)
    assert (started(then), [p.run for p in then.preempts]) == (["j2"], ["cp-j1-1"])


def test_r12_what_cells_keep_out_is_promised_one_start_that_does_not_slip():
    """It is the time from which no cells keep the job out any more, whenever one looks."""
    mine = build.run("r1", "a", {"hub-1": range(4)}, limit=9 * DAY)
    nodes = [build.node("hub-1", gpus=4), build.node("hub-2")]
    scene = build.snapshot(nodes, mine, build.job("j1", "a", 2))
    promised = {
        reserve.start_at
        for hours in (0, 1, 30)
        for reserve in decide(SHARED, scene, NOON + hours * HOUR).reserves
    }
    assert promised == {NOON + SHARED.rules.hold_after}
    assert started(decide(SHARED, scene, NOON + SHARED.rules.hold_after)) == ["j1"]


def lent_on_both_nodes():
    """A gang of somebody who is guaranteed nothing has the nodes of `a` and of `b`."""
    return build.run("r1", "guest", {"hub-1": range(8), "hub-2": range(8)}, quota_class=BORROWED)


def test_r10_owners_share_what_one_victim_frees():
    """R8.4: the gang ends whole; who comes second is leased the rest, and not told to wait."""
    jobs = [build.job("j1", "a", 8), build.job("j2", "b", 8)]
    result = decide(LENT, build.snapshot(build.nodes(), lent_on_both_nodes(), jobs))
    assert [preempt.run for preempt in result.preempts] == ["cp-r1-1"]
    assert {start.job: start.after for start in result.starts} == {
        "j1": {"cp-r1-1"},
        "j2": {"cp-r1-1"},
    }


def test_r10_an_owner_is_leased_at_once_what_already_ends_for_another():
    world = World(
        LENT, build.snapshot(build.nodes(), lent_on_both_nodes(), build.job("j1", "a", 8))
    )
    world.advance(plan(world, LENT, NOON))
    world.apply(Put(build.job("j2", "b", 8)))
    then = plan(world, LENT, NOON)
    assert (started(then), then.preempts) == (["j2"], ())
    assert [start.after for start in then.starts] == [{"cp-r1-1"}]


def test_r11_a_planned_start_makes_way_for_an_owner_whose_cells_have_no_other_place():
    """`b`'s start names a free node; its own is hub-4, where it can take back what is lent."""
    rows = [build.quota("a", 16), build.quota("b", 16), build.quota("guest", 0, borrow=8)]
    policy = build.policy(TREE, [build.pool(nodes=4)], rows)
    runs = [
        build.run("r1", "b", {"hub-3": range(8)}, limit=2 * HOUR),
        build.run("r2", "guest", {"hub-4": range(2)}, limit=9 * HOUR, quota_class=BORROWED),
        build.run("r3", "b", {"hub-4": [2]}, limit=9 * HOUR),
    ]
    # `a` has used much, so that `b` is asked first.
    before = Usage(build.account("a").name, 1e9, NOON)
    wide = build.job("j1", "b", 6, 2, time_limit=HOUR)
    machines = build.nodes(count=4)
    alone = decide(policy, build.snapshot(machines, runs, wide, before))
    assert {slot.node for r in alone.reserves for slot in r.slots} == {"hub-1", "hub-3"}
    asks = build.job("j2", "a", 8, 2, time_limit=9 * HOUR)
    world = World(policy, build.snapshot(machines, runs, wide, before, asks))
    result = plan(world, policy, NOON)
    assert [(s.job, [slot.node for slot in s.slots]) for s in result.starts] == [
        ("j2", ["hub-1", "hub-2"])
    ]
    assert [(r.job, r.start_at) for r in result.reserves] == [("j1", NOON + 9 * HOUR)]
    # That is by limits alone. What `b` is owed comes when its quota does, but for the notice.
    world.advance(result)
    world.apply(DropRun(RunId("cp-r1-1")))
    then = plan(world, policy, NOON + 2 * HOUR)
    assert (started(then), [p.run for p in then.preempts]) == (["j1"], ["cp-r2-1"])
