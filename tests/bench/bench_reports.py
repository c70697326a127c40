"""44,000 nodes of 8 GPUs that report every 15 s: what they cost a hub, and who else waits for it.

Run: `python tests/bench/bench_reports.py [--minutes 1] [--nodes 44000] [--postgres]`.
The load is this process, on loopback, in the words of gateways: packed batches of 200, evenly
spread over the 15 s, each with the next numbers and new measurements. Goals: under 0.25 of a
core, p99 of `GET /v1/jobs` under 100 ms on an otherwise idle machine, memory flat over 10
minutes. Then single reports, as fast as one connection sends them, and single reports through
a gateway in a process of its own. What a site costs its gateway is not what it costs the hub, so
each is told by itself. `--postgres` runs a server of its own, with its syncs; its CPU is told too,
and `--rollup-seconds` brings rollups into a short run.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import asyncio
import contextlib
import os
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

from tests.bench.looker import looking
from tests.e2e.hub_process import COMMONPOOL, free_port
from tests.postgres import DURABLE, Server, running_server

BATCH, PERIOD, GPUS, PER_SITE = 200, 15.0, 8, 4_000
SINGLES, AGENTS, ROUNDS, WAYS = 2_000, 400, 8, 8
LONGEST_WAIT = 120.0
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
        if answer.is_error:
            raise SystemExit(f"the hub answers {answer.status_code}: {answer.text}")
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
def running(*words: str, rollup_seconds: float = 300) -> Iterator[psutil.Process]:
    """Run a part of Commonpool for as long as this block."""
    environment = {
        **os.environ,
        "COMMONPOOL_ROLLUP_SECONDS": str(rollup_seconds),
        # Most nodes are still while others are measured: what silence costs is not the question.
        "COMMONPOOL_NODE_STALE_SECONDS": "3600",
    }
    process = subprocess.Popen([*COMMONPOOL, *words], stdout=subprocess.DEVNULL, env=environment)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def spent(*processes: psutil.Process) -> float:
    """Return the CPU seconds that these processes used, with the children that ended."""
    total = 0.0
    for process in processes:
        # A connection's process that has ended meanwhile is among its parent's children.
        with contextlib.suppress(psutil.NoSuchProcess):
            t = process.cpu_times()
            total += t.user + t.system + t.children_user + t.children_system
    return total


class Beside:
    """The database's server, whose CPU counts beside the hub's; nothing on SQLite."""

    def __init__(self, server: Server | None) -> None:
        self._top = None if server is None else psutil.Process(server.process.pid)

    def spent(self) -> float:
        """Return the CPU seconds of the server, all its processes together."""
        if self._top is None:
            return 0.0
        return spent(self._top, *self._top.children())


def p99(seconds: list[float]) -> float:
    return 1000 * quantiles(seconds, n=100)[98] if len(seconds) > 1 else float("nan")


@dataclass
class Watched:
    """Whose CPU is counted."""

    hub: psutil.Process
    beside: Beside

    def spent(self) -> tuple[float, float]:
        """Return the CPU seconds of the hub and of its database's server."""
        return spent(self.hub), self.beside.spent()


async def measure(watched: Watched, load: Load, token: str, rounds: int) -> None:
    """Warm up with one round, then print a line for each."""
    began, (cpu, database) = time.perf_counter(), watched.spent()
    for body in load.bodies:
        await load.send(body, 1)
    used, took = watched.spent()[0] - cpu, time.perf_counter() - began
    print(f"first reports of all nodes: {took:.0f} s, {used:.1f} s of CPU (all of them SQL)")
    await asyncio.sleep(10)
    total, (first_cpu, database) = 0, watched.spent()
    with looking(load.http.base_url.port, token) as looker:
        for number in range(2, 2 + rounds):
            load.answered, cpu, began = 0, watched.spent()[0], time.perf_counter()
            load.seconds.clear()
            await load.round(number)
            took, used = time.perf_counter() - began, watched.spent()[0] - cpu
            total += load.answered
            rss = watched.hub.memory_info().rss / 2**20
            print(
                f"round {number - 1:3}: {load.answered} reports, {used / took:.3f} of a core, "
                f"batch p99 {p99(load.seconds):.0f} ms, resident {rss:.0f} MiB, "
                f"GET /v1/jobs p99 so far {p99(looker.seconds()):.0f} ms"
            )
    last_cpu, last_database = watched.spent()
    print(
        f"batched: {1e6 * (last_cpu - first_cpu) / total:.1f} us of CPU a report at the hub, ",
        end="",
    )
    print(f"all else included; {1e6 * (last_database - database) / total:.1f} us at PostgreSQL")


async def alone(watched: Watched, load: Load, idle: float) -> None:
    """Send every batch once more with nobody beside it, and print what a report costs."""
    load.answered, (cpu, database), began = 0, watched.spent(), time.perf_counter()
    await load.round(1000)
    took, (after, database_after) = time.perf_counter() - began, watched.spent()
    print(
        f"batched, nothing else: {1e6 * (after - cpu - idle * took) / load.answered:.1f} us of CPU"
        f" a report at the hub, {1e6 * (database_after - database) / load.answered:.1f} us at"
        " PostgreSQL"
    )


