"""Idle leases that are lent: who may sit on them, and what becomes of whom (R18)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.core.decisions import apply
from scheduler.core.events import apply_event
from scheduler.core.lending import may_be_lent
from scheduler.core.model import Backend, PriorityClass, QuotaClass, RunState, Sector, StopReason
from scheduler.core.plan import plan
from scheduler.core.policy import Order
from scheduler.core.snapshot import DropRun, Put, Usage
from scheduler.core.world import World
from tests.build import (
    HOUR,
    MINUTE,
    NOON,
    account,
    agreement,
    job,
    node,
    nodes,
    policy,
    pool,
    quota,
    reservation,
    run,
    snapshot,
    user,
)

ACCOUNTS = [
    account("national", None),
    account("uni"),
    account("a", "uni"),
    account("b", "uni"),
    account("acme", sector="industry"),
]
QUOTAS = [quota("a", 8), quota("b", 8)]
POLICY = policy(ACCOUNTS, [pool(owner="uni", nodes=2)], QUOTAS)
WHOLE = {"hub-1": range(8), "hub-2": range(8)}
HOST = run("host1", "a", {"hub-1": range(8)}, lent=True)
OTHER = run("other2", "b", {"hub-2": range(8)})


def background(name="b3", who="b", gpus=1, count=1, **more):
    return job(name, who, gpus, count, priority=PriorityClass.BACKGROUND, **more)


def planned(*things, rules=POLICY):
    return plan(World(rules, snapshot(nodes(), *things)), rules, NOON)


def test_background_work_starts_on_a_lent_lease_and_says_whose():
    (start,) = planned(HOST, OTHER, background(gpus=8)).starts
    assert start.over == HOST.id
    assert start.slots == HOST.slots
    assert start.quota_class is QuotaClass.BACKGROUND
    assert start.why == (
        "background in hub, on GPUs that a has leased and leaves idle: "
        "uncharged, ends when they are used again or others need them"
    )


def test_free_gpus_come_first():
    (start,) = planned(HOST, background(gpus=8)).starts
    assert start.over is None
    assert [slot.node for slot in start.slots] == ["hub-2"]


@pytest.mark.parametrize(
    ("things", "rules"),
    [
        pytest.param([replace(HOST, lent=False), background()], POLICY, id="it is not lent"),
        pytest.param([replace(HOST, draining=True), background()], POLICY, id="it makes way"),
        pytest.param(
            [replace(HOST, state=RunState.STOPPING), background()], POLICY, id="it was told to end"
        ),
        pytest.param(
            [replace(HOST, state=RunState.UNKNOWN), background()], POLICY, id="its site is silent"
        ),
        pytest.param([HOST, job("b3", "b")], POLICY, id="the job is no background work"),
        pytest.param([HOST, background(gpus=8, count=2)], POLICY, id="it holds no such gang"),
        pytest.param([HOST, background(not_before=NOON + MINUTE)], POLICY, id="it is too soon"),
        pytest.param([HOST, background(who="acme")], POLICY, id="an outsider has no agreement"),
        pytest.param(
            [HOST, background(label="controlled")],
            replace(POLICY, pools=(pool(owner="uni", labels=frozenset({"public", "controlled"})),)),
            id="two labels never meet on a GPU",
        ),
        pytest.param(
            [HOST, background(user="bob")],
            replace(POLICY, users=(user("bob", max_gpus=0),)),
            id="its person holds too many GPUs",
        ),
        pytest.param(
            [HOST, background()],
            replace(POLICY, reservations=(reservation("m", count=2, starts_at=NOON + MINUTE),)),
            id="its nodes are reserved before it would end",
        ),
    ],
)
def test_nobody_is_seated_where(things, rules):
    assert planned(OTHER, *things, rules=rules).starts == ()


def test_an_outsider_needs_room_under_its_agreement():
    lends = agreement("lend", "uni", Sector.INDUSTRY, cap=8)
    rules = replace(POLICY, agreements=(lends,))
    (start,) = planned(HOST, OTHER, background(who="acme", gpus=8), rules=rules).starts
    assert (start.over, start.agreement) == (HOST.id, lends.id)
    small = replace(POLICY, agreements=(replace(lends, cap=7),))
    assert planned(HOST, OTHER, background(who="acme", gpus=8), rules=small).starts == ()


def test_no_two_guests_share_a_gpu():
    jobs = [background(f"b{n}", gpus=3) for n in range(3, 7)]
    starts = planned(HOST, OTHER, jobs).starts
    taken = [gpu for start in starts for slot in start.slots for gpu in slot.gpus]
    assert len(starts) == 2
    assert len(taken) == len(set(taken)) == 6


def test_a_guest_takes_the_smallest_lease_that_holds_it():
    small = run("small2", "a", {"hub-2": range(4)}, lent=True)
    rest = run("rest3", "b", {"hub-2": range(4, 8)})
    (start,) = planned(HOST, small, rest, background("b4", gpus=2)).starts
    assert start.over == small.id


def test_accounts_take_turns_and_a_gang_sits_on_one_host():
    wide = run("wide1", "a", WHOLE, lent=True)
    (start,) = planned(wide, background(gpus=8, count=2)).starts
    assert start.slots == wide.slots


def seated(**more):
    before = snapshot(nodes(), HOST, OTHER, background(gpus=8))
    after = apply(before, plan(World(POLICY, before), POLICY, NOON))
    return replace(after, runs={**after.runs, **more})


def test_a_guest_is_in_nobodys_sums():
    with_guest, without = World(POLICY, seated()), World(POLICY, snapshot(nodes(), HOST, OTHER))
    for world in (with_guest, without):
        assert world.quotas["hub"].common == 0
        assert list(world.use.state()) == list(without.use.state())
        assert not world.in_background
    assert with_guest.held_by_user["alex"] == without.held_by_user["alex"] + 8


def test_the_host_pays_as_before_and_the_guest_nothing():
    world = World(POLICY, seated())
    assert world.use.now["a"] == 8 * 1000
    assert world.use.now["b"] == 8 * 1000
    usage = world.usage_at(NOON + HOUR)
    assert usage["a"] == usage["b"] > 0


def test_when_the_host_has_ended_its_guest_is_plain_background_work():
    guest = next(run for run in seated().runs.values() if run.over)
    world = World(POLICY, seated())
    world.apply(DropRun(HOST.id))
    assert world.runs[guest.id] == replace(guest, over=None)
    assert world.in_background
    assert world.floor.nodes["hub-1"].free == 0
    assert world.state() == World(POLICY, apply_event(seated(), DropRun(HOST.id))).state()


def test_its_gpus_are_taken_back_like_any_background_work_then():
    after = apply_event(seated(), DropRun(HOST.id))
    guest = next(run.id for run in after.runs.values() if run.quota_class is QuotaClass.BACKGROUND)
    world = World(POLICY, apply_event(after, Put(job("j9", "a", 8))))
    result = plan(world, POLICY, NOON)
    assert [(each.run, each.by, each.reason) for each in result.preempts] == [
        (guest, "j9", StopReason.RECALLED)
    ]


BORROWED = replace(HOST, quota_class=QuotaClass.BORROWED)
LENDER = policy(ACCOUNTS, [pool(owner="uni")], [quota("a", 0, borrow=16), quota("b", 16)])


def recalled():
    before = snapshot(nodes(), BORROWED, OTHER, background(gpus=4))
    after = apply(before, plan(World(LENDER, before), LENDER, NOON))
    guest = next(run for run in after.runs.values() if run.over)
    world = World(LENDER, apply_event(after, Put(job("j9", "b", 8))))
    return guest, plan(world, LENDER, NOON), world


def test_an_owner_who_takes_a_lent_lease_back_waits_for_host_and_guest():
    guest, result, _ = recalled()
    (start,) = result.starts
    assert {each.run: each.by for each in result.preempts} == {HOST.id: "j9", guest.id: "j9"}
    assert start.after == {HOST.id, guest.id}
    notes = {each.run: each for each in result.preempts}
    assert notes[guest.id].notice == timedelta(minutes=30)
    assert notes[guest.id].why.startswith("the lease of a that it sat on ends: b takes its GPUs")


def test_a_guest_that_leaves_later_than_its_host_is_waited_for():
    guest, result, world = recalled()
    world.advance(result)
    world.apply(DropRun(HOST.id))
    assert world.runs[guest.id].over is None
    assert world.runs[guest.id].draining
    assert world.floor.nodes["hub-1"].free == 0


def test_maintenance_of_its_nodes_ends_host_and_guest():
    rules = replace(
        POLICY,
        reservations=(reservation("m", starts_at=NOON + MINUTE, nodes=frozenset({"hub-1"})),),
    )
    result = plan(World(rules, seated()), rules, NOON)
    guest = next(run.id for run in seated().runs.values() if run.over)
    assert {(each.run, each.reason) for each in result.preempts} == {
        (HOST.id, StopReason.RESERVED),
        (guest, StopReason.RESERVED),
    }


def test_a_guest_is_nobodys_victim_on_its_own():
    """Ending it would free nothing: the GPUs are its host's."""
    world = World(POLICY, apply_event(seated(), Put(job("j9", "b", 1))))
    assert plan(world, POLICY, NOON).preempts == ()


