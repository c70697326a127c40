"""Submit, list, look at, cancel, explain: as people do."""


async def test_a_job_is_stored_and_comes_back_as_it_was_asked_for(house):
    asked = {"entrypoint": "python train.py", "nodes": 2, "gpus_per_node": 8, "tier": ["national"]}
    answer = await house.call("dana", "POST", "/v1/jobs", json=asked)
    assert answer.status_code == 201, answer.text
    job = answer.json()
    assert job["account"] == "arl-vision"
    assert (job["nodes"], job["gpus_per_node"], job["tier"]) == (2, 8, ["national", "national"])
    assert job["state"] == "pending"
    again = await house.call("dana", "GET", f"/v1/jobs/{job['id']}")
    assert again.json() == job | {"reason": again.json()["reason"]}