async def singles(process: psutil.Process, load: Load, token: str, idle: float) -> None:
    """Send reports one by one over one connection, and print what each costs."""
    one, number = encode([report(0)]), 1_000_000
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    cpu, began = spent(process), time.perf_counter()
    for _ in range(SINGLES):
        number += 1
        body = _NUMBER.sub(b'"sequence":%d' % number, one)
        (await load.http.post("/v1/nodes/report", content=body, headers=headers)).raise_for_status()
    took = time.perf_counter() - began
    used = spent(process) - cpu - idle * took
    print(f"single: {1e6 * used / SINGLES:.1f} us of CPU a report ({SINGLES / took:.0f} a second)")


async def idle_rate(process: psutil.Process, seconds: float) -> float:
    """Return the CPU seconds a second that a process uses while nobody asks it anything."""
    cpu, began = spent(process), time.perf_counter()
    await asyncio.sleep(seconds)
    return (spent(process) - cpu) / (time.perf_counter() - began)


async def idle_hub(process: psutil.Process, rollup_seconds: float) -> float:
    """Print what a hub costs that knows all nodes and hears none; return it.

    What they said before is still to be rolled up at first, which is not what idling costs.
    """
    rolling = await idle_rate(process, 20)
    print(f"nobody there any more, rollups to be written: {rolling:.3f} of a core")
    await asyncio.sleep(min(rollup_seconds, LONGEST_WAIT))
    idle = await idle_rate(process, 20)
    print(f"with nobody there: {idle:.4f} of a core; it is taken off what follows")
    return idle


async def through_a_gateway(watched: Watched, load: Load, folder: Path, idle: float) -> None:
    """Send single reports of many nodes to a gateway, and print what each costs, and where."""
    token, port = folder / "gateway.token", free_port()
    token.write_text(load.token)
    where = ("--hub", str(load.http.base_url), "--token-file", str(token))
    with running("node-agent", "--gateway", f"127.0.0.1:{port}", *where) as gateway:
        url = f"http://127.0.0.1:{port}/v1/nodes/report"
        await _answers(load.http, url)
        cpu, hub_cpu, began = spent(gateway), watched.spent()[0], time.perf_counter()
        bodies = [encode([report(number)]) for number in range(AGENTS)]
        parts = (bodies[n::WAYS] for n in range(WAYS))
        await asyncio.gather(*(_from_agents(load, url, part) for part in parts))
        await asyncio.sleep(8)  # for what waits in the gateway
        at_gateway = spent(gateway) - cpu
        at_hub = watched.spent()[0] - hub_cpu - idle * (time.perf_counter() - began)
    sent = AGENTS * ROUNDS
    print(
        f"single, through a gateway: {1e6 * at_hub / sent:.1f} us of CPU a report at the hub, "
        f"{1e6 * at_gateway / sent:.1f} us at the gateway ({sent} reports of {AGENTS} nodes)"
    )


async def _from_agents(load: Load, url: str, bodies: list[bytes]) -> None:
    """Send the reports of some agents, each with its own numbers."""
    headers = {"Authorization": f"Bearer {load.token}", "Content-Type": "application/json"}
    for number in range(2_000_000, 2_000_000 + ROUNDS):
        for body in bodies:
            told = _NUMBER.sub(b'"sequence":%d' % number, body)
            (await load.http.post(url, content=told, headers=headers)).raise_for_status()


async def run(given: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        data, port, server = Path(folder), free_port(), None
        url = given.database_url or f"sqlite+aiosqlite:///{data / 'hub.db'}"
        if given.postgres:
            server = stack.enter_context(running_server(DURABLE))
            url = server.url(server.create())
        admin, person = await prepare(url, given.nodes)
        made = [report(number) for number in range(given.nodes)]
        bodies = [encode(made[i : i + BATCH]) for i in range(0, given.nodes, BATCH)]
        del made
        words = ("hub", "--data", str(data), "--port", str(port), "--database-url", url)
        process = stack.enter_context(running(*words, rollup_seconds=given.rollup_seconds))
        watched = Watched(process, Beside(server))
        limits, base = httpx.Limits(max_connections=64), f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, timeout=60, limits=limits) as http:
            await _answers(http, "/readyz")
            load = Load(http, admin, bodies)
            await measure(watched, load, person, max(1, round(given.minutes * 60 / PERIOD)))
            idle = await idle_hub(process, given.rollup_seconds)
            await alone(watched, load, idle)
            await singles(process, load, admin, idle)
            await through_a_gateway(watched, load, data, idle)


async def _answers(http: httpx.AsyncClient, url: str) -> None:
    """Wait until something listens there; what it says of a GET does not matter."""
    for _ in range(300):
        try:
            if (await http.get(url)).status_code < 500:  # ready, or not allowed
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.2)
    raise SystemExit(f"nothing answers at {url}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--nodes", type=int, default=44_000)
    parser.add_argument("--database-url", default="", help="default: SQLite in a new folder")
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL of its own")
    parser.add_argument("--rollup-seconds", type=float, default=300, help="default: as the hub's")
    given = parser.parse_args()
    print(f"{given.nodes} nodes x {GPUS} GPUs every {PERIOD:.0f} s, batches of {BATCH}, zstd")
    asyncio.run(run(given))


if __name__ == "__main__":
    main()
