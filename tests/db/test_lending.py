"""Starts on lent leases are held against the rows, and the index stands behind it (R5, R18)."""

from dataclasses import replace

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from scheduler.core.decisions import Preempt, apply
from scheduler.core.model import QuotaClass, RunId, RunState, Slot, StopReason
from scheduler.core.plan import plan as decide
from scheduler.core.world import World
from scheduler.db.accounts import pool_views
from scheduler.db.jobs import events_of, runs_of
from scheduler.db.planning import commit_plan, load_snapshot
from scheduler.db.tables import lease_gpus
from tests import build
from tests.build import MINUTE, NOON
from tests.db.store import empty, store
from tests.db.test_planning import HUB, plan_of, start

HOST = build.run("host1", "national", {"hub-1": (0, 1)}, sequence=1, lent=True)
OTHER = build.run("other2", "national", {"hub-2": range(8)}, sequence=2)


def seat(job, gpus=(0, 1), host=HOST.id):
    slots = (Slot(HOST.slots[0].node, gpus),)
    sits = replace(start(job, slots), quota_class=QuotaClass.BACKGROUND, over=host)
    return replace(sits, why="its host idles")


async def commit(db, host, *starts, preempts=()):
    waiting = [build.job(f"b{n}", gpus=1, background=True) for n in (3, 4)]
    async with db.transaction() as conn:
        await empty(conn)
        await store(conn, build.snapshot(build.nodes(), host, OTHER, waiting), HUB)
        return await commit_plan(conn, plan_of(*starts, preempts=preempts), HUB)


async def test_a_guest_is_stored_in_the_second_layer_and_its_host_is_told(db):
    committed = await commit(db, HOST, seat("b3"))
    assert committed.stale == 0
    async with db.reading() as conn:
        (run,) = (await runs_of(conn, ["b3"]))["b3"]
        rows = (await conn.execute(select(lease_gpus))).all()
        told = [(e.event, e.sentence) for e in await events_of(conn, "host1")]
    assert (run.over, run.quota_class) == (HOST.id, QuotaClass.BACKGROUND)
    on_first = {(row.run_id, row.guest) for row in rows if row.node_id == "hub-1"}
    assert on_first == {(HOST.id, False), (run.id, True)}
    why = "background work of national sits on 2 GPUs of it, and leaves when they are used again"
    assert told == [("guest_started", why)]


async def test_a_gpu_with_a_guest_counts_once_in_what_its_pool_says(db):
    """For whoever has it leased: else a pool would have more GPUs in use than it has."""
    await commit(db, HOST, seat("b3"))
    async with db.reading() as conn:
        (pool,) = await pool_views(conn, HUB, NOON)
    assert (pool.in_quota, pool.borrowed, pool.background) == (10, 0, 0)
    assert pool.quotas[0].used == pool.in_quota


@pytest.mark.parametrize(
    ("host", "starts"),
    [
        pytest.param(replace(HOST, lent=False), [seat("b3")], id="it was taken back meanwhile"),
        pytest.param(
            replace(HOST, state=RunState.STOPPING, stop_at=NOON),
            [seat("b3")],
            id="it must end",
        ),
        pytest.param(HOST, [seat("b3", (1, 2))], id="a GPU is not the host's"),
        pytest.param(HOST, [seat("b3", host=RunId("cp-gone-1"))], id="there is no such host"),
    ],
)
async def test_a_seat_that_is_no_more_is_dropped_as_stale(db, host, starts):
    committed = await commit(db, host, *starts)
    assert (committed.plan.starts, committed.stale) == ((), 1)


async def test_two_guests_on_one_gpu_are_never_both_stored(db):
    committed = await commit(db, HOST, seat("b3", (0,)), seat("b4", (0,)))
    assert ([each.job for each in committed.plan.starts], committed.stale) == (["b3"], 1)
    both = await commit(db, HOST, seat("b3", (0,)), seat("b4", (1,)))
    assert (len(both.plan.starts), both.stale) == (2, 0)


async def test_nobody_is_seated_on_a_host_that_ends_in_the_same_plan(db):
    host = replace(HOST, quota_class=QuotaClass.BORROWED)
    taken = Preempt(host.id, "b3", StopReason.RECALLED, MINUTE, "taken back")
    owner = replace(start("b3", host.slots), after=frozenset({host.id}))
    committed = await commit(db, host, owner, seat("b4"), preempts=(taken,))
    assert ([each.job for each in committed.plan.starts], committed.stale) == (["b3"], 1)


async def test_the_index_allows_one_in_each_layer_and_no_more(db):
    await commit(db, HOST, seat("b3"))
    row = {"run_id": OTHER.id, "node_id": "hub-1", "gpu": 0}
    for guest in (True, False):
        with pytest.raises(IntegrityError):
            async with db.transaction() as conn:
                await conn.execute(insert(lease_gpus).values(**row, guest=guest))


async def test_the_square_commutes_where_guests_come_and_go_with_their_host(db):
    """load(commit(plan(s))) == apply(s, plan(s)), with host and guest told in one plan."""
    policy = build.policy(
        [build.account("national", None), build.account("a"), build.account("b")],
        [build.pool(nodes=1)],
        [build.quota("a", 0, borrow=8), build.quota("b", 8)],
    )
    host = build.run("host1", "a", {"hub-1": range(8)}, lent=True, quota_class=QuotaClass.BORROWED)
    snapshot = build.snapshot(build.nodes(count=1), host, build.job("b3", "a", 4, background=True))
    owner = build.job("j9", "b", 8)
    async with db.transaction() as conn:
        await empty(conn)
        await store(conn, snapshot, policy)
    for arrives in ({}, {owner.id: owner}):
        snapshot = replace(snapshot, jobs={**snapshot.jobs, **arrives})
        async with db.transaction() as conn:
            if arrives:
                await empty(conn)
                await store(conn, snapshot, policy)
            plan = decide(World(policy, snapshot), policy, NOON)
            assert (await commit_plan(conn, plan, policy)).stale == 0
            snapshot = apply(snapshot, plan)
            assert await load_snapshot(conn, policy) == snapshot
    assert [each.job for each in plan.starts] == ["j9"]
    assert len(plan.preempts) == 2
