"""How long owners waited is published to everybody, with the promise beside it (R10)."""

from datetime import timedelta

import pytest

from scheduler.api.callers import KEEP_WHILE_AWAY_SECONDS
from scheduler.db.engine import Database
from tests.api.conftest import NOON

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def recalled(house):
    """Industry has the whole national pool; academia took half of it back in one minute."""
    await house.report("national")
    lent = [await house.submit("iris", gpus_per_node=8, tier=["national"]) for _ in range(4)]
    await house.plan()
    runs = [f"cp-{job['id']}-1" for job in lent]
    working = [house.observed(run, "running") for run in runs]
    await house.sync("national", *working)
    house.clock.forward(MINUTE)
    own = await house.submit("alex", gpus_per_node=8, tier=["national"])
    await house.plan()
    house.clock.forward(MINUTE)
    orders = (await house.sync("national", *working, sequence=2)).json()["leases"]
    (victim,) = [lease["run"] for lease in orders if lease["wanted"] == "stop"]
    ended = house.observed(victim, "preempted", fenced=True)
    await house.sync("national", ended, sequence=3)
    owners = house.observed(f"cp-{own['id']}-1", "running")
    await house.sync("national", ended, owners, sequence=4)
    return house


async def test_everybody_sees_how_long_owners_waited(recalled):
    answer = await recalled.call("dana", "GET", "/v1/recalls?days=7")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    (pair,) = found["pairs"]
    assert (pair["lender"], pair["pool"], pair["recalls"]) == ("state-u-nlp", "national-hub", 1)
    assert pair["p50_seconds"] == pair["p99_seconds"] == 60
    # Ten seconds of notice and a minute of teardown were promised.
    assert (pair["longest_notice_seconds"], pair["kept"], pair["late"]) == (10, 1, 0)
    assert found["lenders"] == [pair | {"pool": None}]
    assert found["pools"] == [pair | {"lender": None}]
    assert found["since"] == (NOON + 2 * MINUTE - timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_what_lies_before_the_window_is_not_told(recalled):
    recalled.clock.forward(timedelta(days=2))
    assert (await recalled.call("dana", "GET", "/v1/recalls?days=1")).json()["pairs"] == []
    assert (await recalled.call("dana", "GET", "/v1/recalls?days=0")).status_code == 422
    assert (await recalled.call("dana", "GET", "/v1/recalls?weeks=1")).status_code == 422


async def test_agents_and_strangers_are_not_told(small):
    assert (await small.call("national-node", "GET", "/v1/recalls")).status_code == 403
    assert (await small.http.get("/v1/recalls")).status_code == 401


async def test_metrics_show_recalls_by_lender_and_pool(recalled):
    page = (await recalled.call("admin", "GET", "/metrics")).text
    for part in ("50", "99"):
        names = f'lender="state-u-nlp",percentile="{part}",pool="national-hub"'
        assert f"commonpool_recall_seconds{{{names}}} 60.0" in page
    labels = 'lender="state-u-nlp",outcome="kept",pool="national-hub"'
    assert f"commonpool_recalls{{{labels}}} 1.0" in page


@pytest.mark.parametrize("seconds", [0, 15, 240])
async def test_metrics_are_shown_also_without_the_database(small, tmp_path, monkeypatch, seconds):
    """A scrape each 15 s is longer than a token is kept; nobody can be revoked meanwhile."""
    assert (await small.call("admin", "GET", "/metrics")).status_code == 200
    away = Database(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/hub.db")
    monkeypatch.setattr(small.hub.db, "_readers", away.engine)
    small.clock.later(seconds)
    answer = await small.call("admin", "GET", "/metrics")
    await away.close()
    assert answer.status_code == 200
    assert "commonpool_leader" in answer.text


async def test_a_caller_is_not_known_for_ever_without_the_database(small, tmp_path, monkeypatch):
    assert (await small.call("admin", "GET", "/metrics")).status_code == 200
    away = Database(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/hub.db")
    monkeypatch.setattr(small.hub.db, "_readers", away.engine)
    small.clock.later(KEEP_WHILE_AWAY_SECONDS)
    answer = await small.call("admin", "GET", "/metrics")
    await away.close()
    assert answer.status_code == 503
