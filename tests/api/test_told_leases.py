"""An agent is told its node's leases in the reply to its report, where it has another list."""

from datetime import timedelta

import pytest

from scheduler.errors import StorageUnavailable
from scheduler.fleet import leases
from tests.api.conftest import NOON


def report(sequence, node="national-1", pool="national-hub", **more):
    gpus = [{"index": i, "uuid": f"GPU-{i}", "model": "H100"} for i in range(8)]
    one = {"node": node, "pool": pool, "boot_id": "b", "sequence": sequence, "gpus": gpus}
    return one | {"sampled_at": NOON.isoformat()} | more


async def told(house, *reports, who="national-node", path="/v1/nodes/report"):
    answer = await house.call(who, "POST", path, json={"reports": list(reports)})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(autouse=True)
def looked_at_each_time(monkeypatch):
    monkeypatch.setattr(leases, "REFRESH_SECONDS", 0.0)


async def leased(house, **asked):
    await told(house, report(1))
    job = await house.submit("dana", tier=["national"], gpus_per_node=4, **asked)
    await house.plan()
    return f"cp-{job['id']}-1"


async def test_a_lease_is_told_with_its_gpus_and_token_until_the_agent_has_it(house):
    run = await leased(house)
    (mine,) = (await told(house, report(2)))["leases"]
    assert mine == {
        "node": "national-1",
        "digest": mine["digest"],
        "leases": [{"run": run, "token": 1, "gpus": [0, 1, 2, 3]}],
    }
    again = await told(house, report(3, lease_digest=mine["digest"]))
    assert (again["leases"], again["leases_seconds_old"] < 5) == ([], True)


async def test_a_lease_that_ended_is_told_too(house):
    run = await leased(house)
    (mine,) = (await told(house, report(2)))["leases"]
    ended = house.observed(run, "failed", fenced=True)
    assert (await house.sync("national", ended)).status_code == 200
    (now,) = (await told(house, report(3, lease_digest=mine["digest"])))["leases"]
    assert (now["digest"], now["leases"]) == ("", [])


async def test_a_batch_is_told_the_lists_of_its_own_nodes_that_changed(house):
    run = await leased(house)
    reply = await told(house, report(2), report(1, node="national-2"), path="/v1/nodes/reports")
    (mine,) = reply["leases"]
    assert (mine["node"], mine["leases"][0]["run"]) == ("national-1", run)


async def test_who_is_refused_or_simulated_is_told_nothing(small):
    await leased(small)
    simulated = await told(small, report(2, simulated=True))
    assert (simulated["leases"], simulated["leases_seconds_old"]) == ([], None)
    stolen = await told(small, report(3), who="state-u-node", path="/v1/nodes/reports")
    assert (stolen["accepted"], stolen["leases"]) == (0, [])


async def test_a_database_that_is_away_costs_no_report_its_reply(small, monkeypatch):
    await leased(small)
    (mine,) = (await told(small, report(2)))["leases"]

    async def away(*_):
        raise StorageUnavailable("the database is away")

    monkeypatch.setattr("scheduler.api.leases.marker_of", away)
    small.clock.forward(timedelta(seconds=15))
    reply = await told(small, report(3, lease_digest=mine["digest"]))
    assert (reply["accepted"], reply["leases"]) == (1, [])
    assert reply["leases_seconds_old"] > 0


@pytest.mark.parametrize("digest", ["xyz", "A" * 16, "0" * 17, "0\n"])
async def test_what_names_no_list_is_refused(small, digest):
    answer = await small.call(
        "national-node",
        "POST",
        "/v1/nodes/report",
        json={"reports": [report(1, lease_digest=digest)]},
    )
    assert (answer.status_code, answer.json()["field"]) == (422, "reports.0.lease_digest")
