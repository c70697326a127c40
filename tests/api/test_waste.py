"""`GET /v1/waste`, from the reports of a lease's GPUs to its account's hours (R18)."""

from datetime import timedelta

import pytest

from scheduler.config import HubSettings
from scheduler.loops.fleet import RollupLoop
from tests.api.test_nodes import report, send


async def test_an_account_is_told_what_its_gpus_did(house):
    await house.running("dana", gpus_per_node=8)
    (lease,) = (await house.sync("national")).json()["leases"]
    node = lease["nodes"][0]["node"]
    settings = HubSettings(rollup_seconds=3600)
    loop = RollupLoop(house.hub.db, house.hub.fleet, house.clock, settings.rollup_seconds)
    use = [{"index": i, "sm_active": [0.5, 0.25, 0.9]} for i in range(8)]
    await send(house, report(node=node, sequence=2, simulated=True, use=use))
    house.clock.forward(timedelta(hours=1))
    await send(house, report(node=node, sequence=3, simulated=True, use=use))
    await loop.step()
    found = (await house.call("alex", "GET", "/v1/waste?days=1")).json()["accounts"]
    (mine,) = [row for row in found if row["account"] == "arl-vision"]
    assert mine["leased_gpu_hours"] == pytest.approx(8, rel=0.01)
    assert (mine["measured_gpu_hours"], mine["share_used"]) == (pytest.approx(8, rel=0.01), 0.25)


async def test_a_window_that_no_rollup_covers_is_refused(small):
    answer = await small.call("dana", "GET", "/v1/waste?days=40")
    assert (answer.status_code, answer.json()["field"]) == (422, "days")
