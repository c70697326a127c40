"""The sites' long poll, the logs and packages of their runs."""

import asyncio
import hashlib
import io
import zipfile

import pytest

from scheduler.db.packages import save_package
from tests.api.conftest import NOON


async def leased(house, **asked):
    """Return a job that was given a lease on the national pool, and the first orders."""
    await house.report("national")
    job = await house.submit("dana", tier=["national"], **asked)
    await house.plan()
    return job, (await house.sync("national")).json()


async def test_a_site_is_told_what_to_run(house):
    job, orders = await leased(house, gpus_per_node=2, metadata={"a": "b"})
    (lease,) = orders["leases"]
    assert (lease["run"], lease["job"], lease["wanted"]) == (f"cp-{job['id']}-1", job["id"], "run")
    assert (lease["entrypoint"], lease["metadata"]) == ("python train.py", {"a": "b"})
    assert [len(node["gpus"]) for node in lease["nodes"]] == [2]
    assert orders["server_time"] == "2026-03-02T12:00:00Z"


async def test_news_is_answered_at_once_however_long_the_wait(house):
    _, orders = await leased(house)
    async with asyncio.timeout(5):
        again = await house.sync("national", wait_seconds=60, seen_revision="another")
    assert again.json()["revision"] == orders["revision"]


async def waiting(house, **more):
    """Start a long poll and return it once it waits."""
    seen = (await house.sync("national")).json()["revision"]
    poll = asyncio.create_task(
        house.sync("national", wait_seconds=60, seen_revision=seen, sequence=2, **more)
    )
    await asyncio.sleep(
        0.2
    )  # Long enough for the poll to look; too early only costs a second look.
    assert not poll.done()
    return poll


async def test_a_bell_ends_the_wait(house):
    await house.report("national")
    poll = await waiting(house)
    await house.submit("dana", tier=["national"])
    await house.plan()
    async with asyncio.timeout(1.5):  # Less than the pause after which it looks by itself.
        house.hub.wake.ring("site:national")
        assert len((await poll).json()["leases"]) == 1


async def test_a_lost_bell_costs_time_and_nothing_else(house, monkeypatch):
    for seconds in ("LOOK_SECONDS", "ALONE_SECONDS"):
        monkeypatch.setattr(f"scheduler.api.sites.{seconds}", 1)
    await house.report("national")
    poll = await waiting(house)
    house.hub.wake.ring = lambda _: None
    await house.submit("dana", tier=["national"])
    await house.plan()
    async with asyncio.timeout(10):
        assert len((await poll).json()["leases"]) == 1


async def test_the_wait_ends_when_its_time_is_up(small):
    seen = (await small.sync("national")).json()["revision"]
    async with asyncio.timeout(5):
        answer = await small.sync("national", wait_seconds=0.2, seen_revision=seen, sequence=2)
    assert answer.json()["revision"] == seen


async def test_a_hub_that_stops_answers_its_long_polls(small):
    poll = await waiting(small)
    async with asyncio.timeout(1.5):
        small.hub.wake.stopping.set()
        assert (await poll).status_code == 200


async def test_a_long_poll_that_comes_while_the_hub_stops_is_answered_at_once(small):
    seen = (await small.sync("national")).json()["revision"]
    small.hub.wake.stopping.set()
    async with asyncio.timeout(5):
        answer = await small.sync("national", wait_seconds=60, seen_revision=seen, sequence=2)
    assert answer.json()["revision"] == seen


async def test_a_client_that_goes_away_ends_the_wait(small):
    """Nobody waits for an answer that nobody reads."""
    seen = (await small.sync("national")).json()["revision"]
    body = f'{{"instance":"i","sequence":2,"wait_seconds":60,"seen_revision":"{seen}"}}'.encode()
    headers = await small.bearer("national-site") | {"content-type": "application/json"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/sites/national/sync",
        "query_string": b"",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
    }
    messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(_):
        return None

    async with asyncio.timeout(5):
        await small.app(scope, receive, send)


async def test_what_a_site_sees_wakes_who_waits_for_the_job(house):
    job, _ = await leased(house)
    bells = [house.hub.wake.bell(name) for name in (f"job:{job['id']}", "cycle")]
    run = f"cp-{job['id']}-1"
    await house.sync("national", house.observed(run, "running"), sequence=2)
    assert all(bell.is_set() for bell in bells)
    bell = house.hub.wake.bell(f"job:{job['id']}")
    await house.sync("national", house.observed(run, "running"), sequence=3)
    assert not bell.is_set(), "nothing changed"


async def test_a_run_that_ended_is_to_be_forgotten(house):
    job, _ = await leased(house)
    run = f"cp-{job['id']}-1"
    ended = house.observed(run, "succeeded", fenced=True)
    (lease,) = (await house.sync("national", ended, sequence=2)).json()["leases"]
    assert (lease["run"], lease["wanted"]) == (run, "forget")
    assert (await house.sync("national", sequence=3)).json()["leases"] == []


