"""44,000 nodes of 8 GPUs that report every 15 s: what they cost a hub, and who else waits for it.

Run: `python tests/bench/bench_reports.py [--minutes 1] [--nodes 44000] [--database-url URL]`.
The load is this process, on loopback, in the words of gateways: packed batches of 200, evenly
spread over the 15 s, each with the next numbers and new measurements. Goals: under 0.25 of a
core, p99 of `GET /v1/jobs` under 100 ms on an otherwise idle machine, memory flat over 10
minutes. Then single reports, as fast as one connection sends them.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import httpx
import psutil
import zstandard

from scheduler.db.engine import Database
from scheduler.db.policies import save_policy
from scheduler.db.tokens import issue_token
from scheduler.wire.accounts import Scope, TokenRequest
from scheduler.wire.reports import (
    GpuReport,
    GpuUse,
    MemoryOver,
    NodeReport,
    RatioOver,
    WattsOver,
    encode,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.e2e.hub_process import COMMONPOOL, free_port

BATCH, PERIOD, GPUS, PER_SITE = 200, 15.0, 8, 4_000
_NUMBER = re.compile(rb'"sequence":[0-9]+')


def policy(nodes: int) -> str:
    """Return a policy with sites of 4,000 nodes at most."""
    counts = [min(PER_SITE, nodes - start) for start in range(0, nodes, PER_SITE)]
    sites = "".join(f"  - {{id: s{i}, name: Site {i}}}\n" for i in range(len(counts)))
    pools = "".join(
        f"  - {{id: p{i}, site: s{i}, tier: national, owner: national, gpu_model: H100,"
        f" gpus_per_node: {GPUS}, node_count: {count}, labels: [public], backend: simulated}}\n"
        for i, count in enumerate(counts)
    )
    return f"""version: 1
sites:
{sites}users:
  - {{name: dana, labels: [public]}}
accounts:
  - {{name: national, sector: dod}}
  - {{name: lab, parent: national, sector: dod, members: [dana]}}
pools:
{pools}quotas:
  - {{pool: p0, account: lab, nominal: 8, lend_max: 8, borrow_max: 8}}
tiers:
  team: {{default_time_limit: 10m, max_time_limit: 7d, notice: 1s}}
  institution: {{default_time_limit: 10m, max_time_limit: 7d, notice: 1s}}
  national: {{default_time_limit: 10m, max_time_limit: 7d, notice: 1s}}
  frontier: {{default_time_limit: 10m, max_time_limit: 7d, notice: 1s}}
