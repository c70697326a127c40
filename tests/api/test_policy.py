"""Read the policy, replace it whole, or be told everything that is wrong with the new one."""

import re

import pytest

from tests.api.conftest import POLICY

YAML = {"Content-Type": "text/yaml"}


async def put(house, text, headers=None):
    content = text.encode() if isinstance(text, str) else text
    why = {"params": {"reason": "the test says so"}}
    headers = headers or YAML
    return await house.call("admin", "PUT", "/v1/policy", content=content, headers=headers, **why)


async def test_the_policy_is_read_as_it_was_written(house):
    answer = await house.call("dana", "GET", "/v1/policy")
    assert answer.text == POLICY
    assert answer.headers["content-type"].startswith("text/yaml")
    assert answer.headers["etag"] == '"1"'


async def test_before_the_first_policy_there_is_none_to_read(bare):
    answer = await bare.call("dana", "GET", "/v1/policy")
    assert answer.status_code == 404
    assert "commonpool policy apply" in answer.json()["next_step"]


async def test_a_policy_is_applied_once_and_wakes_the_cycle(bare):
    bell = bare.hub.wake.bell("cycle")
    assert (await put(bare, POLICY)).json() == {"revision": 1, "changed": True}
    assert bell.is_set()
    assert (await put(bare, POLICY)).json() == {"revision": 1, "changed": False}
    assert (await put(bare, POLICY + "# more\n")).json() == {"revision": 2, "changed": True}


async def test_every_problem_of_a_policy_is_listed_and_the_old_one_stays(house):
    broken = POLICY.replace("gpus_per_node: 8", "gpus_per_node: 0").replace(
        "parent: arl,", "parent: nobody,"
    )
    answer = await put(house, broken)
    assert answer.status_code == 422
    problem = answer.json()
    lines = broken.splitlines()
    assert len(problem["errors"]) >= 4
    assert all(1 <= error["line"] <= len(lines) for error in problem["errors"])
    sizes = [e for e in problem["errors"] if e["field"].endswith("gpus_per_node")]
    assert all("gpus_per_node: 0" in lines[error["line"] - 1] for error in sizes)
    assert len(sizes) == 3
    assert "old policy stays" in problem["next_step"]
    assert (await house.call("dana", "GET", "/v1/policy")).text == POLICY


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b"a: \x00", id="NUL"),
        pytest.param(b"[" * 10_000, id="brackets"),
        pytest.param(b"a: &a [*a]", id="an anchor within itself"),
        pytest.param(b"- just\n- a list", id="a list"),
        pytest.param(b"!!python/object/apply:os.system ['true']", id="an object"),
        pytest.param(b"a: b: c", id="not YAML"),
        pytest.param(b"42", id="a number"),
    ],
)
async def test_what_is_no_policy_is_refused(small, text):
    answer = await put(small, text)
    assert answer.status_code == 422, answer.text
    assert answer.json()["title"] == "Policy refused"
    assert (await small.call("dana", "GET", "/v1/policy")).text == POLICY


async def test_a_policy_in_json_dress_is_told_the_right_one(small):
    answer = await put(small, "{}", {"Content-Type": "application/json"})
    assert answer.status_code == 415
    assert answer.json()["limit"] == "text/yaml"


def without(*words):
    """Return the demo's policy without the list items that name one of these."""
    items = re.split(r"^(?=  - |\S)", POLICY, flags=re.MULTILINE)
    named = re.compile("|".join(words))
    return "".join(item for item in items if not (item.startswith("  - ") and named.search(item)))


async def test_a_pool_with_open_runs_cannot_be_left_out(house):
    job, run = await house.running("dana")
    answer = await put(house, without("national-hub"))
    assert answer.status_code == 409, answer.text
    problem = answer.json()
    assert (problem["field"], run in problem["detail"]) == ("pools.national-hub", True)
    await house.sync("national", house.observed(run, "succeeded", fenced=True), sequence=2)
    assert (await put(house, without("national-hub"))).json()["revision"] == 2
    assert (await house.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()["state"] == "succeeded"


async def test_an_account_with_waiting_jobs_cannot_be_left_out(house):
    job = await house.submit("iris")
    fewer = without("acme-robotics")
    answer = await put(house, fewer)
    assert answer.status_code == 409, answer.text
    assert answer.json()["field"] == "accounts.acme-robotics"
    assert job["id"] in answer.json()["detail"]
    assert "cancel" in answer.json()["next_step"]
    await house.call("iris", "POST", f"/v1/jobs/{job['id']}/cancel")
    assert (await put(house, fewer)).status_code == 200


async def test_an_account_with_waiting_jobs_cannot_get_children(house):
    await house.submit("iris")
    child = "  - {name: acme-lab, parent: acme-robotics, sector: industry}\n\nsites:"
    answer = await put(house, POLICY.replace("\nsites:", child, 1))
    assert answer.status_code in (409, 422), answer.text
    assert "acme-robotics" in answer.text


async def test_whoever_goes_around_two_people_says_why(bare):
    async def apply(text):
        return await bare.call("admin", "PUT", "/v1/policy", content=text.encode(), headers=YAML)

    assert (await apply(POLICY)).status_code == 200, "the first has nobody to go around"
    assert (await apply(POLICY)).status_code == 200, "and the same again changes nothing"
    refused = await apply(POLICY + "# more\n")
    assert refused.status_code == 422
    assert refused.json()["field"] == "reason"
    assert "--reason" in refused.json()["next_step"]
