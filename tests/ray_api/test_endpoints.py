"""Every endpoint of Ray's Jobs API: the codes and words that Ray's clients rely on."""

import asyncio

import pytest

from scheduler.wire.accounts import Scope
from tests.ray_api.live import package

JOBS = "/api/jobs/"
PACKAGE = "/api/packages/gcs/_ray_pkg_0123456789abcdef.zip"


async def post(live, who="dana", headers=None, **body):
    asked = {"entrypoint": "true"} | body
    return await live.call(who, "POST", JOBS, json=asked, headers=headers or {})


async def test_the_version_says_what_rays_client_asks_for(live):
    answer = await live.call("dana", "GET", "/api/version")
    assert answer.status_code == 200
    assert answer.json() == {
        "version": "4",
        "ray_version": "2.60.0",
        "ray_commit": "commonpool",
        "session_name": "session_commonpool",
    }


async def test_the_version_is_that_of_the_oldest_site(live, site):
    site.sequence += 1
    message = {"instance": "x", "sequence": 1, "ray_version": "2.49.1", "wait_seconds": 0}
    await live.call("lab-site", "POST", "/v1/sites/lab/sync", json=message)
    answer = await live.call("dana", "GET", "/api/version")
    assert answer.json()["ray_version"] == "2.49.1"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_slash_of_the_jobs_path_is_needed_and_nobody_is_redirected(live, method):
    answer = await live.call("dana", method, "/api/jobs", json={"entrypoint": "true"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")


async def test_a_submission_is_answered_with_its_id_twice(live):
    answer = await post(live, submission_id="mine")
    assert answer.status_code == 200
    assert answer.json() == {"job_id": "mine", "submission_id": "mine"}


@pytest.mark.parametrize("nodes", [1, 2])
async def test_a_job_that_asks_for_no_gpus_gets_the_policys_default_on_each_node(live, site, nodes):
    await live.submit(entrypoint="program", metadata={"commonpool.nodes": str(nodes)})
    lease = await site.lease_of("program")
    assert [len(node.gpus) for node in lease.nodes] == [2] * nodes


async def test_an_id_is_made_up_as_ray_does_when_none_is_given(live):
    answer = await post(live, submission_id="")
    made = answer.json()["submission_id"]
    assert made.startswith("raysubmit_")
    assert len(made) == len("raysubmit_") + 16


async def test_a_taken_id_is_answered_in_rays_words(live):
    await post(live, submission_id="mine")
    for entrypoint in ("true", "something else"):
        again = await post(live, submission_id="mine", entrypoint=entrypoint)
        assert again.status_code == 500
        assert again.text.endswith(
            "Job with submission_id mine already exists. Please use a different submission_id."
        )


async def test_a_taken_id_stays_taken_after_its_job_was_deleted(live):
    await post(live, submission_id="mine")
    await live.call("dana", "POST", "/api/jobs/mine/stop")
    assert (await live.call("dana", "DELETE", "/api/jobs/mine")).json() == {"deleted": True}
    assert (await post(live, submission_id="mine")).status_code == 500


async def test_two_people_may_use_the_same_id(live):
    assert (await post(live, submission_id="mine")).status_code == 200
    assert (await post(live, who="alex", submission_id="mine")).status_code == 200


async def test_eight_posts_of_one_id_at_once_give_one_job(live):
    answers = await asyncio.gather(*(post(live, submission_id="mine") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [500] * 7
    assert len((await live.call("dana", "GET", JOBS)).json()) == 1


async def test_the_same_idempotency_key_gives_the_same_job_eight_times_at_once(live):
    key = {"Idempotency-Key": "5a1f"}
    answers = await asyncio.gather(*(post(live, headers=key) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["submission_id"] for answer in answers}) == 1


async def test_an_idempotency_key_for_another_request_is_refused(live):
    key = {"Idempotency-Key": "5a1f"}
    await post(live, headers=key)
    other = await post(live, headers=key, entrypoint="false")
    assert other.status_code == 409
    assert "Idempotency-Key" in other.text


async def test_details_echo_what_was_sent_and_say_why_it_waits(live):
    env = {"env_vars": {"EPOCHS": "3"}, "pip": ["numpy"]}
    metadata = {"commonpool.gpus_per_node": "4", "team": "vision"}
    job = await live.submit(runtime_env=env, metadata=metadata)
    found = await live.details(job)
    assert found["type"] == "SUBMISSION"
    assert found["status"] == "PENDING"
    assert found["submission_id"] == job
    assert found["metadata"] == metadata
    assert found["runtime_env"] == env
    assert found["message"].startswith("queued: ")
    assert found["driver_info"] is None
    assert found["end_time"] is None
    assert isinstance(found["start_time"], int)
    assert found["commonpool"]["account"] == "lab-a"
    by_own_id = await live.details(found["commonpool"]["job"])
    assert by_own_id["submission_id"] == job


async def test_the_list_holds_ones_own_jobs_only_and_an_admins_everyones(live):
    mine, other = await live.submit(), await live.submit("alex")

    async def listed(who):
        answer = await live.call(who, "GET", JOBS)
        assert answer.status_code == 200
        return {job["submission_id"] for job in answer.json()}

    assert await listed("dana") == {mine}
    assert await listed("alex") == {other}
    assert await listed("admin") == {mine, other}


async def test_an_empty_list_is_an_empty_array(live):
    assert (await live.call("dana", "GET", JOBS)).json() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/jobs/{}"),
        ("GET", "/api/jobs/{}/logs"),
        ("POST", "/api/jobs/{}/stop"),
        ("DELETE", "/api/jobs/{}"),
    ],
)
async def test_a_foreign_job_and_none_are_the_same_404_in_rays_words(live, method, path):
    foreign = await live.submit("alex", submission_id="theirs")
    for name in (foreign, "nobodys"):
        answer = await live.call("dana", method, path.format(name))
        assert (answer.status_code, answer.text) == (404, f"Job {name} does not exist")


async def test_a_waiting_job_stops_at_once_and_stopping_again_is_false(live):
    job = await live.submit()
    assert (await live.call("dana", "POST", f"/api/jobs/{job}/stop")).json() == {"stopped": True}
    assert (await live.details(job))["status"] == "STOPPED"
    assert (await live.call("dana", "POST", f"/api/jobs/{job}/stop")).json() == {"stopped": False}


async def test_a_running_job_is_told_to_stop_and_ends_when_its_site_says_so(live, site):
    job = await live.submit(entrypoint="sleep 1000")
    lease = await site.lease_of("sleep 1000")
    await site.report(lease, "running")
    await live.until_status(job, "RUNNING")
    assert (await live.call("dana", "POST", f"/api/jobs/{job}/stop")).json() == {"stopped": True}
    ordered = await site.lease_of("sleep 1000", wanted="stop")
    assert ordered.stop_reason == "cancelled"
    await site.report(lease, "stopped")
    assert (await live.details(job))["status"] == "STOPPED"


async def test_a_job_that_has_not_ended_cannot_be_deleted(live):
    job = await live.submit()
    answer = await live.call("dana", "DELETE", f"/api/jobs/{job}")
    assert answer.status_code == 500
    assert answer.text == (
        f"Attempted to delete job '{job}', but it is in a non-terminal state PENDING."
    )


async def test_a_deleted_job_is_gone_from_every_list(live):
    job = await live.submit()
    await live.call("dana", "POST", f"/api/jobs/{job}/stop")
    assert (await live.call("dana", "DELETE", f"/api/jobs/{job}")).json() == {"deleted": True}
    assert (await live.call("dana", "GET", JOBS)).json() == []
    assert (await live.call("dana", "GET", f"/api/jobs/{job}")).status_code == 404
    assert (await live.call("dana", "DELETE", f"/api/jobs/{job}")).status_code == 404


async def test_logs_are_empty_while_a_job_waits_and_whole_when_it_ended(live, site):
    job = await live.submit(entrypoint="program")
    lease = await site.lease_of("program")
    assert (await live.call("dana", "GET", f"/api/jobs/{job}/logs")).json() == {"logs": ""}
    text = 'one\n"two" \\ \x07\nfünf → 5\n'
    await site.log(lease, text)
    await site.report(lease, "succeeded", exit_code=0)
    answer = await live.call("dana", "GET", f"/api/jobs/{job}/logs")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"logs": text}
    found = await live.details(job)
    assert (found["status"], found["driver_exit_code"]) == ("SUCCEEDED", 0)
    assert found["end_time"] >= found["start_time"]


async def test_the_logs_of_all_attempts_come_in_order_with_a_line_between(live, site):
    job = await live.submit(entrypoint="program")
    first = await site.lease_of("program")
    await site.log(first, "first\n")
    await site.report(first, "lost")
    await site.sync()
    second = await site.lease_of("program")
    assert second.attempt == 2
    await site.log(second, "second\n")
    answer = await live.call("dana", "GET", f"/api/jobs/{job}/logs")
    assert answer.json()["logs"] == f"first\n[commonpool] next attempt: {second.run}\nsecond\n"


async def test_a_failed_job_says_what_its_site_said(live, site):
    job = await live.submit(entrypoint="program")
    lease = await site.lease_of("program")
    await site.report(
        lease,
        "failed",
        exit_code=3,
        message="exited with code 3",
        error_type="JOB_ENTRYPOINT_COMMAND_ERROR",
        driver_job_id="02000000",
    )
    found = await live.details(job)
    assert found["status"] == "FAILED"
    assert found["message"] == "exited with code 3"
    assert found["error_type"] == "JOB_ENTRYPOINT_COMMAND_ERROR"
    assert found["driver_exit_code"] == 3
    assert found["job_id"] == "02000000"
    assert found["driver_info"]["id"] == "02000000"


# Packages


async def test_a_package_is_there_once_its_owner_uploaded_it_and_for_nobody_else(live):
    content = package({"main.py": "print(1)"})
    missing = await live.call("dana", "GET", PACKAGE)
    uri = "gcs://_ray_pkg_0123456789abcdef.zip"
    assert (missing.status_code, missing.text) == (404, f"Package {uri} does not exist")
    stored = await live.call("dana", "PUT", PACKAGE, content=content)
    assert (stored.status_code, stored.content) == (200, b"")
    found = await live.call("dana", "GET", PACKAGE)
    assert (found.status_code, found.content) == (200, b"")
    assert (await live.call("alex", "GET", PACKAGE)).status_code == 404


async def test_a_job_gets_the_package_of_its_own_tenant_under_our_own_hash(live, site):
    for who in ("dana", "alex"):
        await live.call(who, "PUT", PACKAGE, content=package({"main.py": f"print('{who}')"}))
    env = {"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip"}
    for who in ("dana", "alex"):
        await live.submit(who, entrypoint=who, runtime_env=env)
    hashes = set()
    for who in ("dana", "alex"):
        (ref,) = (await site.lease_of(who)).packages
        assert ref.uri == env["working_dir"]
        path = f"/v1/sites/lab/packages/{ref.sha256}"
        content = (await live.call("lab-site", "GET", path)).content
        assert content == package({"main.py": f"print('{who}')"})
        hashes.add(ref.sha256)
    assert len(hashes) == 2


async def test_a_job_cannot_name_a_package_that_its_owner_never_uploaded(live):
    await live.call("alex", "PUT", PACKAGE, content=package({"main.py": "secret"}))
    answer = await post(live, runtime_env={"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip"})
    assert answer.status_code == 422
    assert "_ray_pkg_0123456789abcdef.zip" in answer.text or "package" in answer.text


async def test_a_package_whose_bytes_were_lost_is_asked_for_again(live, tmp_path):
    await live.call("dana", "PUT", PACKAGE, content=package({"main.py": "print(1)"}))
    for file in (tmp_path / "packages").iterdir():
        file.unlink()
    assert (await live.call("dana", "GET", PACKAGE)).status_code == 404


async def test_a_package_above_the_limit_is_413_in_one_line(live):
    size = live.hub.state.settings.max_package_bytes
    assert size == 100 * 1024 * 1024

    async def stream():
        for _ in range(101):
            yield b"\0" * 1024 * 1024

    for content in (b"\0" * (size + 1), stream()):
        answer = await live.call("dana", "PUT", PACKAGE, content=content)
        assert answer.status_code == 413
        assert "100 MiB" in answer.text
        assert "\n" not in answer.text


async def test_a_package_that_would_escape_is_400_with_the_reason_and_is_not_kept(live, tmp_path):
    answer = await live.call("dana", "PUT", PACKAGE, content=package({"../up.py": "x"}))
    assert answer.status_code == 400
    assert "'..'" in answer.text
    assert (await live.call("dana", "GET", PACKAGE)).status_code == 404
    assert list((tmp_path / "packages").iterdir()) == []


async def test_an_unknown_package_protocol_is_refused(live):
    path = "/api/packages/s3/_ray_pkg_0123456789abcdef.zip"
    assert (await live.call("dana", "GET", path)).status_code == 404
    assert (await live.call("dana", "PUT", path, content=b"x")).status_code == 400


# Who calls


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/version"),
        ("GET", PACKAGE),
        ("PUT", PACKAGE),
        ("POST", JOBS),
        ("GET", JOBS),
        ("GET", "/api/jobs/x"),
        ("GET", "/api/jobs/x/logs"),
        ("POST", "/api/jobs/x/stop"),
        ("DELETE", "/api/jobs/x"),
    ],
)
async def test_every_endpoint_needs_a_users_token(live, method, path):
    bare = await live.http.request(method, path)
    assert bare.status_code == 401
    assert bare.headers["content-type"].startswith("text/plain")
    assert "\n" not in bare.text
    wrong = await live.call("lab-node", method, path)
    assert wrong.status_code == 403


