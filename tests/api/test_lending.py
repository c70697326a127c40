"""An idle lease is its owner's to take back, and people see who sits on whose (R18)."""

import pytest

from scheduler.db.lending import lend


@pytest.fixture
async def lent(house):
    """Dana's four nodes of the national pool idle, and iris' background work sits on one."""
    await house.report("national")
    host = await house.submit("dana", nodes=4, gpus_per_node=8, tier=["national"])
    await house.plan()
    run = f"cp-{host['id']}-1"
    await house.sync("national", house.observed(run, "running"))
    async with house.hub.db.transaction() as conn:
        await lend(conn, run, house.clock.now())
    guest = await house.submit("iris", gpus_per_node=8, tier=["national"], priority="background")
    await house.plan()
    house.host, house.guest = host["id"], guest["id"]
    return house


async def job(house, who, name):
    return (await house.call(who, "GET", f"/v1/jobs/{name}")).json()


async def test_both_jobs_say_what_they_are_to_each_other(lent):
    host, guest = await job(lent, "dana", lent.host), await job(lent, "iris", lent.guest)
    assert (host["runs"][0]["lent"], host["runs"][0]["guest"]) == (True, False)
    assert (guest["runs"][0]["lent"], guest["runs"][0]["guest"]) == (False, True)
    assert host["reason"].endswith("Its GPUs idle, and background work may use them meanwhile.")
    assert "on GPUs that arl-vision has leased and leaves idle" in guest["runs"][0]["why"]


async def test_who_sits_on_a_gpu_is_shown_after_who_has_it(lent):
    page = (await lent.call("admin", "GET", "/v1/telemetry")).json()
    held = [gpu["held_by"] for node in page["nodes"] for gpu in node["gpus"]]
    both = [[(one["account"], one["guest"]) for one in gpu] for gpu in held if len(gpu) > 1]
    assert both == [[("arl-vision", False), ("acme-robotics", True)]] * 8


async def test_the_owner_takes_it_back_and_the_guest_is_told_to_leave(lent):
    answer = await lent.call("dana", "POST", f"/v1/jobs/{lent.host}/recall")
    assert answer.status_code == 200, answer.text
    assert not answer.json()["runs"][0]["lent"]
    guest = await job(lent, "iris", lent.guest)
    assert guest["state"] == "stopping"
    orders = (await lent.sync("national", sequence=2)).json()["leases"]
    (told,) = [lease for lease in orders if lease["wanted"] == "stop"]
    assert (told["job"], told["guest"], told["stop_reason"]) == (lent.guest, True, "recalled")


async def test_nobody_else_may_and_twice_is_refused_with_a_reason(lent):
    path = f"/v1/jobs/{lent.host}/recall"
    assert (await lent.call("iris", "POST", path)).status_code == 404
    assert (await lent.call("admin", "POST", path)).status_code == 200
    again = await lent.call("dana", "POST", path)
    assert again.status_code == 409
    assert again.json()["detail"] == f"no lease of job {lent.host} is lent"
