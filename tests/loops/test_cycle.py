import asyncio
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import update

from scheduler.clock import SystemClock
from scheduler.core.lifecycle import JobState
from scheduler.db.tables import jobs, policies
from scheduler.loops import cycle as module
from scheduler.loops.cycle import CycleLoop
from scheduler.loops.forecast import ForecastLoop
from tests.db.store import put_in_force

OWN, GUEST = ("own", 2, False), ("guest", 2, False)


@pytest.fixture
def loop(db, wake):
    return CycleLoop(db, wake, SystemClock(), cycle_seconds=60)


async def test_a_cycle_starts_what_was_submitted_and_rings_for_its_site(hub, loop, wake):
    await hub.submit(OWN)
    site, job = wake.bell("site:site"), wake.bell("job:j1")
    await loop.step()
    assert (await hub.job("j1")).state is JobState.STARTING
    assert site.is_set()
    assert job.is_set()


async def test_a_hub_without_a_policy_waits_and_does_not_fail(db, loop):
    async with db.transaction() as conn:
        await conn.execute(policies.delete())
    assert await loop.step() > 0


async def test_nothing_new_is_not_planned_again(hub, loop, monkeypatch):
    await hub.submit(OWN)
    await loop.step()
    await loop.step()
    planned = []
    monkeypatch.setattr(module, "decide", lambda *given: planned.append(given))
    await loop.step()
    assert planned == []


async def test_what_waits_is_told_and_goes_when_there_is_room(hub, loop):
    for _ in range(3):
        await hub.submit(GUEST)
    await loop.step()
    states = [(await hub.job(name)).state for name in ("j1", "j2", "j3")]
    assert states == [JobState.STARTING, JobState.STARTING, JobState.PENDING]
    await hub.orders()
    for _ in range(3):
        await hub.tell(0)
    await loop.step()
    assert (await hub.job("j3")).state is JobState.STARTING


async def test_a_new_policy_rebuilds_the_world(hub, loop):
    await loop.step()
    policy, _ = await loop.looked_at()
    async with hub.db.transaction() as conn:
        await put_in_force(conn, replace(policy, revision=2))
    await loop.step()
    assert (await loop.looked_at())[0].revision == 2


async def test_a_plan_made_under_another_policy_is_not_stored(hub, loop, monkeypatch):
    async def changed_meanwhile(conn):
        del conn
        return 2

    await hub.submit(OWN)
    monkeypatch.setattr(module, "revision_in_force", changed_meanwhile)
    await loop.step()
    assert (await hub.job("j1")).state is JobState.PENDING
    monkeypatch.undo()
    await loop.step()
    assert (await hub.job("j1")).state is JobState.STARTING


async def test_a_failure_throws_the_world_away_and_the_next_cycle_recovers(hub, loop, monkeypatch):
    await loop.step()
    await hub.submit(OWN)

    def fail(*_, **__):
        raise RuntimeError("a bug in planning")

    monkeypatch.setattr(module, "decide", fail)
    with pytest.raises(RuntimeError, match="a bug in planning"):
        await loop.step()
    monkeypatch.undo()
    await loop.step()
    assert (await hub.job("j1")).state is JobState.STARTING


async def test_a_job_that_vanished_behind_the_worlds_back_is_counted_and_forgotten(hub, loop):
    for _ in range(3):
        await hub.submit(GUEST)
    await loop.step()
    await hub.orders()
    for _ in range(3):
        await hub.tell(0)
    async with hub.db.transaction() as conn:
        await conn.execute(update(jobs).where(jobs.c.id == "j3").values(state="stopped"))
    before = REGISTRY.get_sample_value("commonpool_stale_commits_total")
    assert await loop.step() == 0.0
    assert REGISTRY.get_sample_value("commonpool_stale_commits_total") == before + 1
    await loop.step()
    assert (await loop.looked_at())[1].jobs == {}


async def test_forecasts_name_the_start_of_what_waits(hub, loop):
    for _ in range(3):
        await hub.submit(GUEST)
    await loop.step()
    forecasts = ForecastLoop(loop, SystemClock())
    await forecasts.step()
    assert set(forecasts.starts) == {"j3"}
    assert forecasts.starts["j3"] >= hub.now
    await hub.cancel(2)
    await loop.step()
    await forecasts.step()
    assert forecasts.starts == {}


async def test_the_clock_is_not_held_up_by_a_long_plan(hub, loop, monkeypatch):
    """A large world is planned in another thread, so that the API answers meanwhile."""
    monkeypatch.setattr(module, "_LARGE", 0)
    await hub.submit(OWN)
    beats = []

    async def beat():
        while True:
            beats.append(1)
            await asyncio.sleep(0)

    beating = asyncio.create_task(beat())
    await loop.step()
    beating.cancel()
    assert beats
    assert (await hub.job("j1")).state is JobState.STARTING
