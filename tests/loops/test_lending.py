"""An idle lease is lent and recalled, from reports to both histories, on both databases (R18)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from scheduler.core.model import Backend
from scheduler.db.ledger_tables import loans
from scheduler.db.lending import recall_by_word
from scheduler.db.node_states import DrainOrder, drain_node
from scheduler.db.recall_tables import recalls
from scheduler.db.recalls import recalls_since
from scheduler.db.tables import lease_gpus, usage_intervals
from scheduler.errors import Refused
from scheduler.loops.idle import IdleLoop
from scheduler.wire.reports import (
    GpuReport,
    GpuUse,
    MemoryOver,
    NodeReport,
    RatioOver,
    RunUse,
    WattsOver,
)
from tests.loops.test_fleet import Told

MINUTE = timedelta(minutes=1)
NODES = ("hub-1", "hub-2")
HOST, GUEST, OTHER = "cp-j1-1", "cp-j3-1", "cp-j2-1"


class Lent(Told):
    """A small hub, two nodes of two GPUs: the first one's job idles, the second one's works."""

    async def begin(self, wake, **pool):
        rules = {"idle_warn": 10 * MINUTE, "idle_lend": 20 * MINUTE, "idle_grace": MINUTE}
        policy = self.hub.policy
        tiers = tuple((tier, replace(known, **rules)) for tier, known in policy.tiers)
        pools = tuple(replace(one, **pool) for one in policy.pools)
        await self.hub.apply(replace(policy, tiers=tiers, pools=pools))
        self.idle = IdleLoop(self.hub.db, self.fleet, wake, self.clock)
        self.tells, self.sm, self.runs = True, {"hub-1": 0.0, "hub-2": 0.9}, {}
        for _ in range(2):
            await self.hub.submit(("own", 2, False))
        await self.turn()
        nodes = {(await self.hub.run(job)).slots[0].node for job in ("j1", "j2")}
        assert nodes == set(NODES)
        self.node_of_host = (await self.hub.run("j1")).slots[0].node
        self.sm = {node: 0.0 if node == self.node_of_host else 0.9 for node in NODES}

    async def turn(self):
        """Let hub and site talk until each run that is not told to end works."""
        self.hub.now = self.clock.now()
        for _ in range(4):
            await self.hub.turn()
        for number, _ in enumerate(list(self.hub.site.records)):
            alive = [record for record in self.hub.site.records.values() if record.alive]
            if number < len(alive) and alive[number].state == "starting":
                await self.hub.tell(number)

    async def after(self, span):
        """Let time pass, nodes report, and the loop look."""
        self.clock.forward(span)
        self.number += 1
        for node in NODES:
            self.fleet.stored(self._report(node), self.clock.now().timestamp())
        return await self.idle.step()

    def _report(self, node):
        sm = self.sm[node]
        return NodeReport(
            node=node,
            pool="hub",
            boot_id="boot",
            sequence=self.number + 100,
            sampled_at=self.clock.now(),
            gpus=tuple(GpuReport(index=i, uuid=f"{node}-{i}", model="H100") for i in range(2)),
            tells_runs=self.tells,
            use=tuple(
                GpuUse(
                    index=i,
                    sm_active=RatioOver(sm, sm, sm),
                    power_watts=WattsOver(80, 80, 80),
                    memory_mib=MemoryOver(500, 500, 500),
                    runs=self.runs.get(node, ()),
                )
                for i in range(2)
            ),
        )

    async def lend(self):
        for span in (MINUTE, MINUTE, 10 * MINUTE, 10 * MINUTE):
            await self.after(span)

    async def seat(self):
        """Lend the lease, and let background work come to sit on it and compute."""
        await self.lend()
        await self.hub.submit(("guest", 2, True))
        await self.turn()
        await self.uses(GUEST, 0.9)

    async def uses(self, run, sm, memory=600.0):
        """Let the node's agent see that one of the two runs uses its GPUs."""
        rest = HOST if run == GUEST else GUEST
        seen = (RunUse(run=run, sm_active=sm, memory_mib=memory), RunUse(run=rest, sm_active=0.0))
        self.runs[self.node_of_host] = seen
        self.sm[self.node_of_host] = sm
        await self.after(MINUTE)

    async def events(self, job):
        return [event for event, _ in await self.hub.history(job)]

    async def says(self, job):
        return dict(await self.hub.history(job))

    async def take_back(self, job="j1"):
        now, policy = self.clock.now(), self.hub.policy
        async with self.hub.db.transaction() as conn:
            return await recall_by_word(conn, job, "ann", now, policy)

    async def end_host(self):
        """Let the host come to its end at its site."""
        going = [run for run, record in self.hub.site.records.items() if record.alive].index(HOST)
        self.hub.now = self.clock.now()
        for _ in range(2):
            await self.hub.well(going)
            await self.hub.sync()

    async def layers(self):
        async with self.hub.db.reading() as conn:
            rows = (await conn.execute(select(lease_gpus))).all()
        return {(row.run_id, row.guest, row.draining) for row in rows}


