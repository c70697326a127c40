"""R17 from the submission to the approval: who waits, who is told what, and what lets it go on."""

import asyncio

import pytest
from sqlalchemy import select

from scheduler.core.thresholds import PETA
from scheduler.db.policies import save_policy
from scheduler.db.tables import jobs
from scheduler.db.training import line_total
from tests.api.conftest import NOON, POLICY
from tests.api.test_dry_run import dry
from tests.api.test_requests import ask, decide, seen

BIG = POLICY + "\nthresholds:\n  - {name: big, flop: 1e20, source: a test}\n"
EAGLE = {"model_line": "eagle", "tier": ["national"]}


@pytest.fixture
async def strict(house):
    async with house.hub.db.transaction() as conn:
        await save_policy(conn, BIG, NOON, "admin")
    await house.report("national")
    return house


async def told(house, job, who="dana"):
    answer = await house.call(who, "GET", f"/v1/jobs/{job['id']}/explanation")
    return answer.json()


async def state(house, job):
    return (await house.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()["state"]


def crossing(**more):
    said = {"kind": "threshold", "account": "arl-vision", "model_line": "eagle"}
    return said | {"threshold": "big", "flop": 1.2e20} | more


async def test_r17_flop_add_up_per_line_and_the_job_that_crosses_waits_until_two_approve(strict):
    first = await strict.submit("dana", **EAGLE, training_flop=6e19)
    second = await strict.submit("dana", **EAGLE, training_flop=6e19)
    await strict.plan()
    assert (await state(strict, first), await state(strict, second)) == ("starting", "pending")
    assert second["training"] == {"model_line": "eagle", "flop": 6e19, "line_flop": 1.2e20}
    why = await told(strict, second)
    assert why["summary"].startswith("It needs approval of the threshold big")
    assert why["approval"]["sentence"] == "Nobody has asked for it: 0 of 2 approvers."
    assert (why["approval"]["flop"], why["approval"]["request"]) == (1.2e20, None)

    asked = await ask(strict, "dana", crossing())
    await decide(strict, "lee", asked)
    await strict.plan()
    why = await told(strict, second)
    assert why["approval"]["request"] == asked["id"]
    assert "1 of 2 approvers, from 1 of 2 institutions" in why["approval"]["sentence"]
    assert await state(strict, second) == "pending"

    bell = strict.hub.wake.bell("cycle")
    done = await decide(strict, "pat", await seen(strict, "pat", asked["id"]))
    assert (done.json()["state"], done.json()["revision"]) == ("applied", 3)
    assert bell.is_set()
    await strict.plan()
    assert await state(strict, second) == "starting"
    third = await strict.submit("dana", **EAGLE, training_flop=1e19)
    await strict.plan()
    assert await state(strict, third) == "pending"


async def test_r17_a_denied_request_keeps_the_job_waiting_and_says_so(strict):
    job = await strict.submit("dana", **EAGLE, training_flop=1.1e20)
    await strict.plan()
    asked = await ask(strict, "dana", crossing())
    await decide(strict, "lee", asked, approve=False)
    await strict.plan()
    assert await state(strict, job) == "pending"
    assert "denied" in (await told(strict, job))["approval"]["sentence"]


async def test_r17_a_job_that_never_ran_gives_its_part_of_the_line_back(strict):
    held = await strict.submit("dana", **EAGLE, training_flop=2e20)
    small = await strict.submit("dana", **EAGLE, training_flop=1e19)
    await strict.plan()
    assert await state(strict, small) == "pending"
    for _ in range(2):
        await strict.call("dana", "POST", f"/v1/jobs/{held['id']}/cancel")
    await strict.plan()
    assert await state(strict, small) == "starting"
    async with strict.hub.db.reading() as conn:
        assert await line_total(conn, "arl", "eagle") == 1e19 / PETA


async def test_r17_the_same_request_sent_again_adds_nothing(strict):
    asked = {"entrypoint": "x", **EAGLE, "training_flop": 6e19, "submission_id": "once"}
    for _ in range(3):
        await strict.call("dana", "POST", "/v1/jobs", json=asked)
    async with strict.hub.db.reading() as conn:
        assert await line_total(conn, "arl", "eagle") == 6e19 / PETA


async def test_r17_of_jobs_that_come_at_once_each_has_a_sum_of_its_own(strict):
    await asyncio.gather(*(strict.submit("dana", **EAGLE, training_flop=1e15) for _ in range(8)))
    async with strict.hub.db.reading() as conn:
        rows = (await conn.execute(select(jobs.c.training))).scalars()
        assert sorted(row["reaches"] for row in rows) == [*range(1, 9)]


async def test_r17_another_institutions_line_of_the_same_name_is_another_line(strict):
    await strict.submit("dana", **EAGLE, training_flop=9e19)
    other = await strict.submit("alex", **EAGLE, training_flop=9e19)
    assert other["training"]["line_flop"] == 9e19


async def test_r17_a_dry_run_says_before_the_submission_what_the_job_would_wait_for(strict):
    await strict.submit("dana", **EAGLE, training_flop=6e19)
    small = (await dry(strict, **EAGLE, training_flop=1e18)).json()
    assert small["approval"] is None
    found = (await dry(strict, **EAGLE, training_flop=6e19)).json()
    assert found["approval"]["flop"] == 1.2e20
    (only,) = found["candidates"]
    assert (only["starts_now"], only["verdicts"][0]["reason"]) == (False, "threshold")
    async with strict.hub.db.reading() as conn:
        assert await line_total(conn, "arl", "eagle") == 6e19 / PETA


async def test_r17_a_request_names_a_threshold_that_the_policy_has(strict):
    asked = await ask(strict, "dana", crossing(threshold="huge"))
    await decide(strict, "lee", asked)
    answer = await decide(strict, "pat", asked)
    assert answer.json()["state"] == "approved"
    assert "no threshold is named 'huge'; there are big" in answer.json()["note"]


async def test_r17_rays_metadata_carries_the_line_too(strict):
    metadata = {"commonpool.model_line": "eagle", "commonpool.training_flop": "1.1e20"}
    message = {"entrypoint": "x", "metadata": metadata}
    answer = await strict.call("dana", "POST", "/api/jobs/", json=message)
    assert answer.status_code == 200, answer.text
    (job,) = (await strict.call("dana", "GET", "/v1/jobs")).json()["jobs"]
    assert job["training"]["line_flop"] == 1.1e20
    for wrong in ("-1", "x", "1e99", "0"):
        metadata = {"commonpool.training_flop": wrong}
        message = {"entrypoint": "x", "metadata": metadata}
        answer = await strict.call("dana", "POST", "/api/jobs/", json=message)
        assert answer.status_code == 422, wrong
