"""The forecast loop learns, foresees and keeps count; the cycle loop writes down what it saw."""

from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from scheduler.core.eta import Eta
from scheduler.core.whatif import PastJob
from scheduler.db.past import past_jobs
from scheduler.loops.cycle import CycleLoop
from scheduler.loops.forecast import ForecastLoop
from scheduler.replay.again import replay
from scheduler.replay.recorder import Recorder
from scheduler.replay.recording import read_recording
from tests import build
from tests.build import DAY

GUEST = ("guest", 2, False)


class Clock:
    """The hub's own time, which its tests set; durations pass by themselves."""

    def __init__(self, hub):
        self.hub = hub
        self.seconds = 0.0

    def now(self):
        return self.hub.now

    def monotonic(self):
        self.seconds += 0.001
        return self.seconds


class Ledger:
    def __init__(self):
        self.recorded, self.settled = {}, []

    async def record(self, etas, made_at):
        del made_at
        self.recorded.update(etas)

    async def settle(self, settled):
        self.settled.extend(settled)


@pytest.fixture
def clock(hub):
    return Clock(hub)


@pytest.fixture
def cycle(db, wake, clock):
    return CycleLoop(db, wake, clock, cycle_seconds=60)


async def test_a_job_is_told_an_interval_that_is_settled_when_it_starts(hub, cycle, clock):
    async def past(since):
        del since
        job = build.job("old", "guest", gpus=2, user="bob")
        return [PastJob(job, timedelta(minutes=m)) for m in range(5, 15)]

    ledger = Ledger()
    loop = ForecastLoop(cycle, clock, past, ledger)
    for _ in range(3):
        await hub.submit(GUEST)
    await cycle.step()
    assert await loop.step() >= 5
    eta = loop.etas["j3"]
    assert hub.now <= eta.low <= eta.likely <= eta.high <= hub.now + timedelta(minutes=30)
    assert loop.starts == {"j3": eta.likely}
    assert [*ledger.recorded] == ["j3"]
    await hub.orders()
    hub.now = eta.likely
    for _ in range(3):
        await hub.tell(0)
    await cycle.step()
    await hub.orders()
    for index in range(4):
        await hub.tell(index % 2)
    await cycle.step()
    hits = REGISTRY.get_sample_value("commonpool_eta_hits_total", {"hit": "true"}) or 0
    await loop.step()
    assert [(one.job, one.hit) for one in ledger.settled] == [("j3", True)]
    assert REGISTRY.get_sample_value("commonpool_eta_hits_total", {"hit": "true"}) == hits + 1
    assert loop.score.rate == 1.0


async def test_where_nothing_waits_or_another_leads_nothing_is_foreseen(hub, cycle, clock):
    loop = ForecastLoop(cycle, clock)
    loop.etas["gone"] = Eta(hub.now, None, None)
    await loop.step()
    assert loop.etas == {}
    await cycle.step()
    loop.etas["gone"] = Eta(hub.now, None, None)
    await loop.step()
    assert loop.etas == {}


async def test_what_ended_is_learnt_once(hub, cycle, clock):
    asked = []

    async def past(since):
        asked.append(since)
        return [PastJob(build.job("old", "guest", gpus=2, user="bob"), timedelta(minutes=5))]

    loop = ForecastLoop(cycle, clock, past)
    for _ in range(3):
        await hub.submit(GUEST)
    await cycle.step()
    for _ in range(6):
        await loop.step()
    assert loop.predictor.predict("bob", "guest", 2, "") is None
    assert asked[0] == hub.now - 30 * DAY - timedelta(minutes=1)
    assert asked[-1] == hub.now - timedelta(minutes=1)


async def test_past_jobs_are_those_that_ran(hub, db):
    for _ in range(2):
        await hub.submit(GUEST)
    await hub.turn()
    await hub.tell(0)
    await hub.tell(0)
    await hub.wait(7)
    await hub.tell(0)
    await hub.cancel(1)
    async with db.reading() as conn:
        found = await past_jobs(conn, hub.now - DAY)
        assert await past_jobs(conn, hub.now) == ()
    assert [(one.job.id, one.ran) for one in found] == [("j1", timedelta(minutes=7))]


async def test_a_hub_that_records_can_be_replayed_to_the_byte(hub, db, wake, clock, tmp_path):
    cycle = CycleLoop(db, wake, clock, 60, Recorder(tmp_path))
    for _ in range(3):
        await hub.submit(GUEST)
        await cycle.step()
    await hub.orders()
    for _ in range(3):
        await hub.tell(0)
    await cycle.step()
    (file,) = tmp_path.glob("*.gz")
    again = list(replay(read_recording(file)))
    assert [one.difference for one in again] == [None] * 4
    assert [len(one.plan.starts) for one in again] == [1, 1, 0, 1]
