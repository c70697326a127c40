"""How many submissions a hub accepts durably: 16 clients, SQLite and PostgreSQL, both doors.

Run: `python tests/bench/bench_submit.py [--seconds 8] [--clients 16]`. Goal (issue 2): 300
per second. The hub is a process of its own, with its loops and a policy and no free GPUs; an
answer counts only after its commit was synced. The generator writes ready-made bytes to
sockets that it keeps, so that it is not what limits; both share this machine's cores, so the
hub's CPU seconds per submission say more than the rate does.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.postgres import DURABLE, running_server
from tests.ray_api.processes import HubProcess, hub_process

GOAL = 300
WARM_UP = 50
DOORS = {"/api/jobs/": 200, "/v1/jobs": 201}


@dataclass
class Client(asyncio.Protocol):
    """One keep-alive connection: as soon as one request is answered, the next is sent."""

    request: bytes
    wanted: bytes
    until: float
    waits: list[float] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.over = asyncio.get_running_loop().create_future()
        self._got = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._got.find(b"content-length: ", 0, end) + len(b"content-length: ")
        length = int(self._got[at : self._got.find(b"\r\n", at)])
        if len(self._got) < end + 4 + length:
            return
        now = time.perf_counter()
        if self._got.startswith(self.wanted):
            self.waits.append(now - self._sent)
        else:
            self.refused.append(bytes(self._got))
        self._got.clear()
        if now < self.until and not self.refused:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(exc) if exc else self.over.set_result(None)


@dataclass(frozen=True)
class Measured:
    """What one setting gave."""

    accepted: int
    seconds: float
    hub_cpu: float
    own_cpu: float
    waits: list[float]

    def line(self, name: str) -> str:
        rate = self.accepted / self.seconds
        cuts = quantiles(self.waits, n=100)
        return (
            f"{name:<28} {rate:7.0f}/s   hub {1000 * self.hub_cpu / self.accepted:5.2f} ms CPU each"
            f"   p50 {1000 * cuts[49]:6.1f} ms   p99 {1000 * cuts[98]:6.1f} ms"
            f"   generator {100 * self.own_cpu / self.seconds:3.0f} % of a core"
            f"   {'reached' if rate >= GOAL else 'MISSED'}"
        )


def request_of(hub: HubProcess, path: str) -> bytes:
    body = json.dumps(
        {
            "entrypoint": "python train.py --epochs 3",
            "runtime_env": {"env_vars": {"EPOCHS": "3"}},
            "metadata": {"experiment": "digits"},
        }
    )
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{hub.port}",
        f"Authorization: {hub.headers('dana')['Authorization']}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "",
        body,
    ]
    return "\r\n".join(lines).encode()


async def load(hub: HubProcess, path: str, clients: int, seconds: float) -> list[float]:
    """Submit from so many connections at once; return how long each answer took."""
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + seconds
    wanted = f"HTTP/1.1 {DOORS[path]} ".encode()
    connections = [Client(request_of(hub, path), wanted, until) for _ in range(clients)]
    for client in connections:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", hub.port)
    await asyncio.gather(*(client.over for client in connections))
    refused = [answer for client in connections for answer in client.refused]
    if refused:
        raise SystemExit(f"refused: {refused[0].decode()}")
    return [wait for client in connections for wait in client.waits]


def measure(hub: HubProcess, path: str, clients: int, seconds: float) -> Measured:
    assert hub.process is not None
    process, own = psutil.Process(hub.process.pid), psutil.Process()
    asyncio.run(load(hub, path, 1, WARM_UP / GOAL))
    before, own_before, began = cpu(process), cpu(own), time.perf_counter()
    waits = asyncio.run(load(hub, path, clients, seconds))
    took = time.perf_counter() - began
    return Measured(len(waits), took, cpu(process) - before, cpu(own) - own_before, waits)


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@contextlib.contextmanager
def databases() -> Iterator[dict[str, Callable[[], str]]]:
    """Name each database, and how to get a fresh one; PostgreSQL with its syncs on."""
    with running_server(DURABLE) as server:
        yield {"SQLite": str, "PostgreSQL": lambda: server.url(server.create())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--folder", default=None, help="where the databases' files are made")
    given = parser.parse_args()
    print(
        f"{given.clients} clients, {given.seconds:g} s each, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}, files on {disk(given.folder)}; goal {GOAL}/s"
    )
    with databases() as urls:
        for name, fresh in urls.items():
            for path in DOORS:
                # A hub of its own, so that no setting pays for another's queue.
                with (
                    tempfile.TemporaryDirectory(prefix="cp-bench-", dir=given.folder) as data,
                    hub_process(Path(data), fresh()) as hub,
                ):
                    measured = measure(hub, path, given.clients, given.seconds)
                    print(measured.line(f"{name} POST {path}"), flush=True)


def disk(folder: str | None) -> str:
    where = folder or tempfile.gettempdir()
    named = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", where]
    return subprocess.run(named, capture_output=True, text=True, check=False).stdout.strip() or "?"


if __name__ == "__main__":
    main()