"""


def report(number: int) -> NodeReport:
    """Return what one node says: eight busy GPUs."""
    name = f"s{number // PER_SITE}-n{number}"
    sm = (number % 89 + 10) / 100
    use = tuple(
        GpuUse(
            index=i,
            sm_active=RatioOver(sm, sm - 0.05, min(1.0, sm + 0.04)),
            tensor_active=RatioOver(sm / 2, sm / 2, sm / 2),
            memory_mib=MemoryOver(61_234.0 + i, 61_000.0, 61_300.0),
            power_watts=WattsOver(512.5 + i, 498.25, 600.0),
        )
        for i in range(GPUS)
    )
    gpus = tuple(
        GpuReport(
            index=i,
            uuid=f"GPU-{number:08d}-0000-0000-0000-{i:012d}",
            model="H100",
            memory_mib=81_559,
            ecc_uncorrected=0,
            remap_pending=False,
            remap_failed=False,
            recovery_action=0,
        )
        for i in range(GPUS)
    )
    now = datetime.now(UTC)
    return NodeReport(
        node=name,
        pool=f"p{number // PER_SITE}",
        boot_id="bench",
        sequence=0,
        sampled_at=now,
        started_at=now,
        block=f"leaf-{number // 32}",
        gpus=gpus,
        use=use,
    )


@dataclass
class Load:
    """The batches of all nodes, as bytes whose numbers are written anew for each round."""

    http: httpx.AsyncClient
    token: str
    bodies: list[bytes]
    answered: int = 0
    seconds: list[float] = field(default_factory=list)

    async def send(self, body: bytes, number: int) -> None:
        """Send one batch."""
        packed = zstandard.compress(_NUMBER.sub(b'"sequence":%d' % number, body), 1)
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Content-Encoding": "zstd",
        }
        began = time.perf_counter()
        answer = await self.http.post("/v1/nodes/reports", content=packed, headers=headers)
        answer.raise_for_status()
        self.seconds.append(time.perf_counter() - began)
        self.answered += answer.json()["accepted"]

    async def round(self, number: int) -> None:
        """Send every batch once, evenly over the period."""
        step, start = PERIOD / len(self.bodies), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for place, body in enumerate(self.bodies):
                await asyncio.sleep(max(0.0, start + place * step - time.perf_counter()))
                group.create_task(self.send(body, number))
        await asyncio.sleep(max(0.0, start + PERIOD - time.perf_counter()))


async def look(http: httpx.AsyncClient, token: str, seconds: list[float]) -> None:
    """Be a person who lists jobs ten times a second, on a connection of their own."""
    while True:
        began = time.perf_counter()
        answer = await http.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"})
        answer.raise_for_status()
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(0.1)


async def prepare(url: str, nodes: int) -> tuple[str, str]:
    """Make the database; return a token of an admin and one of a person."""
    db, now, found = Database(url), datetime.now(UTC), []
    await db.migrate()
    async with db.transaction() as conn:
        await save_policy(conn, policy(nodes), now, "bench")
        for who, scope in (("bench", Scope.ADMIN), ("dana", Scope.USER)):
            issued = await issue_token(conn, TokenRequest(subject=who, scope=scope), now)
            found.append(issued.token)
    await db.close()
    return found[0], found[1]


@contextmanager
def hub(data: Path, url: str, port: int) -> Iterator[psutil.Process]:
    """Run a hub for as long as this block."""
    words = ("hub", "--data", str(data), "--port", str(port), "--database-url", url)
    process = subprocess.Popen([*COMMONPOOL, *words], stdout=subprocess.DEVNULL)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def p99(seconds: list[float]) -> float:
    return 1000 * quantiles(seconds, n=100)[98] if len(seconds) > 1 else float("nan")


async def measure(process: psutil.Process, load: Load, token: str, rounds: int) -> None:
    """Warm up with one round, then print a line for each."""
    began, cpu = time.perf_counter(), spent(process)
    for body in load.bodies:
        await load.send(body, 1)
    used, took = spent(process) - cpu, time.perf_counter() - began
    print(f"first reports of all nodes: {took:.0f} s, {used:.1f} s of CPU (all of them SQL)")
    await asyncio.sleep(10)
    looking: list[float] = []
    watcher = asyncio.create_task(look(load.http, token, looking))
    total_cpu = total = 0.0
    for number in range(2, 2 + rounds):
        load.answered, cpu, began = 0, spent(process), time.perf_counter()
        load.seconds.clear()
        await load.round(number)
        took, used = time.perf_counter() - began, spent(process) - cpu
        total_cpu, total = total_cpu + used, total + load.answered
        rss = process.memory_info().rss / 2**20
        print(
            f"round {number - 1:3}: {load.answered} reports, {used / took:.3f} of a core, "
            f"batch p99 {p99(load.seconds):.0f} ms, resident {rss:.0f} MiB, "
            f"GET /v1/jobs p99 so far {p99(looking):.0f} ms"
        )
    watcher.cancel()
    print(f"batched: {1e6 * total_cpu / total:.1f} us of CPU a report, all else included")


async def singles(process: psutil.Process, load: Load, token: str, seconds: float) -> None:
    """Send reports one by one, and print what each costs."""
    one, number, sent = encode([report(0)]), 1_000_000, 0
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    cpu, began = spent(process), time.perf_counter()
    while time.perf_counter() - began < seconds:
        number, sent = number + 1, sent + 1
        body = _NUMBER.sub(b'"sequence":%d' % number, one)
        (await load.http.post("/v1/nodes/report", content=body, headers=headers)).raise_for_status()
    took, used = time.perf_counter() - began, spent(process) - cpu
    print(f"single: {1e6 * used / sent:.1f} us of CPU a report ({sent / took:.0f} a second)")


async def run(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data, port = Path(folder), free_port()
        url = given.database_url or f"sqlite+aiosqlite:///{data / 'hub.db'}"
        admin, person = await prepare(url, given.nodes)
        made = [report(number) for number in range(given.nodes)]
        bodies = [encode(made[i : i + BATCH]) for i in range(0, given.nodes, BATCH)]
        del made
        with hub(data, given.database_url, port) as process:
            limits = httpx.Limits(max_connections=64)
            base = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=base, timeout=60, limits=limits) as http:
                await _ready(http)
                load = Load(http, admin, bodies)
                await measure(process, load, person, max(1, round(given.minutes * 60 / PERIOD)))
                await singles(process, load, admin, 5)


async def _ready(http: httpx.AsyncClient) -> None:
    for _ in range(300):
        try:
            if (await http.get("/readyz")).is_success:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.2)
    raise SystemExit("the hub did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--nodes", type=int, default=44_000)
    parser.add_argument("--database-url", default="", help="default: SQLite in a new folder")
    given = parser.parse_args()
    print(f"{given.nodes} nodes x {GPUS} GPUs every {PERIOD:.0f} s, batches of {BATCH}, zstd")
    asyncio.run(run(given))


if __name__ == "__main__":
    main()