@pytest.fixture
async def lent(hub, wake):
    found = Lent(hub, wake)
    await found.begin(wake)
    return found


async def test_an_idle_lease_is_warned_about_and_lent(lent):
    await lent.lend()
    assert (await lent.hub.run("j1")).lent
    assert not (await lent.hub.run("j2")).lent
    said = await lent.says("j1")
    assert said["idle_warned"].endswith("use them, or end it")
    assert "its lease is lent to background work until they do" in said["lease_lent"]
    assert "idle_warned" not in await lent.events("j2")


async def test_background_work_sits_on_it_and_both_histories_tell(lent):
    await lent.seat()
    guest = await lent.hub.run("j3")
    assert (guest.state, guest.over, guest.quota_class) == ("running", HOST, 3)
    assert await lent.layers() >= {(HOST, False, False), (GUEST, True, False)}
    assert "on GPUs that own has leased and leaves idle" in (await lent.says("j3"))["leased"]
    assert (await lent.says("j1"))["guest_started"].startswith("background work of guest sits on")
    assert (await lent.hub.leases())[GUEST].guest
    assert lent.hub.site.occupied().count((lent.node_of_host, 0)) == 2


async def test_what_the_guest_does_keeps_nobody_from_being_idle(lent):
    await lent.seat()
    for _ in range(3):
        await lent.uses(GUEST, 0.9)
    assert (await lent.hub.run("j1")).lent
    assert "works_again" not in await lent.events("j1")


@pytest.mark.parametrize(
    ("sm", "memory"),
    [
        pytest.param(0.3, 600.0, id="its processes compute"),
        pytest.param(None, 40_000.0, id="its memory is more than a context"),
    ],
)
async def test_the_guest_is_recalled_once_the_host_works(lent, sm, memory):
    await lent.seat()
    lent.runs[lent.node_of_host] = (RunUse(run=HOST, sm_active=sm, memory_mib=memory),)
    await lent.after(MINUTE)
    host, guest = await lent.hub.run("j1"), await lent.hub.run("j3")
    by = lent.clock.now() + 30 * MINUTE
    assert not host.lent
    assert (guest.state, guest.stop_reason, guest.stop_at) == ("stopping", "recalled", by)
    told = f"its lease is lent no more: the background work on it ends by {by:%H:%M:%S} UTC"
    assert (await lent.says("j1"))["works_again"] == f"its GPUs work again; {told}"
    why = f"recalled: checkpoint by {by:%H:%M:%S} UTC (the lease that it sat on works again)"
    assert (await lent.says("j3"))["recalled"] == why


async def test_memory_that_grows_is_work_where_the_driver_says_no_more(lent):
    await lent.seat()
    for memory, is_lent in ((600.0, True), (700.0, True), (760.0, False)):
        lent.runs[lent.node_of_host] = (RunUse(run=HOST, memory_mib=memory),)
        await lent.after(MINUTE)
        assert (await lent.hub.run("j1")).lent is is_lent


async def test_the_recall_is_recorded_until_the_guest_has_left_and_is_requeued(lent):
    await lent.seat()
    await lent.uses(HOST, 0.5)
    async with lent.hub.db.reading() as conn:
        (recall,) = await recalls_since(conn, lent.clock.now() - MINUTE)
    assert (recall.lender, recall.notice, recall.took) == ("own", 30 * MINUTE, None)
    await lent.turn()
    lent.clock.forward(MINUTE)
    lent.hub.now = lent.clock.now()
    going = [run for run, record in lent.hub.site.records.items() if record.alive].index(GUEST)
    for _ in range(2):
        await lent.hub.ill(going)
        await lent.hub.sync()
    async with lent.hub.db.reading() as conn:
        (recall,) = await recalls_since(conn, lent.clock.now() - 5 * MINUTE)
    assert recall.took == MINUTE
    job = await lent.hub.job("j3")
    assert (job.state, job.attempt, job.preemptions) == ("pending", 2, 1)
    assert "guest_left" in await lent.events("j1")
    assert await lent.layers() == {(HOST, False, False), (OTHER, False, False)}


