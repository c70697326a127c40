import asyncio
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from scheduler.errors import StorageUnavailable
from scheduler.loops import supervise
from scheduler.loops.supervise import Supervisor, alone, elected
from tests.waiting import eventually


class Counting:
    """A loop that counts its steps, and fails as often as it is told."""

    name = "counting"
    bell = "count"

    def __init__(self, error=None, failures=0, rest=60.0):
        self.steps = 0
        self.resets = 0
        self.error = error
        self.failures = failures
        self.rest = rest

    def reset(self):
        self.resets += 1

    async def step(self):
        self.steps += 1
        if self.steps <= self.failures:
            raise self.error
        return self.rest


@asynccontextmanager
async def running(loop, wake, leadership=alone):
    supervisor = Supervisor(leadership, [loop], wake)
    supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def test_a_bell_ends_a_loops_rest(wake):
    loop = Counting()
    async with running(loop, wake):
        await eventually(lambda: loop.steps == 1)
        wake.ring("count")
        await eventually(lambda: loop.steps == 2)


async def test_a_stop_does_not_wait_for_a_rest_to_end(wake):
    loop = Counting(rest=3600)
    async with asyncio.timeout(2), running(loop, wake):
        await eventually(lambda: loop.steps == 1)


async def test_a_step_that_hangs_is_ended_by_a_stop(wake, monkeypatch):
    monkeypatch.setattr(supervise, "_STOP_SECONDS", 0.1)

    class Hanging(Counting):
        async def step(self):
            self.steps += 1
            await asyncio.Event().wait()

    loop = Hanging()
    async with asyncio.timeout(5), running(loop, wake):
        await eventually(lambda: loop.steps == 1)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), StorageUnavailable("the disk is full")])
async def test_a_loop_that_fails_is_told_reset_and_tried_again(wake, error):
    loop = Counting(error, failures=2)
    async with running(loop, wake) as supervisor:
        await eventually(lambda: loop.steps == 3)
        assert loop.resets == 3
        await eventually(lambda: supervisor.fault() is None)


async def test_a_loop_that_keeps_failing_is_a_fault_with_its_reason(wake):
    loop = Counting(StorageUnavailable("the disk is full"), failures=10**6)
    async with running(loop, wake) as supervisor:
        told = await eventually(supervisor.fault)
    assert told == "the counting loop failed 3 times in a row: the disk is full"


async def test_loops_that_were_not_started_are_a_fault(wake):
    assert Supervisor(alone, [Counting()], wake).fault() == "the hub's loops do not run"


@pytest.fixture
async def two(db, wake, monkeypatch):
    """Two hubs of one PostgreSQL, which ask often who leads."""
    if db.dialect != "postgresql":
        pytest.skip("on SQLite the data folder's lock keeps a second hub away")
    monkeypatch.setattr(supervise, "_ASK_SECONDS", 0.1)
    loops = [Counting(), Counting()]
    hubs = [Supervisor(elected(db), [loop], wake) for loop in loops]
    for hub in hubs:
        hub.start()
    yield loops, hubs
    for hub in hubs:
        await hub.stop()


async def test_of_two_hubs_one_leads_and_the_other_follows_when_it_stops(two):
    loops, hubs = two
    await eventually(lambda: any(loop.steps for loop in loops))
    assert sorted(loop.steps for loop in loops) == [0, 1]
    assert [hub.fault() for hub in hubs] == [None, None]
    leader = 0 if loops[0].steps else 1
    await hubs[leader].stop()
    await eventually(lambda: loops[1 - leader].steps == 1)


async def test_a_leader_whose_connection_dies_stops_planning_and_one_leads_again(two, db):
    loops, _ = two
    await eventually(lambda: sum(loop.steps for loop in loops) == 1)
    async with db.transaction() as conn:
        await conn.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks"
                " WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()"
            )
        )
    await eventually(lambda: sum(loop.steps for loop in loops) == 2)
