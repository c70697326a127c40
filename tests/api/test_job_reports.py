"""`GET /v1/jobs/{job}/utilisation` and `/cost`: what a job's GPUs did, and who is charged (R3)."""

from datetime import timedelta

import pytest

from scheduler.loops.fleet import RollupLoop
from tests.api.test_nodes import report, send

HOUR = timedelta(hours=1)


async def rolled_up(house, use, after=HOUR, sequence=2):
    """Let the lease's node report that use an hour later, and its rollup be written."""
    (lease,) = (await house.sync("national")).json()["leases"]
    node = lease["nodes"][0]["node"]
    loop = RollupLoop(house.hub.db, house.hub.fleet, house.clock, after.total_seconds())
    house.clock.forward(after)
    await send(house, report(node=node, sequence=sequence, simulated=True, use=use))
    await loop.step()
    return node


async def told(house, job, what, who="dana"):
    answer = await house.call(who, "GET", f"/v1/jobs/{job['id']}/{what}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_jobs_page_is_told_what_its_gpus_did_and_what_nobody_measured_is_absent(house):
    job, run = await house.running("dana", gpus_per_node=2)
    busy = {"index": 0, "sm_active": [0.5, 0.25, 0.9], "memory_mib": [4096, 4000, 5000]}
    node = await rolled_up(house, [busy, {"index": 1}])
    (one,) = (await told(house, job, "utilisation"))["runs"]
    (point,) = one["points"]
    assert (one["run"], point["seconds"], point["gpus"]) == (run, 3600, 2)
    # Of the GPU that was measured, not of both: missing data is no idleness (R18).
    assert [point[name] for name in ("sm_mean", "sm_most", "memory_most_mib")] == [0.25, 0.9, 5000]
    first, second = one["gpus"]
    assert (first["node"], first["gpu"], first["sm_mean"], first["sm_now"]) == (node, 0, 0.25, 0.5)
    assert {second[name] for name in ("sm_mean", "sm_most", "sm_now", "memory_now_mib")} == {None}


async def test_a_job_that_never_had_gpus_has_no_utilisation(small):
    job = await small.submit("dana")
    assert (await told(small, job, "utilisation"))["runs"] == []


async def test_many_stretches_are_told_as_fewer_that_mean_the_same(small):
    job, _ = await small.running("dana", gpus_per_node=1, time_limit_seconds=30 * 86_400)
    loop = RollupLoop(small.hub.db, small.hub.fleet, small.clock, 1)
    (lease,) = (await small.sync("national")).json()["leases"]
    node = lease["nodes"][0]["node"]
    for number in range(2, 2 + 300):
        use = [{"index": 0, "sm_active": [number % 2] * 3}]
        small.clock.forward(timedelta(seconds=2))
        await send(small, report(node=node, sequence=number, simulated=True, use=use))
        await loop.step()
    (one,) = (await told(small, job, "utilisation"))["runs"]
    assert len(one["points"]) == 150
    assert {(point["seconds"], point["sm_mean"]) for point in one["points"]} == {(4, 0.5)}


async def test_a_running_job_is_charged_by_the_hour_and_foreseen_to_its_limit(house):
    job, run = await house.running("dana", gpus_per_node=4, time_limit_seconds=7200)
    house.clock.forward(timedelta(minutes=30))
    found = await told(house, job, "cost")
    assert (found["payer"], found["account"]) == ("account", "arl-vision")
    assert found["charged_h100e_hours"] == pytest.approx(2)
    assert found["at_limit_h100e_hours"] == pytest.approx(8)
    (one,) = found["runs"]
    assert (one["run"], one["tier"], one["until"]) == (run, "national", None)
    assert {each["tier"] for each in found["prices"]} == {"national"}
    assert found["prices"][0]["at_limit_h100e_hours"] == pytest.approx(8)


async def test_an_ended_job_costs_what_it_took_and_nothing_more(house):
    job, run = await house.running("dana", gpus_per_node=4, time_limit_seconds=7200)
    house.clock.forward(timedelta(minutes=15))
    await house.sync(
        "national", house.observed(run, "succeeded", exit_code=0, fenced=True), sequence=2
    )
    house.clock.forward(HOUR)
    found = await told(house, job, "cost")
    assert found["charged_h100e_hours"] == found["at_limit_h100e_hours"] == pytest.approx(1)
    assert found["prices"] == []


async def test_a_waiting_job_is_told_the_price_of_each_tier_that_may_take_it(small):
    job = await small.submit("dana", gpus_per_node=2, time_limit_seconds=3600)
    found = await told(small, job, "cost")
    tiers = [each["tier"] for each in found["prices"]]
    assert (tiers[0], tiers[-1]) == ("team", "national")
    assert found["charged_h100e_hours"] == 0
    assert found["at_limit_h100e_hours"] == max(
        each["at_limit_h100e_hours"] for each in found["prices"]
    )


async def test_background_work_is_counted_and_nobody_is_charged(house):
    job, _ = await house.running("dana", gpus_per_node=4, priority="background")
    house.clock.forward(HOUR)
    found = await told(house, job, "cost")
    assert (found["payer"], found["budgets"]) == ("nobody", [])
    assert (found["charged_h100e_hours"], found["at_limit_h100e_hours"]) == (0, 0)
    (one,) = found["runs"]
    assert (one["payer"], one["h100e_hours"]) == ("nobody", pytest.approx(4))


@pytest.mark.parametrize("what", ["utilisation", "cost"])
async def test_another_persons_job_is_as_absent_as_one_that_is_not_there(small, what):
    job, _ = await small.running("dana")
    answers = [
        await small.call("iris", "GET", f"/v1/jobs/{name}/{what}") for name in (job["id"], "jx")
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert answers[0].json()["detail"] == answers[1].json()["detail"]
