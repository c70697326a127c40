"""A real hub process: how it starts, how it refuses to, and how it ends."""

import asyncio
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest
import websockets

from scheduler.clock import SystemClock
from scheduler.db.engine import Database
from scheduler.db.policies import save_policy
from scheduler.db.tokens import issue_token
from scheduler.wire.accounts import TokenRequest
from tests.e2e.hub_process import POLICY, free_port
from tests.waiting import until

COMMONPOOL = [sys.executable, "-m", "scheduler.main"]


@contextmanager
def hub(data, *more):
    port = free_port()
    log = data.with_suffix(".log")
    words = [*COMMONPOOL, "hub", "--data", str(data), "--port", str(port), *more]
    with log.open("w") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out)
    try:
        yield process, f"http://127.0.0.1:{port}", log
    finally:
        process.kill()
        process.wait(10)


def answers(process, url):
    assert process.poll() is None, "the hub ended"
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def end(process):
    """Tell the hub to end, and return the seconds that it took."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    return time.monotonic() - began


def refusal(data, *more):
    words = [*COMMONPOOL, "hub", "--data", str(data), *more]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    return done.stderr


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "hub"
    folder.mkdir()
    return folder


def test_a_hub_starts_on_an_empty_folder_and_ends_cleanly(data):
    with hub(data) as (process, url, log):
        until(lambda: answers(process, url), 60)
        assert end(process) < 5
        assert "hub_stopped" in log.read_text()
        assert "Traceback" not in log.read_text()


def test_a_second_hub_in_the_same_folder_is_refused_by_name(data):
    with hub(data) as (process, url, _):
        until(lambda: answers(process, url), 60)
        told = refusal(data, "--port", str(free_port()))
    assert f"another hub (pid {process.pid}) works in {data}" in told
    assert "Traceback" not in told


def test_a_port_in_use_is_told_before_anything_is_started(data, tmp_path):
    with hub(data) as (process, url, _):
        until(lambda: answers(process, url), 60)
        told = refusal(tmp_path / "other", "--port", url.rsplit(":", 1)[1])
    assert "is in use: choose another with --port" in told
    assert not (tmp_path / "other" / "hub.db").exists()


def test_a_database_that_cannot_be_reached_is_told_as_a_sentence(data, tmp_path):
    url = f"postgresql+psycopg://postgres@/hub?host={tmp_path}"
    told = refusal(data, "--port", str(free_port()), "--database-url", url)
    assert "the hub cannot start: PostgreSQL cannot be reached" in told
    assert "Traceback" not in told


def test_a_hub_of_postgresql_starts_and_migrates(data, postgres_server):
    name = postgres_server.create()
    with hub(data, "--database-url", postgres_server.url(name)) as (process, url, _):
        until(lambda: answers(process, url), 60)
        assert end(process) < 5


@pytest.fixture
async def lab(data):
    """A hub with a policy, and tokens of a person and of the site's agent."""
    tokens = {}
    db = Database(f"sqlite+aiosqlite:///{data / 'hub.db'}")
    await db.migrate()
    async with db.transaction() as conn:
        await save_policy(conn, POLICY, SystemClock().now(), "test")
        for subject, scope in (("dana", "user"), ("lab", "site")):
            request = TokenRequest(subject=subject, scope=scope)
            tokens[scope] = (await issue_token(conn, request, SystemClock().now())).token
    await db.close()
    with hub(data) as (process, url, log):
        until(lambda: answers(process, url), 60)
        yield process, url, tokens, log


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


async def test_a_stop_drops_tails_without_a_closing_frame_and_ends_long_polls(lab):
    """Ray's client takes any clean close for the end of the job, and exits with 0."""
    process, url, tokens, log = lab
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        answer = await client.post(
            "/api/jobs/", json={"entrypoint": "true"}, headers=bearer(tokens["user"])
        )
        job = answer.json()["submission_id"]
        site = {"url": "/v1/sites/lab/sync", "headers": bearer(tokens["site"])}
        first = (await client.post(**site, json=poll_of(""))).json()
        poll = asyncio.create_task(client.post(**site, json=poll_of(first["revision"])))
        tail = f"{url.replace('http', 'ws')}/api/jobs/{job}/logs/tail"
        async with websockets.connect(tail, additional_headers=bearer(tokens["user"])) as socket:
            await socket.recv()
            took = await asyncio.to_thread(end, process)
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await drained(socket)
        assert closed.value.rcvd is None
        assert (await poll).status_code == 200
    assert took < 5
    assert "Traceback" not in log.read_text()


async def drained(socket):
    async for _ in socket:
        pass


def poll_of(revision):
    return {"instance": "a", "sequence": 0, "seen_revision": revision, "wait_seconds": 60}
