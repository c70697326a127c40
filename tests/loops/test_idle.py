"""A lease whose GPUs do nothing, from the reports to the job's history, on both databases (R18)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.loops.idle import IdleLoop
from scheduler.wire.reports import GpuReport, GpuUse, MemoryOver, NodeReport, RatioOver, WattsOver
from tests.loops.test_fleet import Told

MINUTE = timedelta(minutes=1)


class Idle(Told):
    """A small hub with a run of two GPUs, whose tier warns, requeues and ends."""

    async def begin(self, wake):
        rules = {"idle_warn": 30 * MINUTE, "idle_requeue": 60 * MINUTE, "idle_end": 90 * MINUTE}
        policy = self.hub.policy
        tiers = tuple((tier, replace(known, **rules)) for tier, known in policy.tiers)
        await self.hub.apply(replace(policy, tiers=tiers))
        self.idle = IdleLoop(self.hub.db, self.fleet, wake, self.clock)
        await self.hub.submit(("own", 2, False))
        await self.runs("j1")

    async def runs(self, name, attempt=1):
        self.hub.now = self.clock.now()
        await self.hub.turn()
        for _ in range(4):
            self.run = await self.hub.run(name, attempt)
            if self.run.state == "running":
                return
            await self.hub.tell(0)
        raise AssertionError(self.run.state)

    async def says(self, sm, after):
        self.clock.forward(after)
        self.number += 1
        node, now = self.run.slots[0].node, self.clock.now()
        report = NodeReport(
            node=node,
            pool="hub",
            boot_id="boot",
            sequence=self.number + 100,
            sampled_at=now,
            gpus=tuple(GpuReport(index=i, uuid=f"{node}-{i}", model="H100") for i in range(2)),
            use=tuple(
                GpuUse(
                    index=i,
                    sm_active=RatioOver(sm, sm, sm),
                    power_watts=WattsOver(80, 80, 80),
                    memory_mib=MemoryOver(500, 500, 500),
                )
                for i in range(2)
            ),
        )
        self.fleet.stored(report, now.timestamp())
        await self.idle.step()

    async def events(self):
        return [event for event, _ in await self.hub.history("j1") if event.startswith(("i", "w"))]


@pytest.fixture
async def told(hub, wake):
    found = Idle(hub, wake)
    await found.begin(wake)
    return found


async def test_an_idle_lease_is_warned_and_requeued_with_its_notice(told):
    await told.says(0, 10 * MINUTE)
    await told.says(0, 29 * MINUTE)
    assert await told.events() == []
    await told.says(0, 1 * MINUTE)
    await told.says(0, 1 * MINUTE)
    assert await told.events() == ["idle_warned"]
    await told.says(0, 30 * MINUTE)
    await told.says(0, 1 * MINUTE)
    assert await told.events() == ["idle_warned", "idle_requeued"]
    run = await told.hub.run("j1")
    assert run.stop_reason == "idle"
    assert run.stop_at > told.clock.now() - MINUTE


async def test_work_takes_a_warning_back(told):
    await told.says(0, 10 * MINUTE)
    await told.says(0, 30 * MINUTE)
    await told.says(0.9, MINUTE)
    await told.says(0, MINUTE)
    await told.says(0, 29 * MINUTE)
    assert await told.events() == ["idle_warned", "works_again"]


async def test_a_hub_that_starts_anew_takes_no_step_twice(told, wake):
    await told.says(0, 10 * MINUTE)
    await told.says(0, 30 * MINUTE)
    told.idle = IdleLoop(told.hub.db, told.fleet, wake, told.clock)
    await told.says(0, MINUTE)
    assert await told.events() == ["idle_warned"]
