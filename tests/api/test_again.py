"""A stored job comes in once more with its files, and a draft is its writer's alone."""

from datetime import timedelta

import pytest

from scheduler.db.drafts import MOST_OF_A_PERSON
from scheduler.db.jobs import Owner, find_job


async def again(house, job, who="dana", key=None, **message):
    headers = {"Idempotency-Key": key} if key else {}
    path = f"/v1/jobs/{job}/again"
    return await house.call(who, "POST", path, json=message, headers=headers)


async def put_package(house, name="_ray_pkg_0123456789abcdef.zip"):
    data = b"PK\x05\x06" + b"\0" * 18
    path = f"/api/packages/gcs/{name}"
    assert (await house.call("dana", "PUT", path, content=data)).status_code == 200
    return f"gcs://{name}"


async def test_all_that_was_asked_for_is_asked_for_again_files_and_all(house):
    uri = await put_package(house)
    old = await house.submit(
        "dana",
        name="digits",
        gpus_per_node=4,
        tier=["national"],
        priority="high",
        runtime_env={"working_dir": uri, "env_vars": {"A": "1"}},
        metadata={"a": "b"},
        time_limit_seconds=90,
        memory_gib=40,
        entrypoint_num_cpus=2.0,
    )
    answer = await again(house, old["id"])
    assert answer.status_code == 201, answer.text
    new = answer.json()
    same = old.keys() - {"id", "submission_id", "submitted_at"}
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    async with house.hub.db.reading() as conn:
        rows = [await find_job(conn, job["id"], Owner("dana")) for job in (old, new)]
    assert rows[0].runtime_env == rows[1].runtime_env
    assert rows[0].packages == rows[1].packages != ()
    assert rows[0].entrypoint_options == rows[1].entrypoint_options


async def test_a_change_is_made_and_the_waiting_job_is_replaced_once(house):
    old = await house.submit("dana", nodes=4)
    message = {"change": {"nodes": 2}, "replace": True}
    new = (await again(house, old["id"], key="k", **message)).json()
    assert new["nodes"] == 2
    repeat = await again(house, old["id"], key="k", **message)
    assert (repeat.status_code, repeat.json()["id"]) == (200, new["id"])
    states = {job["id"]: job["state"] for job in await jobs(house)}
    assert states == {old["id"]: "stopped", new["id"]: "pending"}


async def test_an_age_is_not_carried_over(house, clock):
    old = await house.submit("dana")
    clock.forward(timedelta(hours=1))
    new = (await again(house, old["id"], replace=True)).json()
    assert new["submitted_at"] > old["submitted_at"]


async def test_a_size_of_one_kind_takes_the_place_of_the_other(house):
    old = await house.submit("dana", nodes=2, gpus_per_node=2)
    by_amount = (await again(house, old["id"], change={"h100e": 4})).json()
    assert by_amount["h100e"] == 4
    by_nodes = (await again(house, by_amount["id"], change={"gpus_per_node": 2})).json()
    assert (by_nodes["h100e"], by_nodes["gpus_per_node"]) == (0, 2)


@pytest.mark.parametrize(
    ("message", "status", "field"),
    [
        pytest.param({"change": {"nodez": 1}}, 422, "nodez", id="no such field"),
        pytest.param({"change": {"nodes": 0}}, 422, "nodes", id="no nodes"),
        pytest.param({"change": {"nodes": 99}}, 422, "nodes", id="more than there are"),
        pytest.param({"change": {"runtime_env": {}}}, 422, "change.runtime_env", id="other files"),
    ],
)
async def test_what_cannot_be_is_refused_by_field_and_the_old_job_still_waits(
    house, message, status, field
):
    old = await house.submit("dana")
    answer = await again(house, old["id"], replace=True, **message)
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert [job["state"] for job in await jobs(house)] == ["pending"]


async def test_only_what_waits_is_replaced_and_only_by_its_owner(house):
    running, _ = await house.running()
    answer = await again(house, running["id"], replace=True)
    assert (answer.status_code, answer.json()["field"]) == (409, "replace")
    assert (await again(house, running["id"], who="alex")).status_code == 404
    assert (await again(house, running["id"], who="admin")).status_code == 403
    assert (await again(house, running["id"])).status_code == 201


async def jobs(house):
    return (await house.call("dana", "GET", "/v1/jobs")).json()["jobs"]


async def test_a_draft_is_kept_changed_and_thrown_away_by_its_writer_alone(house):
    path = "/v1/drafts/submit"
    assert (await house.call("dana", "GET", path)).status_code == 404
    for nodes in (1, 2):
        answer = await house.call("dana", "PUT", path, json={"content": {"nodes": nodes}})
        assert answer.status_code == 200, answer.text
    found = (await house.call("dana", "GET", path)).json()
    assert (found["page"], found["content"]) == ("submit", {"nodes": 2})
    assert (await house.call("alex", "GET", path)).status_code == 404
    assert (await house.call("alex", "DELETE", path)).status_code == 204
    assert (await house.call("admin", "GET", path)).status_code == 404
    for _ in range(2):
        assert (await house.call("dana", "DELETE", path)).status_code == 204
    assert (await house.call("dana", "GET", path)).status_code == 404


async def test_a_draft_has_its_limits(house):
    too_large = {"content": {"text": "x" * 70_000}}
    answer = await house.call("dana", "PUT", "/v1/drafts/submit", json=too_large)
    assert (answer.status_code, answer.json()["limit"]) == (413, "65,536 bytes")
    answer = await house.call("dana", "PUT", "/v1/drafts/No%20page", json={"content": {}})
    assert answer.status_code == 422
    for number in range(MOST_OF_A_PERSON):
        path = f"/v1/drafts/p{number}"
        assert (await house.call("dana", "PUT", path, json={"content": {}})).status_code == 200
    answer = await house.call("dana", "PUT", "/v1/drafts/other", json={"content": {}})
    assert (answer.status_code, answer.json()["limit"]) == (409, "50 drafts of a person")
    again = await house.call("dana", "PUT", "/v1/drafts/p0", json={"content": {"a": 1}})
    assert again.status_code == 200


async def test_a_change_that_helps_says_which_fields_to_set_and_who_is_ahead_of_which_sector(house):
    await house.report("national")
    await house.running(nodes=4, gpus_per_node=8)
    job = await house.submit("dana", tier=["national"], nodes=2, gpus_per_node=8, preemptible=False)
    await house.submit("iris", tier=["national"], nodes=2, gpus_per_node=8)
    await house.plan()
    told = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}/explanation")).json()
    for one in told["sooner"]:
        changed = await house.call(
            "dana", "POST", f"/v1/jobs/{job['id']}/again", json={"change": one["change"]}
        )
        assert one["change"]
        assert changed.status_code == 201, changed.text
    assert {one["sector"] for one in told["ahead"]} <= {"dod", "industry"}