async def test_runs_that_the_hub_does_not_know_are_stopped_and_forgotten(house):
    runs = [house.observed("cp-gone-1", "running"), house.observed("cp-gone-2", "failed")]
    orders = (await house.sync("national", *runs)).json()
    assert [(one["run"], one["wanted"]) for one in orders["leases"]] == [
        ("cp-gone-1", "stop"),
        ("cp-gone-2", "forget"),
    ]
    again = await house.sync(
        "national", *runs, sequence=2, seen_revision=orders["revision"], wait_seconds=0.1
    )
    assert again.json()["revision"] == orders["revision"], "old news is no news"


async def test_a_site_that_the_policy_does_not_have_is_told_so(small):
    answer = await small.sync("atlantis")
    assert answer.status_code == 404
    assert "national" in answer.json()["limit"]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"sequence": -1}, "sequence"),
        ({"sequence": 2**63}, "sequence"),
        ({"wait_seconds": 61}, "wait_seconds"),
        ({"instance": ""}, "instance"),
        ({"instance": "a" * 65}, "instance"),
        ({"runs": [{"run": "a"}]}, "runs.0.token"),
    ],
)
async def test_a_wrong_field_of_a_sync_is_named(small, more, field):
    answer = await small.sync("national", **more)
    assert answer.status_code == 422
    assert answer.json()["field"] == field


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"token": 2**31 - 1}, id="the largest token"),
        pytest.param({"exit_code": -(2**31)}, id="the lowest exit code"),
        pytest.param({"log_bytes": 2**63 - 1}, id="the largest log"),
        pytest.param({"message": "ü" * 20_000}, id="the longest message"),
        pytest.param({"started_at": "2199-12-31T23:59:59-12:00"}, id="a far future"),
        pytest.param({"observed_at": "2000-01-01T00:00:00+14:00"}, id="a far past"),
    ],
)
async def test_the_extremes_of_a_report_are_taken_by_both_databases(house, more):
    job, _ = await leased(house)
    ended = house.observed(f"cp-{job['id']}-1", "failed", fenced=True) | more
    answer = await house.sync("national", ended, sequence=2)
    assert answer.status_code in (200, 422), answer.text
    assert answer.status_code == 200 or "at" in answer.json()["field"]


def log_path(run, offset=0):
    return f"/v1/sites/national/runs/{run}/log?offset={offset}"


async def test_a_piece_of_log_is_stored_once_and_a_gap_is_told(house):
    job, orders = await leased(house)
    run = orders["leases"][0]["run"]
    bell = house.hub.wake.bell(f"job:{job['id']}")
    for _ in range(2):
        answer = await house.call("national-site", "POST", log_path(run), content=b"abc")
        assert answer.json() == {"next_offset": 3}
    assert bell.is_set()
    gap = await house.call("national-site", "POST", log_path(run, 7), content=b"z")
    assert gap.status_code == 409
    assert gap.json()["next_offset"] == 3


async def test_a_log_of_another_sites_run_is_refused_like_one_that_is_not(house):
    _, orders = await leased(house)
    run = orders["leases"][0]["run"]
    path = log_path(run).replace("national", "state-u", 1)
    foreign = await house.call("state-u-site", "POST", path, content=b"x")
    assert foreign.status_code == 404
    absent = await house.call("national-site", "POST", log_path("cp-no-1"), content=b"x")
    assert absent.status_code == 404
    assert absent.json() == foreign.json() | {"value": "cp-no-1"}


async def test_a_piece_of_log_above_4_mib_is_refused(small):
    content = b"x" * (4 * 1024 * 1024 + 1)
    answer = await small.call("national-site", "POST", log_path("cp-j-1"), content=content)
    assert answer.status_code == 413


async def test_a_site_fetches_only_packages_of_its_own_runs(house):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train.py", "print(1)")
    data = file.getvalue()

    async def stream():
        yield data

    sha256, size = await house.hub.files.put_package(stream(), 1000)
    async with house.hub.db.transaction() as conn:
        await save_package(conn, "dana", "_ray_pkg_0.zip", sha256, size, NOON)
    path = f"/v1/sites/national/packages/{sha256}"
    assert (await house.call("national-site", "GET", path)).status_code == 404
    _, orders = await leased(house, runtime_env={"working_dir": "gcs://_ray_pkg_0.zip"})
    assert orders["leases"][0]["packages"] == [
        {"uri": "gcs://_ray_pkg_0.zip", "sha256": sha256, "size": size}
    ]
    answer = await house.call("national-site", "GET", path)
    assert hashlib.sha256(answer.content).hexdigest() == sha256
    elsewhere = await house.call("state-u-site", "GET", path.replace("national", "state-u"))
    assert elsewhere.status_code == 404


@pytest.mark.parametrize("name", ["..", "0" * 63, "A" * 64, "%2e%2e%2fhub.db", "0" * 64])
async def test_a_package_that_is_none_is_not_there(small, name):
    path = f"/v1/sites/national/packages/{name}"
    assert (await small.call("national-site", "GET", path)).status_code == 404
