"""The fleet loop: silence, returns, and rollups, on both databases (R19)."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from scheduler.config import HubSettings
from scheduler.core.health import PROBE
from scheduler.db.node_states import DrainOrder, drain_node, heard, lift_cordons, resume_node
from scheduler.db.node_tables import gpu_rollups
from scheduler.db.nodes import list_nodes, save_reports
from scheduler.db.tables import nodes
from scheduler.fleet.memory import Fleet, Heard
from scheduler.loops.fleet import FleetLoop
from scheduler.wire.reports import GpuReport, GpuUse, NodeReport, RatioOver
from tests.api.conftest import HandClock

MINUTE = timedelta(minutes=1)


class Told:
    """A hub's small world whose nodes speak through the fleet's memory."""

    def __init__(self, hub, wake) -> None:
        self.hub, self.fleet = hub, Fleet(60)
        self.clock = HandClock(hub.now)
        settings = HubSettings(node_stale_seconds=60, rollup_seconds=300)
        self.loop = FleetLoop(hub.db, self.fleet, wake, self.clock, settings)
        self.number = 0

    async def report(self, node="hub-1", **gpu):
        self.number += 1
        report = NodeReport(
            node=node,
            pool="hub",
            boot_id="boot",
            sequence=self.number + 100,
            sampled_at=self.clock.now(),
            gpus=tuple(
                GpuReport(index=i, uuid=f"{node}-{i}", model="H100", **gpu) for i in range(2)
            ),
            use=tuple(GpuUse(index=i, sm_active=RatioOver(0.5, 0.25, 0.75)) for i in range(2)),
        )
        now = self.clock.now()
        heard = self.fleet.hear(report, now.timestamp())
        if heard is Heard.NEWS:
            async with self.hub.db.transaction() as conn:
                await save_reports(conn, [report], self.hub.policy, now)
            self.fleet.stored(report, now.timestamp())
        return heard

    async def node(self, name="hub-1"):
        async with self.hub.db.reading() as conn:
            return next(node for node in await list_nodes(conn) if node.node == name)

    async def step(self, after=timedelta(0)):
        self.clock.forward(after)
        await self.loop.rollups.step()
        await self.loop.step()

    async def write(self, work, *given):
        async with self.hub.db.transaction() as conn:
            return await work(conn, *given)


@pytest.fixture
async def told(hub, wake):
    found = Told(hub, wake)
    await found.step()
    await found.report()
    return found


async def test_a_node_that_falls_silent_takes_no_work_until_it_speaks(told):
    await told.step(MINUTE)
    assert (await told.node()).usable
    await told.step(MINUTE)
    why = (await told.node()).why_unusable
    assert why == f"silent since {told.hub.now:%H:%M:%S} UTC"
    assert await told.report() is Heard.NEWS
    assert (await told.node()).usable


async def test_a_node_that_another_process_hears_is_left_alone(told):
    told.clock.forward(MINUTE)
    other = Told(told.hub, None)
    other.clock = told.clock
    other.number = 50
    await other.report()  # in the last minute before `told` would have called it silent
    await told.step(MINUTE / 2)
    assert (await told.node()).usable
    await told.step(6 * MINUTE)
    assert told.fleet.seat("hub-1") is None


async def test_use_is_rolled_up_with_whose_lease_it_was(told):
    await told.hub.submit(("own", 2, False))
    await told.hub.cycle()
    run = await told.hub.run("j1")
    for _ in range(3):
        await told.report(run.slots[0].node)
    await told.step(5 * MINUTE)
    async with told.hub.db.reading() as conn:
        rows = (
            (await conn.execute(select(gpu_rollups).order_by(gpu_rollups.c.gpu))).mappings().all()
        )
    mine = [row for row in rows if row["node_id"] == run.slots[0].node]
    assert [(row["run_id"], row["sm_mean"], row["sm_most"]) for row in mine] == [
        (run.id, 0.25, 0.75)
    ] * 2
    assert all(row["watts_mean"] is None for row in mine)
    assert (await told.node()).reported_at == told.hub.now


async def test_a_node_that_was_not_heard_since_its_rollup_is_not_written_again(told, monkeypatch):
    await told.step(5 * MINUTE)
    with monkeypatch.context() as closed:
        closed.setattr(told.hub.db, "transaction", None)
        closed.setattr(told.hub.db, "reading", None)
        told.clock.forward(5 * MINUTE)
        await told.loop.rollups.step()
    await told.report()
    spoke_at = told.clock.now()
    told.clock.forward(5 * MINUTE)
    await told.loop.rollups.step()
    assert (await told.node()).reported_at == spoke_at


async def test_when_nodes_spoke_is_only_ever_brought_forward(told):
    await told.report("hub-2")
    now = told.hub.now
    said = {"hub-2": (7, now + 2 * MINUTE), "hub-1": (5, now + MINUTE), "gone": (1, now + MINUTE)}
    await told.write(heard, said)
    await told.write(heard, {"hub-1": (4, now), "hub-2": (9, now + 3 * MINUTE)})
    async with told.hub.db.reading() as conn:
        columns = (nodes.c.id, nodes.c.sequence, nodes.c.reported_at)
        rows = await conn.execute(select(*columns).where(nodes.c.id.in_(said)).order_by(nodes.c.id))
        found = [tuple(row) for row in rows]
    assert found == [("hub-1", 5, now + MINUTE), ("hub-2", 9, now + 3 * MINUTE)]


async def test_a_cordon_of_health_ends_after_a_clean_probe_and_the_next_report(told):
    await told.report(remap_pending=True)
    assert "row" in (await told.node()).why_unusable
    await told.report()
    assert not (await told.node()).usable
    told.clock.forward(PROBE)
    assert await told.write(lift_cordons, told.clock.now()) == ["hub-1"]
    await told.loop.step()
    assert await told.report() is Heard.NEWS
    assert (await told.node()).usable


async def test_an_operators_drain_tells_its_runs_and_stands_until_resumed(told):
    await told.hub.submit(("own", 2, False))
    await told.hub.cycle()
    node = (await told.hub.run("j1")).slots[0].node
    order = DrainOrder("ann", "new firmware")
    sites = await told.write(drain_node, node, order, told.hub.policy, told.hub.now)
    assert sites == ["site"]
    run = await told.hub.run("j1")
    assert (run.stop_reason, run.stop_at > told.hub.now) == ("drained", True)
    assert "drained by ann: new firmware" in str(await told.hub.history("j1"))
    await told.report(node)
    assert (await told.node(node)).why_unusable == "drained by ann: new firmware"
    assert await told.write(resume_node, node, "ann", told.hub.now)
    assert not await told.write(resume_node, node, "ann", told.hub.now)
    await told.loop.step()
    await told.report(node)
    assert (await told.node(node)).usable


async def test_a_drain_with_an_end_ends_then(told):
    order = DrainOrder("ann", "new firmware", told.clock.now() + MINUTE)
    await told.write(drain_node, "hub-1", order, told.hub.policy, told.hub.now)
    assert await told.write(lift_cordons, told.clock.now()) == []
    assert await told.write(lift_cordons, told.clock.now() + MINUTE) == ["hub-1"]
