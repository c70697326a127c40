"""Our answers beside those of a real Ray head: the same codes, and the same words that count."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.ray_api.live import Live, live_hub
from tests.ray_api.ray_head import RayHead, ray_head
from tests.waiting import eventually

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

PACKAGE = "/api/packages/gcs/_ray_pkg_0123456789abcdef.zip"


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head("lab-1") as running:
        yield running


@dataclass
class Both:
    """The same request to a real Ray head and to a hub."""

    ray: httpx.AsyncClient
    live: Live

    async def ask(self, method: str, path: str, **options) -> tuple[httpx.Response, httpx.Response]:
        theirs = await self.ray.request(method, path, **options)
        return theirs, await self.live.call("dana", method, path, **options)

    async def forget(self, job: str) -> None:
        """Let neither of them keep the job."""
        await self.ask("POST", f"/api/jobs/{job}/stop")

        async def gone() -> bool:
            theirs, _ = await self.ask("DELETE", f"/api/jobs/{job}")
            return theirs.status_code in {200, 404}

        await eventually(gone, 60)


@pytest.fixture
async def both(head, tmp_path) -> AsyncIterator[Both]:
    async with (
        live_hub(tmp_path) as live,
        httpx.AsyncClient(base_url=head.url, timeout=60, trust_env=False) as ray,
    ):
        yield Both(ray, live)


async def test_the_version_has_the_same_fields_and_the_same_api_version(both):
    theirs, ours = await both.ask("GET", "/api/version")
    assert theirs.status_code == ours.status_code == 200
    assert theirs.json().keys() == ours.json().keys()
    assert theirs.json()["version"] == ours.json()["version"]
    assert theirs.json()["ray_version"] == ours.json()["ray_version"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/jobs/nobodys"),
        ("GET", "/api/jobs/nobodys/logs"),
        ("GET", "/api/jobs/nobodys/logs/tail"),
        ("POST", "/api/jobs/nobodys/stop"),
        ("DELETE", "/api/jobs/nobodys"),
        ("GET", PACKAGE),
    ],
)
async def test_what_is_not_there_is_said_in_the_same_words(both, method, path):
    theirs, ours = await both.ask(method, path)
    assert theirs.status_code == 404
    if not path.endswith("/tail"):  # asked without an upgrade: ours has no page there
        assert ours.text == theirs.text
    assert ours.status_code == 404


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_jobs_path_needs_its_slash_there_as_here(both, method):
    theirs, ours = await both.ask(method, "/api/jobs", json={"entrypoint": "true"})
    assert theirs.status_code == ours.status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="no entrypoint"),
        pytest.param({"entrypoint": 5}, id="a number as entrypoint"),
        pytest.param({"entrypoint": "true", "unknown": 1}, id="an unknown key"),
        pytest.param({"entrypoint": "true", "metadata": {"a": 1}}, id="a number in metadata"),
        pytest.param({"entrypoint": "true", "runtime_env": []}, id="a list as runtime_env"),
        pytest.param({"entrypoint": "true", "entrypoint_num_gpus": "1"}, id="text as GPUs"),
    ],
)
async def test_what_ray_refuses_with_400_is_400_here(both, body):
    theirs, ours = await both.ask("POST", "/api/jobs/", json=body)
    assert theirs.status_code == ours.status_code == 400
    assert theirs.headers["content-type"].split(";")[0] == "text/plain"
    assert ours.headers["content-type"].split(";")[0] == "text/plain"


async def test_a_null_key_of_a_newer_client_is_dropped_there_as_here(both):
    body = {"entrypoint": "true", "submission_id": "nulls", "of_the_future": None}
    theirs, ours = await both.ask("POST", "/api/jobs/", json=body)
    assert theirs.status_code == ours.status_code == 200
    assert theirs.json() == ours.json()
    await both.forget("nulls")


async def test_a_jobs_life_has_the_same_codes_fields_and_words(both):
    """A taken id, details, a job that runs and cannot be deleted, stop, delete."""
    body = {"entrypoint": "sleep 600", "submission_id": "same", "metadata": {"a": "b"}}
    theirs, ours = await both.ask("POST", "/api/jobs/", json=body)
    assert theirs.status_code == ours.status_code == 200
    assert theirs.json() == ours.json()

    theirs, ours = await both.ask("POST", "/api/jobs/", json=body)
    assert theirs.status_code == ours.status_code == 500
    assert ours.text in theirs.text  # at the end of two tracebacks

    theirs, ours = await both.ask("GET", "/api/jobs/same")
    assert theirs.status_code == ours.status_code == 200
    assert ours.json().keys() - theirs.json().keys() == {"commonpool"}
    assert not theirs.json().keys() - ours.json().keys()
    for key, value in theirs.json().items():
        if value is not None and ours.json()[key] is not None:
            assert type(ours.json()[key]) is type(value), key

    theirs, ours = await both.ask("GET", "/api/jobs/")
    assert isinstance(theirs.json(), list)
    assert isinstance(ours.json(), list)

    theirs, ours = await both.ask("DELETE", "/api/jobs/same")
    assert theirs.status_code == ours.status_code == 500
    words = "Attempted to delete job 'same', but it is in a non-terminal state "
    assert words in theirs.text
    assert ours.text.startswith(words)

    theirs, ours = await both.ask("POST", "/api/jobs/same/stop")
    assert theirs.json() == ours.json() == {"stopped": True}
    await both.forget("same")


async def test_a_package_is_stored_and_found_with_the_same_answers(both):
    content = b"PK\x05\x06" + bytes(18)
    theirs, ours = await both.ask("PUT", PACKAGE, content=content)
    assert (theirs.status_code, theirs.content) == (ours.status_code, ours.content) == (200, b"")
    theirs, ours = await both.ask("GET", PACKAGE)
    assert (theirs.status_code, theirs.content) == (ours.status_code, ours.content) == (200, b"")


async def test_a_package_of_101_mib_is_413_there_as_here(both):
    theirs, ours = await both.ask("PUT", PACKAGE, content=bytes(101 * 1024**2))
    assert theirs.status_code == ours.status_code == 413
    assert ours.headers["content-type"].split(";")[0] == "text/plain"
