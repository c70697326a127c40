"""Alive, ready, counted."""

from dataclasses import replace

import httpx

from scheduler.api.app import create_app
from scheduler.db.engine import Database


async def test_a_hub_is_alive_and_ready_without_a_token(house):
    assert (await house.http.get("/healthz")).json() == {"status": "alive"}
    assert (await house.http.get("/readyz")).json() == {"status": "ready"}


async def ask(hub, path):
    transport = httpx.ASGITransport(create_app(hub))
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as http:
        return await http.get(path)


async def test_a_hub_whose_loops_are_dead_says_so(small):
    hub = replace(small.hub, loops_fault=lambda: "the cycle has failed 3 times: disk full")
    answer = await ask(hub, "/readyz")
    assert answer.status_code == 503
    assert answer.json()["why"] == ["the cycle has failed 3 times: disk full"]
    assert (await ask(hub, "/healthz")).status_code == 200


async def test_a_hub_that_lost_its_database_says_so(small, tmp_path):
    away = Database(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/hub.db")
    answer = await ask(replace(small.hub, db=away), "/readyz")
    await away.close()
    assert answer.status_code == 503
    assert "cannot be opened" in answer.json()["why"][0]


async def test_metrics_count_requests_by_route_and_not_by_path(small):
    for job in ("a", "b"):
        await small.call("dana", "GET", f"/v1/jobs/{job}")
    page = (await small.call("admin", "GET", "/metrics")).text
    line = 'commonpool_request_seconds_count{method="GET",route="/v1/jobs/{job}",status="404"}'
    assert line in page
    assert "/v1/jobs/a" not in page
    assert (await small.call("national-metrics", "GET", "/metrics")).status_code == 200


async def test_there_is_no_page_that_loads_scripts_from_the_internet(small):
    for path in ("/docs", "/redoc"):
        assert (await small.http.get(path)).status_code == 404
