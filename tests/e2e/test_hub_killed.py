"""Kill -9 the hub in the middle of submits and cycles: nothing is lost, nothing runs twice."""

import random
import re
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests.e2e.hub_process import Lab, lab
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

KILLS = 20
JOBS = 120


def submit(the: Lab, token: str, number: int, gave_up: threading.Event) -> str:
    """Submit until the hub says it has it, as a client with retries does."""
    body = {
        "entrypoint": f"simulated {number}",
        "submission_id": f"kill-{number}",
        "nodes": 1 + number % 2,
        "gpus_per_node": (1, 2, 4, 8)[number % 4],
        "metadata": {"commonpool.simulated_seconds": "0.2"},
    }
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"key-{number}"}
    while not gave_up.is_set():
        try:
            reply = httpx.post(f"{the.url}/v1/jobs", json=body, headers=headers, timeout=5)
        except httpx.HTTPError:
            gave_up.wait(0.05)
            continue
        if reply.status_code in {200, 201}:
            return str(reply.json()["id"])
        assert reply.status_code == 503, reply.text
    raise AssertionError("the test gave up before the hub took the job")


def test_twenty_kills_of_the_hub_lose_no_job_start_none_twice_and_leak_no_lease(tmp_path):
    dice = random.Random(7)
    gave_up = threading.Event()
    with lab(tmp_path / "lab") as the, ThreadPoolExecutor(8) as clients:
        token = the.token("dana", "user")
        pending = [clients.submit(submit, the, token, n, gave_up) for n in range(JOBS)]
        try:
            for _ in range(KILLS):
                gave_up.wait(dice.uniform(0.05, 0.6))  # the kill's moment, not a synchronisation
                the.kill("hub", signal.SIGKILL)
                the.start_hub()
            ids = [answer.result(timeout=120) for answer in pending]
        finally:
            gave_up.set()
        assert len(set(ids)) == JOBS
        until(lambda: states(the, token) == Counter(succeeded=JOBS), seconds=240)
        assert runs_started(the) == dict.fromkeys((f"cp-{job}-1" for job in ids), 1)
        until(lambda: leased_gpus(the) == 0, seconds=30)


def states(the: Lab, token: str) -> Counter[str]:
    headers = {"Authorization": f"Bearer {token}"}
    page = httpx.get(f"{the.url}/v1/jobs?limit=500", headers=headers, timeout=20).json()
    return Counter(job["state"] for job in page["jobs"])


def runs_started(the: Lab) -> dict[str, int]:
    """What the site carried out, by its own log: the only witness that the hub cannot fool."""
    said = (the.data / "agent.log").read_text()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    return dict(Counter(re.findall(r"run_begun\b.*?run_id=(\S+)", plain)))


def leased_gpus(the: Lab) -> int:
    query = (
        "SELECT count(*) FROM lease_gpus l JOIN runs r ON r.id = l.run_id WHERE r.ended_at IS NULL"
    )
    engine = create_engine(f"sqlite:///{the.data / 'hub.db'}")
    with engine.connect() as conn:
        count = int(conn.execute(text(query)).scalar_one())
    engine.dispose()
    return count
