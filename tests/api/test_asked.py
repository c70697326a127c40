"""What jobs ask for besides nodes and GPUs, from the request to the row and back."""

from datetime import timedelta

import pytest

from scheduler.api.submit import request_sha256
from scheduler.db.planning import load_snapshot
from scheduler.wire.jobs import JobRequest


async def test_all_that_a_job_may_ask_for_comes_back_and_is_planned_by(house):
    asked = {"name": "digits", "memory_gib": 40}
    job = await house.submit("dana", **asked)
    assert {name: job[name] for name in asked} == asked
    assert (job["h100e"], job["software"], job["reservation"]) == (0, [], None)
    assert (await house.call("dana", "GET", f"/v1/jobs/{job['id']}")).json() == job
    async with house.hub.db.reading() as conn:
        waiting = (await load_snapshot(conn, await house.hub.policies.current(conn))).jobs
    assert (waiting[job["id"]].name, waiting[job["id"]].shape.memory_gib) == ("digits", 40)


async def test_so_many_h100e_leave_the_number_of_gpus_open(house):
    assert (await house.submit("dana", h100e=2))["h100e"] == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("name", "x" * 201, id="a name of 201"),
        pytest.param("name", "bell\x07", id="a name that rings"),
        pytest.param("memory_gib", -1, id="less than no memory"),
        pytest.param("memory_gib", 100_001, id="more memory than any GPU will have"),
        pytest.param("h100e", -1, id="less than nothing"),
        pytest.param("h100e", 262_145, id="more H100e than any job may hold"),
        pytest.param("software", ["cuda 12"], id="software that is no name"),
        pytest.param("software", ["x"] * 17, id="17 pieces of software"),
        pytest.param("reservation", "x" * 121, id="a reservation's id of 121"),
    ],
)
async def test_what_is_out_of_its_range_is_refused_by_field_and_limit(house, field, value):
    answer = await house.call("dana", "POST", "/v1/jobs", json={"entrypoint": "a", field: value})
    problem = answer.json()
    assert answer.status_code == 422
    assert problem["field"].split(".")[0] == field
    assert problem["limit"]


async def test_the_run_time_is_foreseen_at_submission_and_no_longer_than_the_limit(house):
    asked = []

    def predictor(*of):
        asked.append(of)
        return {"short": timedelta(seconds=90.7), "long": timedelta(days=9)}.get(of[3])

    object.__setattr__(house.hub, "predictor", predictor)
    found = {
        name: (await house.submit("dana", name=name, gpus_per_node=4))["predicted_seconds"]
        for name in ("short", "long", "")
    }
    assert found == {"short": 90, "long": 600, "": None}
    assert asked[0] == ("dana", "arl-vision", 4, "short")
    job = (await house.call("dana", "GET", "/v1/jobs")).json()["jobs"][-1]
    assert job["predicted_seconds"] == 90


async def test_a_hub_without_a_predictor_foresees_nothing(house):
    assert (await house.submit("dana"))["predicted_seconds"] is None


def test_a_request_that_was_first_sent_to_an_older_hub_is_still_the_same():
    """Its digest, as hubs of before these fields made it, is what a retry is held against."""
    request = JobRequest(entrypoint="true", nodes=2)
    assert request_sha256(request) == request_sha256(
        JobRequest(entrypoint="true", nodes=2, h100e=0)
    )
    assert request_sha256(request) == OLDER
    for other in ({"name": "x"}, {"memory_gib": 1}, {"software": ("x",)}, {"reservation": "x"}):
        assert request_sha256(JobRequest(entrypoint="true", nodes=2, **other)) != OLDER


OLDER = "01c2b8d957eefb0e5aeca3237b37998184811b86ebf73dea53b50b732a315eb7"
