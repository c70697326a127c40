"""Node reports, and what people see of pools and nodes."""

import pytest

from tests.api.conftest import NOON


def report(**more):
    one = {"node": "national-1", "pool": "national-hub", "boot_id": "b", "sequence": 1}
    one |= {"sampled_at": NOON.isoformat()}
    one |= {"gpus": [{"index": i, "uuid": f"GPU-{i}", "model": "H100"} for i in range(8)]}
    return {"reports": [one | more]}


async def send(house, message, who="national-node"):
    return await house.call(who, "POST", "/v1/nodes/report", json=message)


async def test_a_report_is_taken_and_the_next_one_is_asked_for(house):
    bell = house.hub.wake.bell("cycle")
    answer = await send(house, report())
    reply = {"accepted": 1, "next_report_seconds": 15.0, "refused": [], "notes": []}
    told = answer.json()
    assert told.pop("leases_seconds_old") < 5
    assert told == reply | {"launches": None, "leases": []}
    assert bell.is_set()
    (node,) = (await house.call("dana", "GET", "/v1/nodes")).json()["nodes"]
    assert node == {
        "node": "national-1",
        "pool": "national-hub",
        "gpus": 8,
        "free": 8,
        "usable": True,
        "why_unusable": "",
        "simulated": False,
        "reported_at": "2026-03-02T12:00:00Z",
    }


async def test_a_token_reports_only_nodes_of_its_own_site(small):
    answer = await send(small, report(), who="state-u-node")
    assert answer.status_code == 403
    assert (answer.json()["field"], answer.json()["value"]) == ("reports.0.pool", "national-hub")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"pool": "atlantis"}, "pool"),
        ({"node": "No Capitals"}, "reports.0.node"),
        ({"node": "a" * 64}, "reports.0.node"),
        ({"sequence": 2**63}, "reports.0.sequence"),
        ({"boot_id": ""}, "reports.0.boot_id"),
        ({"sampled_at": "yesterday"}, "reports.0.sampled_at"),
        ({"sampled_at": "2026-03-02T12:00:00"}, "reports.0.sampled_at"),
        ({"sampled_at": "0001-01-01T00:00:00+14:00"}, "reports.0.sampled_at"),
        ({"gpus": []}, "reports.0.gpus"),
        ({"gpus": [{"index": 64, "uuid": "a", "model": "H100"}]}, "reports.0.gpus.0.index"),
        ({"gpus": [{"index": 0, "uuid": "a", "model": "A100"}]}, "model"),
        ({"block": "b" * 81}, "reports.0.block"),
        ({"colour": "red"}, "reports.0.colour"),
    ],
)
async def test_a_wrong_field_of_a_report_is_named(small, more, field):
    answer = await send(small, report(**more))
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["field"]
    assert (await small.call("dana", "GET", "/v1/nodes")).json()["nodes"] == []


async def test_nodes_come_in_pages_and_by_pool(house):
    for site in ("national", "state-u"):
        await house.report(site)
    seen, after = [], ""
    for _ in range(3):
        page = (await house.call("dana", "GET", f"/v1/nodes?limit=2{after}")).json()
        seen += [node["node"] for node in page["nodes"]]
        after = f"&after={page['next']}"
    assert seen == [f"national-{n}" for n in (1, 2, 3, 4)] + ["state-u-1", "state-u-2"]
    assert page["next"] is None
    few = (await house.call("dana", "GET", "/v1/nodes?pool=state-u-hpc")).json()["nodes"]
    assert [node["node"] for node in few] == ["state-u-1", "state-u-2"]
    assert (await house.call("dana", "GET", "/v1/nodes?pool=none")).json()["nodes"] == []


async def test_pools_say_what_is_used_and_free(house):
    await house.running("dana", gpus_per_node=8)
    pools = {p["pool"]: p for p in (await house.call("alex", "GET", "/v1/pools")).json()["pools"]}
    hub = pools["national-hub"]
    assert (hub["capacity"], hub["up"], hub["free"], hub["in_quota"]) == (32, 32, 24, 8)
    assert hub["simulated"] is True
    quotas = {quota["account"]: quota for quota in hub["quotas"]}
    assert (quotas["arl-vision"]["nominal"], quotas["arl-vision"]["used"]) == (8, 8)
    assert (pools["arl-team"]["up"], pools["arl-team"]["free"]) == (0, 0)


async def test_accounts_say_who_runs_and_who_waits(house):
    await house.running("dana", gpus_per_node=8)
    await house.submit("iris")
    found = (await house.call("alex", "GET", "/v1/accounts")).json()["accounts"]
    accounts = {account["account"]: account for account in found}
    assert accounts["arl-vision"]["running_gpus"] == accounts["national"]["running_gpus"] == 8
    assert accounts["acme-robotics"]["pending_jobs"] == 1
    assert (accounts["arl-vision"]["parent"], accounts["arl-vision"]["sector"]) == ("arl", "dod")


async def test_a_person_is_told_their_accounts_and_labels(house):
    assert (await house.call("dana", "GET", "/v1/me")).json() == {
        "subject": "dana",
        "scope": "user",
        "accounts": ["arl-vision"],
        "labels": ["controlled", "public"],
        "expires_at": "2026-03-03T12:00:00Z",
    }
    node = (await house.call("national-node", "GET", "/v1/me")).json()
    assert (node["scope"], node["accounts"], node["labels"]) == ("node", [], [])


async def test_before_the_first_policy_a_person_is_told_who_they_are(bare):
    me = (await bare.call("dana", "GET", "/v1/me")).json()
    assert (me["subject"], me["accounts"]) == ("dana", [])
    assert (await bare.call("dana", "GET", "/v1/pools")).status_code == 503
