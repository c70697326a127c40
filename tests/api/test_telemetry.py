"""The fleet's telemetry: what reports said last, and who has which GPU."""

from datetime import timedelta

import pytest

from tests.api.conftest import NOON

OVER = [0.5, 0.4, 0.8]


async def report(house, sequence=2, use=None, **more):
    """Report national-1, whose GPU 0 works and whose GPU 1 nobody measured."""
    gpus = [
        {"index": i, "uuid": f"SIM-{i}", "model": "H100", "memory_mib": 81559} for i in range(8)
    ]
    one = {"node": "national-1", "pool": "national-hub", "boot_id": "b", "sequence": sequence}
    one |= {"sampled_at": NOON.isoformat(), "gpus": gpus, "simulated": True}
    first = {"index": 0, "sm_active": OVER, "power_watts": [600, 500, 650]}
    first |= {"memory_mib": [4096, 4000, 5000], "temperature_celsius": [61, 60, 64]}
    one["use"] = [first] if use is None else use
    answer = await house.call(
        "national-node", "POST", "/v1/nodes/report", json={"reports": [one | more]}
    )
    assert answer.status_code == 200, answer.text


async def nodes_of(house, who="admin", **asked):
    answer = await house.call(who, "GET", "/v1/telemetry", params=asked)
    assert answer.status_code == 200, answer.text
    return {node["node"]: node for node in answer.json()["nodes"]}


async def test_what_a_gpu_said_last_is_shown_and_what_it_did_not_say_is_not(house):
    await report(house)
    node = (await nodes_of(house))["national-1"]
    said = ("sm_active", "memory_used_mib", "memory_mib", "power_watts", "temperature_celsius")
    assert (node["site"], node["tier"], node["measured"]) == ("national", "national", True)
    assert [node["gpus"][0][name] for name in said] == [0.5, 4096, 81559, 600, 61]
    assert [node["gpus"][1][name] for name in said] == [None, None, 81559, None, None]


async def test_an_agent_that_went_blind_leaves_no_values_standing(small):
    await report(small)
    await report(small, 3, use=(), sampler="stuck")
    node = (await nodes_of(small))["national-1"]
    assert (node["sampler"], node["usable"]) == ("stuck", False)
    assert node["gpus"][0]["sm_active"] is None


async def test_who_uses_a_gpu_is_told_to_them_and_to_operators_and_others_see_the_account(house):
    job, run = await house.running("dana", gpus_per_node=8)
    (node,) = (n for n in (await nodes_of(house)).values() if n["gpus"][0]["held_by"])
    whole = {"account": "arl-vision", "run": run, "job": job["id"], "user": "dana"}
    assert node["gpus"][0]["held_by"] == [whole | {"draining": False, "guest": False}]
    seen = (await nodes_of(house, "dana"))[node["node"]]
    assert seen["gpus"][7]["held_by"] == node["gpus"][7]["held_by"]
    others = (await nodes_of(house, "alex"))[node["node"]]
    hidden = dict.fromkeys(("run", "job", "user")) | {"draining": False, "guest": False}
    hidden["account"] = "arl-vision"
    assert others["gpus"][0]["held_by"] == [hidden]
    watched = (await nodes_of(house, "national-metrics"))[node["node"]]
    assert watched["gpus"][0]["held_by"] == [hidden]


async def test_a_sites_metrics_token_sees_that_site_and_only_one_of_all_sites_sees_all(small):
    await small.report("national")
    await small.report("state-u")
    assert set(await nodes_of(small, "state-u-metrics")) == {"state-u-1", "state-u-2"}
    assert await nodes_of(small, "dana-metrics") == {}
    assert len(await nodes_of(small, "all-sites-metrics")) == 6


async def test_a_gpu_idles_for_its_user_from_the_lease_on_at_the_earliest(small):
    still = {"index": 0, "sm_active": [0, 0, 0], "power_watts": [70, 70, 70]}
    still |= {"memory_mib": [0, 0, 0]}
    await report(small, 2, use=[still])
    gpu = (await nodes_of(small))["national-1"]["gpus"][0]
    assert gpu["idle_since"] == "2026-03-02T12:00:00Z"
    small.clock.forward(timedelta(minutes=10))
    await small.submit("dana", tier=["national"], gpus_per_node=8)
    await small.plan()
    await report(small, 3, use=[still])
    gpu = (await nodes_of(small))["national-1"]["gpus"][0]
    assert (gpu["held_by"] != [], gpu["idle_since"]) == (True, "2026-03-02T12:10:00Z")


async def test_a_sick_gpu_and_processes_without_a_lease_are_shown_with_why(small):
    lost = {"index": 1, "uuid": "SIM-1", "model": "H100", "healthy": False}
    lost |= {"why_unhealthy": "GPU lost"}
    others = [{"index": i, "uuid": f"SIM-{i}", "model": "H100"} for i in (0, 2)]
    foreign = [{"gpu": 2, "processes": 3, "run": "cp-x-1"}]
    await report(small, gpus=[lost, *others], foreign=foreign)
    by_index = {g["index"]: g for g in (await nodes_of(small))["national-1"]["gpus"]}
    assert (by_index[1]["healthy"], by_index[1]["why_unhealthy"]) == (False, "GPU lost")
    assert by_index[2]["foreign"] == [{"processes": 3, "run": "cp-x-1"}]
    seen = (await nodes_of(small, "alex"))["national-1"]["gpus"]
    assert [g["foreign"] for g in seen if g["index"] == 2] == [[{"processes": 3, "run": None}]]


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        pytest.param({}, 6, id="all"),
        pytest.param({"tier": "national"}, 4, id="a tier"),
        pytest.param({"site": "state-u"}, 2, id="a site"),
        pytest.param({"pool": "national-hub"}, 4, id="a pool"),
        pytest.param({"pool": "atlantis"}, 0, id="a pool that is not there"),
        pytest.param({"account": "arl"}, 1, id="where a child of the account has a lease"),
        pytest.param({"account": "state-u"}, 0, id="an account without a lease"),
    ],
)
async def test_the_fleet_is_narrowed_by_tier_site_pool_and_account(small, asked, count):
    await small.report("state-u")
    await small.running("dana")
    assert len(await nodes_of(small, **asked)) == count


async def test_pages_follow_one_another_to_the_end(small):
    await small.report("national")
    seen, after = [], {}
    for _ in range(9):
        asked = {"limit": 3, **after}
        page = (await small.call("admin", "GET", "/v1/telemetry", params=asked)).json()
        seen += [node["node"] for node in page["nodes"]]
        after = {"after": page["next"]}
        if page["next"] is None:
            break
    assert seen == [f"national-{i}" for i in range(1, 5)]


async def test_an_unknown_parameter_is_refused(small):
    answer = await small.call("admin", "GET", "/v1/telemetry", params={"colour": "red"})
    assert answer.status_code == 422
