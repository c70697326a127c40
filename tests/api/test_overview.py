"""The overview says what the questions that it stands for say one by one."""

import pytest

from scheduler.api.overview import COUNTED
from scheduler.db.policies import save_policy
from scheduler.wire.overview import POOLS_SECONDS
from tests.api.conftest import POLICY
from tests.api.signing_in import signed_in, with_desk
from tests.api.test_requests import ask, budget


async def looked(house, who, **params):
    answer = await house.call(who, "GET", "/v1/overview", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def told(house, person, path, **params):
    answer = await house.call(person, "GET", path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
async def busy(house):
    """Dana has a running job and two that wait; she asked for a budget that others decide on."""
    await house.running("dana", gpus_per_node=8)
    for _ in range(2):
        await house.submit("dana", gpus_per_node=8, nodes=4)
    await house.submit("alex", gpus_per_node=1)
    await ask(house, "dana", budget())
    return house


@pytest.mark.parametrize("who", ["dana", "alex", "lee", "iris", "ops"])
async def test_it_says_what_the_single_questions_say(busy, who):
    found = await looked(busy, who)
    assert found["me"] == await told(busy, who, "/v1/me")
    assert found["jobs"] == (await told(busy, who, "/v1/jobs", limit=20, scope="mine"))["jobs"]
    awaiting = await told(busy, who, "/v1/requests", awaiting="me")
    assert (found["awaiting"], found["more_awaiting"]) == (len(awaiting["requests"]), False)
    own = await told(busy, who, "/v1/requests", who="me", state="open")
    assert found["asked"] == own["requests"]
    for state in ("pending", "starting", "running", "stopping"):
        jobs = await told(busy, who, "/v1/jobs", state=state, scope="mine")
        counted = {one["state"]: one["jobs"] for one in found["counts"]}
        assert counted.get(state, 0) == len(jobs["jobs"])


async def test_pools_are_those_of_the_callers_own_quotas(busy):
    all_pools = (await told(busy, "dana", "/v1/pools"))["pools"]
    mine = (await looked(busy, "dana"))["pools"]
    assert mine
    assert {quota["account"] for pool in mine for quota in pool["quotas"]} == {"arl-vision"}
    for pool in mine:
        (whole,) = (one for one in all_pools if one["pool"] == pool["pool"])
        assert {**whole, "quotas": pool["quotas"]} == pool
        assert all(quota in whole["quotas"] for quota in pool["quotas"])
    left_out = {one["pool"] for one in all_pools} - {one["pool"] for one in mine}
    assert left_out == {
        one["pool"]
        for one in all_pools
        if "arl-vision" not in {quota["account"] for quota in one["quotas"]}
    }


async def test_pools_are_counted_once_for_all_who_look_within_seconds(busy):
    def free(found):
        return {pool["pool"]: pool["free"] for pool in found["pools"]}

    before = free(await looked(busy, "dana"))
    await busy.running("dana", gpus_per_node=1)
    assert free(await looked(busy, "dana")) == before
    busy.clock.later(POOLS_SECONDS + 1)
    assert sum(free(await looked(busy, "dana")).values()) < sum(before.values())


async def test_many_jobs_of_a_state_are_counted_no_further_than_is_told(house):
    for _ in range(COUNTED):
        await house.submit("dana", gpus_per_node=8, nodes=4)
    (waiting,) = (await looked(house, "dana", jobs=0))["counts"]
    assert waiting == {"state": "pending", "jobs": COUNTED, "more": False}
    await house.submit("dana", gpus_per_node=8, nodes=4)
    (waiting,) = (await looked(house, "dana", jobs=0))["counts"]
    assert waiting == {"state": "pending", "jobs": COUNTED, "more": True}


async def test_too_many_jobs_are_refused_with_the_limit(house):
    answer = await house.call("dana", "GET", "/v1/overview", params={"jobs": 101})
    assert answer.status_code == 422
    assert answer.json()["field"] == "jobs"


async def test_another_policy_is_seen_at_once_with_its_quotas(busy):
    before = (await looked(busy, "dana"))["pools"]
    lent = "{account: arl-vision, pool: national-hub, nominal: 8, lend_max: 8, borrow_max: "
    less = POLICY.replace(f"{lent}24}}", f"{lent}0}}")
    async with busy.hub.db.transaction() as conn:
        await save_policy(conn, less, busy.clock.now(), "admin")
    after = (await looked(busy, "dana"))["pools"]
    assert after != before
    (hub,) = (pool for pool in after if pool["pool"] == "national-hub")
    assert [quota["borrow_max"] for quota in hub["quotas"]] == [0]


@pytest.mark.parametrize("who", ["ops", "audra"])
async def test_ones_own_jobs_are_not_everybodys_for_who_sees_everybodys(small, who):
    """Roles on the whole hub show all jobs; Home and "mine" are about the person."""
    await small.submit("dana")
    with_desk(small)
    browser = await signed_in(small, who)
    assert len((await browser.get("/v1/jobs")).json()["jobs"]) == 1
    assert (await browser.get("/v1/jobs?scope=mine")).json()["jobs"] == []
    found = (await browser.get("/v1/overview")).json()
    assert (found["jobs"], found["counts"]) == ([], [])
