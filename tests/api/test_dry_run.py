"""What a job would become is told as a submission would have it, and nothing is changed."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from scheduler.core.model import StopReason
from scheduler.db.tables import jobs, runs


async def dry(house, who="dana", expected=None, **asked):
    message = {"job": {"entrypoint": "python train.py"} | asked}
    if expected is not None:
        message["expected_seconds"] = expected
    return await house.call(who, "POST", "/v1/jobs/dry-run", json=message)


async def test_a_free_pool_is_told_with_its_price_quota_and_no_recall(house):
    await house.report("national")
    answer = await dry(
        house, tier=["national"], gpus_per_node=4, time_limit_seconds=7200, expected=3600
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    (only,) = found["candidates"]
    assert (found["account"], found["usual"], found["same_as"]) == ("arl-vision", 0, None)
    assert (only["pool"], only["tier"], only["starts_now"]) == ("national-hub", "national", True)
    assert (only["price"], only["price_most"]) == (4.0, 8.0)
    assert only["start"]["sentence"] == "The next cycle starts it."
    assert (only["recall"]["chance"], only["quota_class"]) == (0.0, 1)
    assert only["quota"]["sentence"] == "arl-vision then uses 4 GPUs there (now 0); its quota is 8."
    assert only["length"]["basis"] == "stated"


async def test_nothing_is_stored_and_nobody_is_woken_by_asking(house):
    await house.report("national")
    await dry(house, gpus_per_node=4)
    assert (await house.call("dana", "GET", "/v1/jobs")).json()["jobs"] == []
    async with house.hub.db.reading() as conn:
        assert (await conn.execute(select(jobs.c.id))).all() == []


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"gpus_per_node": 8}, id="in quota on the first tier"),
        pytest.param({"gpus_per_node": 8, "tier": ["national"]}, id="on one tier"),
        pytest.param({"nodes": 2, "gpus_per_node": 8}, id="borrowed: more than its quota"),
        pytest.param({"nodes": 2, "gpus_per_node": 8, "preemptible": False}, id="waits: no recall"),
        pytest.param({"nodes": 4, "gpus_per_node": 8, "label": "controlled"}, id="labelled"),
        pytest.param({"priority": "background", "gpus_per_node": 2}, id="background"),
    ],
)
async def test_a_job_submitted_right_after_gets_that_pool_or_that_verdict(house, asked):
    for site in ("arl-team", "state-u", "national"):
        await house.report(site)
    said = (await dry(house, **asked)).json()["candidates"][0]
    job = await house.submit("dana", **asked)
    await house.plan()
    path = f"/v1/jobs/{job['id']}"
    found = (await house.call("dana", "GET", path)).json()
    if said["starts_now"]:
        (run,) = found["runs"]
        assert (run["pool"], run["quota_class"]) == (said["pool"], said["quota_class"])
    else:
        verdicts = (await house.call("dana", "GET", f"{path}/explanation")).json()["verdicts"]
        assert [one["sentence"] for one in verdicts] == [
            one["sentence"] for one in said["verdicts"]
        ]


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"gpus_per_node": 9}, id="more GPUs than any node has"),
        pytest.param({"gpu_models": ["X1"]}, id="a model that nobody has"),
        pytest.param({"account": "acme"}, id="an account that is not hers"),
        pytest.param({"label": "secret"}, id="a label that she may not handle"),
        pytest.param({"entrypoint": " "}, id="nothing to run"),
        pytest.param({"nodes": 0}, id="no nodes"),
        pytest.param({"runtime_env": {"container": {}}}, id="an environment no site allows"),
        pytest.param({"time_limit_seconds": 31_000_000}, id="a limit beyond every tier's"),
    ],
)
async def test_what_a_submission_refuses_is_refused_in_the_same_words(house, asked):
    whole = {"entrypoint": "python train.py"} | asked
    submitted = await house.call("dana", "POST", "/v1/jobs", json=whole)
    tried = await dry(house, **asked)
    assert tried.status_code == submitted.status_code >= 400
    said, there = tried.json(), submitted.json()
    if str(said.get("field")).startswith("job."):  # one level deeper in this message
        said["field"] = said["field"].removeprefix("job.")
    for part in ("field", "value", "limit", "next_step", "title"):
        assert said.get(part) == there.get(part)


async def test_an_id_that_was_used_is_told_as_a_submission_would(house):
    job = await house.submit("dana", submission_id="once")
    assert (await dry(house, submission_id="once")).json()["same_as"] == job["id"]
    other = await dry(house, submission_id="once", gpus_per_node=2)
    assert (other.status_code, other.json()["field"]) == (409, "submission_id")


async def test_the_chance_of_recall_is_what_happened_lately_or_not_known(house):
    await house.report("national")
    asked = {"tier": ["national"], "nodes": 2, "gpus_per_node": 8}
    recall = (await dry(house, **asked)).json()["candidates"][0]["recall"]
    assert (recall["chance"], recall["runs"]) == (None, 0)
    assert recall["sentence"].startswith("Not known: no lent run of national-hub")

    _, run = await house.running(nodes=2, gpus_per_node=8)
    await recalled(house, run, ago=timedelta(days=29))
    recall = (await dry(house, **asked)).json()["candidates"][0]["recall"]
    assert (recall["chance"], recall["recalled"], recall["runs"]) == (1.0, 1, 1)
    assert "few to tell by" in recall["sentence"]
    await recalled(house, run, ago=timedelta(days=31))
    assert (await dry(house, **asked)).json()["candidates"][0]["recall"]["chance"] is None


async def recalled(house, run, ago):
    ended = {"ended_at": house.clock.at - ago, "state": "preempted"}
    reason = StopReason.RECALLED.value
    async with house.hub.db.transaction() as conn:
        await conn.execute(update(runs).where(runs.c.id == run).values(**ended, stop_reason=reason))
