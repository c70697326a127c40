"""A hub at rest: resident memory and CPU, with three site agents polling and seven nodes reporting.

Run: `python tests/bench/bench_rest.py [--seconds 20]`. Goals: < 150 MB, < 1 % of a core.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil

from scheduler.db.engine import Database
from scheduler.db.policies import save_policy
from scheduler.db.tokens import issue_token
from scheduler.wire.accounts import Scope, TokenRequest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.e2e.hub_process import free_port

POLICY = Path(__file__).resolve().parents[2] / "infra" / "policies" / "demo.yaml"
SITES = ("arl-team", "state-u", "national")
NODES = {"arl-team": 1, "state-u-hpc": 2, "national-hub": 4}


async def prepare(data: Path) -> dict[str, str]:
    """Make the database, and tokens of the three sites and of a node reporter."""
    db = Database(f"sqlite+aiosqlite:///{data / 'hub.db'}")
    await db.migrate()
    tokens = {}
    now = datetime.now(UTC)
    async with db.transaction() as conn:
        await save_policy(conn, POLICY.read_text(), now, "bench")
        for subject, scope in [*((site, Scope.SITE) for site in SITES), ("all", Scope.ADMIN)]:
            issued = await issue_token(conn, TokenRequest(subject=subject, scope=scope), now)
            tokens[subject] = issued.token
    await db.close()
    return tokens


async def poll(client: httpx.AsyncClient, site: str, token: str) -> None:
    """Be a site agent with nothing to do: one long poll after another."""
    revision, sequence = "", 0
    while True:
        sequence += 1
        body = {"instance": "bench", "sequence": sequence, "seen_revision": revision}
        answer = await client.post(f"/v1/sites/{site}/sync", json=body, headers=_bearer(token))
        revision = answer.json()["revision"]


async def report(client: httpx.AsyncClient, token: str) -> None:
    """Be the node reporters: every fifteen seconds, nothing new."""
    sequence = 0
    while True:
        sequence += 1
        reports = [
            {
                "node": f"{pool}-{number}",
                "pool": pool,
                "boot_id": "bench",
                "sequence": sequence,
                "sampled_at": datetime.now(UTC).isoformat(),
                "gpus": [
                    {"index": i, "uuid": f"{pool}-{number}-{i}", "model": "H100"} for i in range(8)
                ],
                "simulated": True,
            }
            for pool, count in NODES.items()
            for number in range(count)
        ]
        answer = await client.post(
            "/v1/nodes/report", json={"reports": reports}, headers=_bearer(token)
        )
        answer.raise_for_status()
        await asyncio.sleep(15)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def measure(url: str, hub: psutil.Process, tokens: dict[str, str], seconds: float) -> None:
    """Let everything settle for a moment, then watch the process."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        idle = [asyncio.create_task(poll(client, site, tokens[site])) for site in SITES]
        idle.append(asyncio.create_task(report(client, tokens["all"])))
        await asyncio.sleep(3)
        before, began = hub.cpu_times(), time.monotonic()
        await asyncio.sleep(seconds)
        after, took = hub.cpu_times(), time.monotonic() - began
        for task in idle:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    cpu = (after.user + after.system) - (before.user + before.system)
    memory = hub.memory_info().rss / 1e6
    print(f"hub at rest: {memory:.0f} MB resident (goal < 150)")  # noqa: T201
    print(f"hub at rest: {100 * cpu / took:.2f} % of a core over {took:.0f} s (goal < 1)")  # noqa: T201


def main() -> None:
    """Measure one hub."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        data, port = Path(folder), free_port()
        tokens = asyncio.run(prepare(data))
        words = [
            sys.executable,
            "-m",
            "scheduler.main",
            "hub",
            "--data",
            folder,
            "--port",
            str(port),
        ]
        process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        try:
            _until_ready(f"http://127.0.0.1:{port}")
            asyncio.run(
                measure(f"http://127.0.0.1:{port}", psutil.Process(process.pid), tokens, seconds)
            )
        finally:
            process.terminate()
            process.wait(10)


def _until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit("the hub did not become ready within 60 s")


if __name__ == "__main__":
    main()