async def test_its_owner_takes_it_back_by_word_and_it_is_not_lent_again_at_once(lent):
    await lent.seat()
    taken = await lent.take_back()
    assert [guest.id for guest in taken.guests] == [GUEST]
    assert (await lent.hub.run("j3")).stop_reason == "recalled"
    assert "taken back by ann" in (await lent.says("j1"))["lease_recalled"]
    await lent.uses(HOST, 0.0)
    assert not (await lent.hub.run("j1")).lent
    with pytest.raises(Refused, match="no lease of job j1 is lent"):
        await lent.take_back()


async def test_where_no_agent_tells_runs_apart_nothing_is_lent(lent):
    lent.tells = False
    await lent.lend()
    assert not (await lent.hub.run("j1")).lent
    assert "idle_warned" in await lent.events("j1")


async def test_a_shared_ray_cluster_is_not_lent(hub, wake):
    found = Lent(hub, wake)
    await found.begin(wake, backend=Backend.RAY_SHARED)
    await found.lend()
    assert not (await found.hub.run("j1")).lent


async def test_a_report_that_is_missing_takes_nothing_back(lent, wake):
    await lent.seat()
    lent.fleet.forget(lent.node_of_host)
    await lent.idle.step()
    assert (await lent.hub.run("j1")).lent
    lent.idle = IdleLoop(lent.hub.db, type(lent.fleet)(60), wake, lent.clock)
    await lent.idle.step()
    assert (await lent.hub.run("j1")).lent


async def test_a_busy_gpu_is_the_hosts_work_only_once_a_new_guest_would_have_been_told(lent):
    await lent.lend()
    await lent.hub.submit(("guest", 2, True))
    await lent.turn()
    lent.sm[lent.node_of_host] = 0.9
    await lent.after(timedelta(seconds=5))
    assert (await lent.hub.run("j1")).lent
    await lent.after(MINUTE)
    assert not (await lent.hub.run("j1")).lent


async def test_when_the_host_ends_its_guest_stays_as_plain_background_work(lent):
    await lent.seat()
    await lent.end_host()
    assert (await lent.hub.job("j1")).state == "succeeded"
    guest = await lent.hub.run("j3")
    assert (guest.state, guest.over, guest.stop_reason) == ("running", None, None)
    assert (GUEST, False, False) in await lent.layers()
    await is_told_as_an_end_and_no_recall(lent, "stays there as plain background work")
    world = await lent.hub.look()
    assert world.in_background
    await lent.hub.submit(("own", 2, False))
    await lent.hub.cycle()
    assert (await lent.hub.run("j3")).stop_reason == "recalled"


async def is_told_as_an_end_and_no_recall(lent, what):
    """Hold both histories, the recalls and the ledger to a loan that ended with its host."""
    ended = f"it has ended: the background work on 2 GPUs of it {what}"
    assert (await lent.says("j1"))["lending_ended"] == ended
    told = f"the run that it sat on has ended, and took nothing back: it {what}"
    assert (await lent.says("j3"))["lending_ended"] == told
    async with lent.hub.db.reading() as conn:
        assert (await conn.execute(select(recalls))).all() == []
        assert (await conn.execute(select(loans).where(loans.c.run_id == GUEST))).all() == []


async def test_a_guest_that_leaves_with_its_host_is_told_and_is_no_recall_of_the_hosts_owner(lent):
    await lent.seat()
    lent.hub.now = lent.clock.now()
    async with lent.hub.db.transaction() as conn:
        order = DrainOrder("ann", "new firmware")
        await drain_node(conn, lent.node_of_host, order, lent.hub.policy, lent.hub.now)
    await lent.hub.sync()
    await lent.end_host()
    assert (await lent.hub.run("j3")).stop_reason == "drained"
    await is_told_as_an_end_and_no_recall(lent, "leaves with it")


async def test_the_host_is_billed_while_it_is_lent_and_the_guest_is_not(lent):
    await lent.seat()
    async with lent.hub.db.reading() as conn:
        rows = {row.run_id: row for row in await conn.execute(select(usage_intervals))}
    assert rows[HOST].ended_at is None
    assert rows[HOST].started_at < rows[GUEST].started_at
    world = await lent.hub.look()
    assert world.use.now["own"] == 4 * 1000
    assert "guest" not in world.use.now
