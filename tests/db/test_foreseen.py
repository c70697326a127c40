"""What predictions are made from, and whether forecasts came true (scheduling.md §5)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from scheduler.core.model import RunState
from scheduler.db.etas import Eta, HitRate, hit_rate, prune, record, settle
from scheduler.db.history import FinishedRun, finished_runs
from scheduler.db.tables import eta_records
from tests import build
from tests.build import DAY, HOUR, MINUTE, NOON
from tests.db.small_hub import Hub
from tests.db.store import store


async def test_finished_runs_are_told_newest_first_with_what_they_have_in_common(db):
    hub = Hub(db)
    await hub.begin()
    for minutes in (5, 7):
        await hub.submit(("own", 2, False))
        await hub.turn()
        await hub.tell(0)
        await hub.wait(minutes)
        await hub.tell(0)
        await hub.tell(0)
        await hub.sync()
    await hub.submit(("own", 2, False))
    await hub.turn()
    async with db.reading() as conn:
        found = await finished_runs(conn, NOON)
        latest = await finished_runs(conn, NOON, most=1)
        later = await finished_runs(conn, NOON + MINUTE * 6)
    first = FinishedRun("ann", "own", 2, "own's", 5 * MINUTE, NOON + 5 * MINUTE, RunState.SUCCEEDED)
    second = replace(first, ran=7 * MINUTE, ended_at=NOON + 12 * MINUTE)
    assert found == [second, first]
    assert latest == later == [second]


def eta(job, low=10, high=20, made=0):
    made_at = NOON + MINUTE * made
    times = (NOON + MINUTE * minutes for minutes in (low, (low + high) / 2, high))
    return Eta(job, made_at, *times)


@pytest.fixture
async def waiting(db):
    async with db.transaction() as conn:
        await store(conn, build.snapshot([build.job(f"j{n}") for n in range(4)]), build.policy())
    return db


async def test_the_first_forecast_of_a_job_stands_and_is_held_against_its_start(waiting):
    async with waiting.transaction() as conn:
        await record(conn, [eta("j0"), eta("j1"), eta("j2"), eta("never was")])
        await record(conn, [eta("j0", 30, 40, made=5), eta("j3", made=5)])
        assert await hit_rate(conn, NOON) == HitRate(0, 0)
        await settle(conn, ["j0", "j3"], NOON + 10 * MINUTE)
        await settle(conn, ["j1"], NOON + 21 * MINUTE)
        await settle(conn, ["j0"], NOON + HOUR)
        assert await hit_rate(conn, NOON) == HitRate(3, 2)
        assert await hit_rate(conn, NOON + 20 * MINUTE) == HitRate(1, 0)
        assert await hit_rate(conn, NOON + DAY) == HitRate(0, 0)
    assert (HitRate(3, 2).part, HitRate(0, 0).part) == (pytest.approx(2 / 3), None)


async def test_forecasts_are_forgotten_by_age_and_by_number(waiting):
    async with waiting.transaction() as conn:
        await record(conn, [eta(f"j{n}", made=n) for n in range(4)])
        assert await prune(conn, NOON + MINUTE) == 1
        assert await prune(conn, NOON, most=2) == 1
        assert await prune(conn, NOON, most=2) == 0
        left = (await conn.execute(select(eta_records.c.job_id))).scalars().all()
    assert sorted(left) == ["j2", "j3"]


async def test_a_start_that_is_committed_settles_its_forecast(db):
    hub = Hub(db)
    await hub.begin()
    await hub.submit(("own", 2, False))
    async with db.transaction() as conn:
        await record(conn, [eta("j1", low=0, high=5)])
    await hub.wait(2)
    await hub.cycle()
    async with db.reading() as conn:
        assert await hit_rate(conn, NOON - timedelta(days=7)) == HitRate(1, 1)