def test_nodes_that_are_broken_take_no_guest():
    sick = [node("hub-1", usable=False), node("hub-2")]
    world = World(POLICY, snapshot(sick, HOST, OTHER, background()))
    assert plan(world, POLICY, NOON).starts == ()


def test_a_shared_ray_cluster_lends_nothing():
    assert may_be_lent(pool())
    assert not may_be_lent(pool(backend=Backend.RAY_SHARED))


def test_without_fair_shares_the_oldest_is_seated_first():
    rules = replace(POLICY, rules=replace(POLICY.rules, order=Order.FIFO))
    jobs = [
        background("b4", who="a", gpus=8, submitted_at=NOON - MINUTE),
        background("b5", who="b", gpus=8, submitted_at=NOON - HOUR),
    ]
    (start,) = planned(HOST, OTHER, jobs, rules=rules).starts
    assert start.job == "b5"


def test_of_equal_accounts_the_one_that_used_less_is_seated_first():
    used = Usage("a", 1000.0, NOON)
    jobs = [background("b4", who="a", gpus=8), background("b5", who="b", gpus=8)]
    host = replace(HOST, leased_at=NOON, started_at=NOON)
    (start,) = planned(host, OTHER, used, jobs).starts
    assert start.job == "b5"


def test_who_waits_behind_a_job_of_its_kind_that_is_not_ready_is_seated():
    jobs = [background("b4", gpus=8, not_before=NOON + MINUTE), background("b5", gpus=8)]
    (start,) = planned(HOST, OTHER, jobs).starts
    assert start.job == "b5"
