"""What operators do to nodes: drain, resume, plan maintenance (R7, R19)."""

from datetime import timedelta

import pytest

from tests.api.conftest import NOON
from tests.api.test_nodes import report, send

HOUR = timedelta(hours=1)


async def act(house, path, **message):
    return await house.call("admin", "POST", f"/v1/{path}", json=message)


async def test_a_drained_node_gives_up_its_run_and_returns_by_an_operators_word(house):
    await house.running("dana", gpus_per_node=8)
    (lease,) = (await house.sync("national")).json()["leases"]
    node = lease["nodes"][0]["node"]
    bell = house.hub.wake.bell("site:national")
    answer = await act(house, f"nodes/{node}/drain", reason="new firmware", notice_seconds=5)
    assert answer.status_code == 200, answer.text
    assert bell.is_set()
    shown = answer.json()
    assert shown["node"]["why_unusable"] == "drained by admin: new firmware"
    assert (shown["cordon"]["action"], shown["history"][0]["event"]) == ("drain", "drained")
    (lease,) = (await house.sync("national", sequence=2)).json()["leases"]
    assert (lease["wanted"], lease["stop_at"]) == ("stop", "2026-03-02T12:00:05Z")
    back = (await act(house, f"nodes/{node}/resume", reason="it is in")).json()
    assert back["history"][0]["sentence"].endswith("resumed by admin: it is in")
    assert (back["cordon"], back["node"]["why_unusable"]) == (None, "its next report is awaited")
    await send(house, report(node=node, sequence=2, simulated=True))
    assert (await house.call("dana", "GET", f"/v1/nodes/{node}")).json()["node"]["usable"]


async def test_a_run_that_fails_while_its_node_is_drained_is_requeued(house):
    job, run = await house.running("dana", gpus_per_node=8)
    (lease,) = (await house.sync("national")).json()["leases"]
    await act(house, f"nodes/{lease['nodes'][0]['node']}/drain", reason="it smokes")
    await house.sync(
        "national", house.observed(run, "failed", message="CUDA error", fenced=True), sequence=2
    )
    found = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()
    assert found["state"] == "pending"


@pytest.mark.parametrize(
    ("path", "message", "status", "field"),
    [
        pytest.param("nodes/none/drain", {"reason": "x"}, 404, "node", id="no such node"),
        pytest.param("nodes/none/resume", {}, 404, "node", id="none to resume"),
        pytest.param("nodes/national-1/drain", {"reason": ""}, 422, "reason", id="no reason"),
        pytest.param(
            "nodes/national-1/drain",
            {"reason": "x", "notice_seconds": -1},
            422,
            "notice_seconds",
            id="notice of the past",
        ),
    ],
)
async def test_an_order_that_cannot_be_carried_out_names_its_field(
    small, path, message, status, field
):
    await small.report("national")
    answer = await act(small, path, **message)
    assert (answer.status_code, answer.json()["field"]) == (status, field)


def window(**more):
    times = {"starts_at": (NOON + HOUR).isoformat(), "ends_at": (NOON + 3 * HOUR).isoformat()}
    return {"nodes": ["national-1"], "reason": "new firmware"} | times | more


async def test_nothing_that_would_run_into_maintenance_is_started_there(house):
    await house.report("national")
    nodes = [f"national-{n}" for n in (1, 2, 3, 4)]
    (planned,) = (await act(house, "maintenance", **window(nodes=nodes))).json()["windows"]
    assert planned["pool"] == "national-hub"
    job = await house.submit(
        "dana", gpus_per_node=8, tier=["national"], time_limit_seconds=2 * 3600
    )
    await house.plan()
    found = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()
    assert found["state"] == "pending"
    answer = await house.call("admin", "DELETE", f"/v1/maintenance/{planned['name']}")
    assert answer.json()["windows"] == []
    await house.plan()
    found = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()
    assert found["state"] == "starting"


@pytest.mark.parametrize(
    ("more", "status", "field"),
    [
        pytest.param({"nodes": ["nowhere-1"]}, 404, "node", id="a node that never reported"),
        pytest.param({"ends_at": NOON.isoformat()}, 422, "ends_at", id="it ends before it begins"),
        pytest.param(
            {"ends_at": (NOON + timedelta(days=100)).isoformat()}, 422, "ends_at", id="too long"
        ),
    ],
)
async def test_maintenance_that_cannot_be_is_refused_by_name(small, more, status, field):
    await small.report("national")
    answer = await act(small, "maintenance", **window(**more))
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert (await small.call("admin", "DELETE", "/v1/maintenance/none")).status_code == 404
