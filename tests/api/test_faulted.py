"""A run that failed as its GPU did is not the job's failure, whichever was told first (R19)."""

from datetime import timedelta

import pytest

from scheduler.db.faulted import GRACE
from tests.api.conftest import NODES, NOON


async def report(house, node, sequence, *xids, gpu=0):
    """Report a node whose GPU announced these XIDs."""
    gpus = [{"index": i, "uuid": f"SIM-{i}", "model": "H100"} for i in range(8)]
    gpus[gpu]["xids"] = [{"xid": xid, "count": count} for xid, count in xids]
    one = {"node": node, "pool": "national-hub", "boot_id": "b", "sequence": sequence}
    one |= {"sampled_at": NOON.isoformat(), "gpus": gpus, "simulated": True}
    answer = await house.call("national-node", "POST", "/v1/nodes/report", json={"reports": [one]})
    assert answer.status_code == 200, answer.text


async def failed(house, job, run):
    """Let a run fail, and the job with it."""
    token = int(run.rpartition("-")[2])  # of a first attempt 1, of a second 2
    end = house.observed(run, "failed", fenced=True, message="CUDA error", exit_code=1)
    end["token"] = token
    assert (await house.sync("national", end)).status_code == 200
    seen = await job_of(house, job)
    assert (seen["state"], seen["ended_at"] is None) == ("failed", False)
    assert "CUDA error" in seen["reason"]


async def job_of(house, job):
    path = f"/v1/jobs/{job['id']}"
    history = (await house.call("dana", "GET", f"{path}/explanation")).json()["history"]
    return (await house.call("dana", "GET", path)).json() | {"history": history}


def node_of(seen):
    """Return the node that the job's last run was leased on."""
    for event in reversed(seen["history"]):
        for node in NODES["national"][1]:
            if event["event"] in {"leased", "running"} and node in event["sentence"]:
                return node
    raise AssertionError(seen["history"])


@pytest.mark.parametrize(
    ("after", "gpu", "xid", "state"),
    [
        pytest.param(timedelta(seconds=1), 0, 79, "pending", id="its own GPU fell off the bus"),
        pytest.param(GRACE, 3, 79, "pending", id="at the last moment"),
        pytest.param(GRACE + timedelta(seconds=1), 0, 79, "failed", id="too late"),
        pytest.param(timedelta(seconds=1), 7, 79, "failed", id="a GPU that it did not have"),
        pytest.param(timedelta(seconds=1), 0, 31, "failed", id="a fault of the program itself"),
        pytest.param(timedelta(seconds=1), 0, 95, "pending", id="an uncontained memory error"),
    ],
)
async def test_what_fails_with_its_gpu_is_run_again_elsewhere(house, after, gpu, xid, state):
    job, run = await house.running(gpus_per_node=4, priority="background")
    node = node_of(await job_of(house, job))
    await failed(house, job, run)
    house.clock.forward(after)
    await report(house, node, 2, (xid, 1), gpu=gpu)
    seen = await job_of(house, job)
    assert seen["state"] == state
    if state == "failed":
        assert "CUDA error" in seen["reason"]
        return
    assert (seen["ended_at"], seen["runs"][0]["state"]) == (None, "lost")
    assert "CUDA error" not in seen["reason"]
    told = [event["sentence"] for event in seen["history"]][-2:]
    assert told == [
        f"run {run} counts as lost to its node: {node}: {told[0].partition(f'{node}: ')[2]}",
        "it failed with its node; requeued as attempt 2, keeps its place",
    ]
    assert f"GPU {gpu} reported XID {xid}" in told[0]
    await house.plan()
    again = await job_of(house, job)
    assert (again["state"], len(again["runs"])) == ("starting", 2)
    assert node_of(again) != node


async def test_the_same_report_again_requeues_nothing_twice(house):
    job, run = await house.running(gpus_per_node=4, priority="background")
    node = node_of(await job_of(house, job))
    await failed(house, job, run)
    for sequence in (2, 3):
        await report(house, node, sequence, (79, 1))
    history = (await job_of(house, job))["history"]
    assert [event["event"] for event in history].count("requeued") == 1


async def test_a_job_that_brings_its_nodes_down_is_not_run_for_ever(house):
    job, run = await house.running(gpus_per_node=4, priority="background")
    for attempt in range(2, 9):
        node = node_of(await job_of(house, job))
        await failed(house, job, run)
        await report(house, node, 2 * attempt, (79, attempt))
        if (await job_of(house, job))["state"] == "failed":
            break
        # A pool of four nodes soon has none left: an operator has them repaired.
        answer = await house.call("admin", "POST", f"/v1/nodes/{node}/resume")
        assert answer.is_success, answer.text
        await report(house, node, 2 * attempt + 1, (79, attempt))
        await house.plan()
        run = f"cp-{job['id']}-{attempt}"
        assert (
            await house.sync("national", house.observed(run, "running", token=attempt))
        ).status_code == 200
    seen = await job_of(house, job)
    assert seen["state"] == "failed"
    assert "runs were lost, so it is not run again" in seen["history"][-1]["sentence"]


async def test_one_who_was_told_to_end_is_not_brought_back(house):
    job, run = await house.running(gpus_per_node=4, priority="background")
    node = node_of(await job_of(house, job))
    assert (await house.call("dana", "POST", f"/v1/jobs/{job['id']}/cancel")).is_success
    end = house.observed(run, "failed", fenced=True)
    assert (await house.sync("national", end)).status_code == 200
    await report(house, node, 2, (79, 1))
    assert (await job_of(house, job))["state"] in {"failed", "stopped"}
