"""Submit, list, look at, cancel, explain, read the log: as people do."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import insert

from scheduler.db.tables import reservations
from tests.api.conftest import NOON


async def test_a_job_is_stored_and_comes_back_as_it_was_asked_for(house):
    job = await house.submit("dana", nodes=2, gpus_per_node=8, tier=["national"], label="public")
    assert job["account"] == "arl-vision"
    assert (job["nodes"], job["gpus_per_node"], job["tier"]) == (2, 8, ["national", "national"])
    assert (job["state"], job["runs"], job["position"]) == ("pending", [], None)
    assert job["time_limit_seconds"] == 600
    assert job["reason"] == "It waits for the next planning cycle."
    assert len(job["id"]) == 12
    assert job["submission_id"].startswith("raysubmit_")
    for key in (job["id"], job["submission_id"]):
        assert (await house.call("dana", "GET", f"/v1/jobs/{key}")).json() == job


async def test_submitting_wakes_the_cycle(small):
    bell = small.hub.wake.bell("cycle")
    await small.submit("dana")
    assert bell.is_set()


async def test_a_refused_job_leaves_nothing_behind(house):
    answer = await house.call("dana", "POST", "/v1/jobs", json={"entrypoint": "a", "nodes": 4096})
    assert answer.status_code == 422
    assert (await house.call("dana", "GET", "/v1/jobs")).json() == {"jobs": [], "next": None}


async def post(house, key=None, **asked):
    headers = {"Idempotency-Key": key} if key else {}
    asked = {"entrypoint": "true"} | asked
    return await house.call("dana", "POST", "/v1/jobs", json=asked, headers=headers)


async def test_the_same_key_and_request_give_the_first_job_back(house):
    first = await post(house, "k", nodes=1, gpus_per_node=2)
    again = await post(house, "k", gpus_per_node=2, nodes=1)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()


async def test_the_same_key_for_another_request_is_refused(house):
    first = await post(house, "k")
    answer = await post(house, "k", gpus_per_node=2)
    assert answer.status_code == 409
    assert (answer.json()["field"], answer.json()["value"]) == ("Idempotency-Key", "k")
    assert first.json()["id"] in answer.json()["detail"]


async def test_two_people_may_use_the_same_key_and_submission_id(house):
    asked = {"entrypoint": "true", "submission_id": "mine"}
    headers = {"Idempotency-Key": "k"}
    answers = [
        await house.call(who, "POST", "/v1/jobs", json=asked, headers=headers)
        for who in ("dana", "alex")
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["id"] != answers[1].json()["id"]


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "ü"])
async def test_a_key_that_is_none_is_refused(small, key):
    headers = {"Idempotency-Key": key.encode()}
    answer = await small.call("dana", "POST", "/v1/jobs", json={"entrypoint": "a"}, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["field"] == "Idempotency-Key"


@pytest.mark.parametrize("by", ["submission_id", "key"])
async def test_eight_at_once_with_one_id_make_one_job(house, by):
    asked = {"submission_id": "mine"} if by == "submission_id" else {"key": "k"}
    await house.bearer("dana")
    answers = await asyncio.gather(*(post(house, **asked) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len((await house.call("dana", "GET", "/v1/jobs")).json()["jobs"]) == 1


async def test_of_many_at_once_each_gets_its_own_answer(house):
    await house.bearer("dana")
    asked = [{"nodes": 1 + n % 6, "gpus_per_node": 1 + n % 8} for n in range(40)]
    answers = await asyncio.gather(*(post(house, **one) for one in asked))
    for one, answer in zip(asked, answers, strict=True):
        if one["nodes"] > 4:
            assert answer.status_code == 422
            assert answer.json()["value"] == str(one["nodes"])
        else:
            assert answer.status_code == 201
            assert one.items() <= answer.json().items()


async def test_a_replay_is_answered_even_when_the_policy_would_refuse_it_now(house, monkeypatch):
    first = await post(house, "k")
    monkeypatch.setattr("scheduler.api.submit.pending_counts", a_million_each)
    assert (await post(house, "k")).json()["id"] == first.json()["id"]
    assert (await post(house, "another")).json()["limit"] == "waiting jobs of dana: 10000"


async def a_million_each(_, users):
    return dict.fromkeys(users, 10**6)


async def test_another_persons_job_looks_exactly_as_if_it_were_not_there(house):
    job = await house.submit("dana", submission_id="secret-plan")
    for key in (job["id"], "secret-plan"):
        for method, path in (
            ("GET", ""),
            ("POST", "/cancel"),
            ("GET", "/explanation"),
            ("GET", "/log"),
        ):
            foreign = await house.call("iris", method, f"/v1/jobs/{key}{path}")
            absent = await house.call("iris", method, f"/v1/jobs/{key[:-1]}0{path}")
            assert foreign.status_code == absent.status_code == 404
            assert foreign.content.replace(key.encode(), b"?") == absent.content.replace(
                f"{key[:-1]}0".encode(), b"?"
            )
            assert foreign.headers == absent.headers
    assert (await house.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()["state"] == "pending"


async def test_an_admin_sees_everyones_jobs(house):
    for who in ("dana", "alex"):
        await house.submit(who)
    listed = (await house.call("admin", "GET", "/v1/jobs")).json()["jobs"]
    assert [job["user"] for job in listed] == ["alex", "dana"]
    assert [j["user"] for j in (await house.call("alex", "GET", "/v1/jobs")).json()["jobs"]] == [
        "alex"
    ]


async def test_pages_hold_every_job_once_newest_first(house):
    made = [(await house.submit("dana"))["id"] for _ in range(7)]
    seen, after = [], None
    for _ in range(4):
        query = "limit=2" + (f"&after={after}" if after else "")
        page = (await house.call("dana", "GET", f"/v1/jobs?{query}")).json()
        seen += [job["id"] for job in page["jobs"]]
        after = page["next"]
    assert seen == made[::-1]
    assert after is None


async def test_a_page_that_ends_with_the_last_job_has_no_next(house):
    for _ in range(2):
        await house.submit("dana")
    assert (await house.call("dana", "GET", "/v1/jobs?limit=2")).json()["next"] is None


async def test_lists_can_be_narrowed(house):
    job, _ = await house.running("dana")
    waiting = await house.submit("dana", nodes=4, gpus_per_node=8)
    for query, ids in (
        ("state=running", [job["id"]]),
        ("state=pending", [waiting["id"]]),
        ("account=arl-vision", [waiting["id"], job["id"]]),
        ("account=acme-robotics", []),
    ):
        listed = (await house.call("dana", "GET", f"/v1/jobs?{query}")).json()["jobs"]
        assert [one["id"] for one in listed] == ids, query


async def test_a_waiting_job_is_cancelled_at_once_and_twice_is_once(house):
    job = await house.submit("dana")
    bell = house.hub.wake.bell(f"job:{job['id']}")
    first = await house.call("dana", "POST", f"/v1/jobs/{job['id']}/cancel")
    again = await house.call("dana", "POST", f"/v1/jobs/{job['id']}/cancel")
    assert (first.status_code, first.json()["state"]) == (200, "stopped")
    assert first.json() == again.json()
    assert bell.is_set()
    assert "cancelled by dana" in first.json()["reason"]


async def test_a_running_job_that_is_cancelled_stops_and_its_site_is_woken(house):
    job, _ = await house.running("dana")
    bell = house.hub.wake.bell("site:national")
    answer = (await house.call("dana", "POST", f"/v1/jobs/{job['id']}/cancel")).json()
    assert answer["state"] == "stopping"
    assert answer["reason"].startswith("It was cancelled and ends by")
    assert bell.is_set()


async def test_a_running_job_says_where_and_how(house):
    job, run = await house.running("dana", gpus_per_node=8)
    view = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()
    assert view["state"] == "running"
    assert view["reason"] == (
        "It runs on 8 GPUs of national-hub since 2026-03-02 12:00 UTC, in quota."
    )
    assert [one["run"] for one in view["runs"]] == [run]
    assert view["runs"][0]["simulated"] is True
    assert view["runs"][0]["tier"] == "national"
    assert view["starts_at"] is None


async def test_a_waiting_job_is_explained_pool_by_pool(house):
    await house.running("dana", nodes=4, gpus_per_node=8, time_limit_seconds=3600)
    job = await house.submit("dana", nodes=2, gpus_per_node=8, tier=["national"])
    behind = await house.submit("dana", nodes=2, gpus_per_node=8, tier=["national"])
    await house.plan()
    told = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}/explanation")).json()
    assert told["state"] == "pending"
    assert told["position"] == 1
    assert {v["pool"] for v in told["verdicts"]} == {"arl-team", "state-u-hpc", "national-hub"}
    assert all(v["sentence"].endswith(".") and "?" not in v["sentence"] for v in told["verdicts"])
    assert told["history"][0]["event"] == "submitted"
    view = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()
    assert view["reason"] == told["summary"]
    assert "national-hub" in view["reason"]
    second = (await house.call("dana", "GET", f"/v1/jobs/{behind['id']}/explanation")).json()
    assert second["position"] == 2


async def test_a_list_and_a_job_say_the_same(house):
    await house.running("dana", nodes=4, gpus_per_node=8)
    jobs = [await house.submit("dana", nodes=2, gpus_per_node=8) for _ in range(3)]
    await house.plan()
    listed = (await house.call("dana", "GET", "/v1/jobs")).json()["jobs"]
    assert [one["id"] for one in listed[:3]] == [job["id"] for job in jobs[::-1]]
    for one in listed:
        assert (await house.call("dana", "GET", f"/v1/jobs/{one['id']}")).json() == one


async def test_a_forecast_is_shown_where_no_start_is_planned(small):
    job = await small.submit("dana")
    small.hub.forecasts[job["id"]] = NOON + timedelta(hours=1)
    view = (await small.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()
    assert view["starts_at"] == "2026-03-02T13:00:00Z"


async def test_a_planned_start_goes_before_a_forecast_one(house):
    job = await house.submit("dana")
    house.hub.forecasts[job["id"]] = NOON + timedelta(hours=1)
    planned = {"job_id": job["id"], "pool": "national-hub", "slots": [["national-1", [0]]]}
    async with house.hub.db.transaction() as conn:
        start = NOON + timedelta(minutes=30)
        await conn.execute(insert(reservations).values(planned | {"start_at": start}))
    for path in ("", "/explanation"):
        told = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}{path}")).json()
        assert told["starts_at"] == "2026-03-02T12:30:00Z"


async def append(house, run, offset, data):
    path = f"/v1/sites/national/runs/{run}/log?offset={offset}"
    return await house.call("national-site", "POST", path, content=data)


def a_page(text, next_offset, size=None, state="running"):
    ended = state in {"succeeded", "failed"}
    size = next_offset if size is None else size
    page = {"text": text, "next_offset": next_offset, "complete": ended}
    return page | {"size": size, "state": state}


async def test_a_log_is_read_piece_by_piece_until_it_is_complete(house):
    job, run = await house.running("dana")
    said = "eins\nzwei ü\n"
    assert (await append(house, run, 0, said.encode())).json() == {"next_offset": 13}
    path = f"/v1/jobs/{job['id']}/log"
    first = (await house.call("dana", "GET", f"{path}?limit=5")).json()
    assert first == a_page("eins\n", 5, size=13)
    rest = (await house.call("dana", "GET", f"{path}?offset=5")).json()
    assert rest == a_page("zwei ü\n", 13)
    ended = house.observed(run, "succeeded", fenced=True, log_bytes=13)
    assert (await house.sync("national", ended, sequence=2)).status_code == 200
    last = (await house.call("dana", "GET", f"{path}?offset=13")).json()
    assert last == a_page("", 13, state="succeeded")


async def test_a_log_is_not_complete_before_its_tail_has_come(house):
    job, run = await house.running("dana")
    ended = house.observed(run, "failed", fenced=True, log_bytes=5)
    await house.sync("national", ended, sequence=2)
    path = f"/v1/jobs/{job['id']}/log"
    assert (await house.call("dana", "GET", path)).json()["complete"] is False
    await append(house, run, 0, b"oops\n")
    page = (await house.call("dana", "GET", path)).json()
    assert page == a_page("oops\n", 5, state="failed")


async def test_a_job_that_never_ran_has_an_empty_complete_log(house):
    job = await house.submit("dana")
    path = f"/v1/jobs/{job['id']}/log"
    assert (await house.call("dana", "GET", path)).json() == a_page("", 0, state="pending")
    await house.call("dana", "POST", f"/v1/jobs/{job['id']}/cancel")
    assert (await house.call("dana", "GET", path)).json()["complete"] is True


async def test_before_the_first_policy_a_submission_says_what_is_missing(bare):
    answer = await bare.call("dana", "POST", "/v1/jobs", json={"entrypoint": "true"})
    assert answer.status_code == 503
    assert "policy apply" in answer.json()["next_step"]


async def test_a_runtime_environment_is_held_to_what_sites_allow(small):
    asked = {"entrypoint": "true", "runtime_env": {"working_dir": "file:///etc"}}
    answer = await small.call("dana", "POST", "/v1/jobs", json=asked)
    assert answer.status_code in (400, 422)
    assert answer.json()["field"] == "runtime_env.working_dir"
    asked = {"entrypoint": "true", "runtime_env": {"working_dir": "gcs://_ray_pkg_0.zip"}}
    answer = await small.call("dana", "POST", "/v1/jobs", json=asked)
    assert answer.status_code == 422
    assert "uploaded" in answer.json()["detail"]