async def test_the_token_may_come_as_a_basic_password_too(live):
    await live.headers("dana")
    answer = await live.http.get("/api/version", auth=("anyone", live.tokens["dana"]))
    assert answer.status_code == 200


async def test_the_token_may_come_in_rays_own_header_too(live):
    await live.headers("dana")
    bearer = {"X-Ray-Authorization": f"Bearer {live.tokens['dana']}"}
    assert (await live.http.get("/api/version", headers=bearer)).status_code == 200


async def test_an_expired_token_is_told_so(live):
    token = await live.token("dana", Scope.USER, days=None)
    live.tokens["dana"] = token + "x"
    assert (await live.call("dana", "GET", "/api/version")).status_code == 401


# What is refused


async def test_refusals_are_one_plain_line_without_json_or_traceback(live):
    refused = [
        await post(live, submission_id="has/slash"),
        await post(live, metadata={"commonpool.nodes": "9999"}),
        await post(live, metadata={"commonpool.account": "lab-b"}),
        await live.call("dana", "POST", JOBS, content=b"{"),
        await live.call("dana", "POST", JOBS, content=b"[1]"),
        await post(live, entrypoint="x" * 1_000_000),
    ]
    assert [answer.status_code for answer in refused] == [400, 422, 422, 400, 400, 400]
    for answer in refused:
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text.startswith("commonpool: ")
        assert "\n" not in answer.text
        assert "Traceback" not in answer.text
        assert len(answer.text) < 1000


async def test_a_refused_submission_stores_nothing(live):
    await post(live, metadata={"commonpool.nodes": "9999"})
    assert (await live.call("dana", "GET", JOBS)).json() == []
