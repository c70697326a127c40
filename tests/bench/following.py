"""Twenty people who follow one job's log: what that costs the portal and the hub, and the lag.

A run that is going on is written into the hub's database; its site's part is played here, by one
line a second over the site's own endpoint, each with the time at which it was sent. Readers are
streams as a browser opens them, at the portal's address. Their own work is in this process, so it
is in neither figure.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

import httpx
import psutil
from sqlalchemy import insert

from portal.gate.gate import COOKIE
from scheduler.config import HubSettings
from scheduler.db.engine import Database
from scheduler.db.tables import jobs, runs
from tests.e2e.town import Town

JOB, RUN, SITE = "jfollowed001", "cp-jfollowed001-1", "national"
EVERY_SECONDS = 1.0
Row = dict[str, object]


@dataclass(frozen=True)
class Followed:
    """What followers cost, in milliseconds of CPU of one follower's minute, and how late."""

    portal_ms: float
    hub_ms: float
    lag_ms: float
    lines: int


def of_port(url: str) -> psutil.Process:
    """Return the process that listens at an address; it is a child of this one."""
    port = int(url.rpartition(":")[2])
    for one in psutil.Process().children(recursive=True):
        if any(each.laddr.port == port for each in one.net_connections() if each.laddr):
            return one
    raise RuntimeError(f"nobody listens at {url}")


def cpu(process: psutil.Process) -> float:
    """Return the seconds that a process computed so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def begin(found: Town, day: Callable[[int, datetime], tuple[Row, Row]]) -> None:
    """Write a job that runs, like one of the `day` but not ended."""
    now = datetime.now(UTC)
    job, run = day(0, now)
    job |= {"id": JOB, "submission_id": "followed", "state": "running", "ended_at": None}
    run |= {"id": RUN, "job_id": JOB, "site": SITE, "state": "running", "ended_at": None}
    run |= {"acknowledged": False, "ends_by": now + timedelta(hours=1), "slots": []}
    database = Database(HubSettings(data=found.layout.data).sqlalchemy_url)
    async with database.transaction() as conn:
        await conn.execute(insert(jobs), [job])
        await conn.execute(insert(runs), [run])
    await database.close()


async def follow(found: Town, secret: str, followers: int, seconds: float) -> Followed:
    """Let so many follow for so long; return what it cost."""
    portal, hub = of_port(found.portal), of_port(found.hub)
    lags: list[float] = []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as http:
        readers = [asyncio.create_task(_read(http, found, secret, lags)) for _ in range(followers)]
        written = await _write(http, found, 0, 3)  # until everybody is connected
        lags.clear()
        before = cpu(portal), cpu(hub)
        began = time.monotonic()
        await _write(http, found, written, seconds)
        minutes = followers * (time.monotonic() - began) / 60
        spent = cpu(portal) - before[0], cpu(hub) - before[1]
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    if not lags:
        raise RuntimeError("no line came to anybody")
    return Followed(
        1000 * spent[0] / minutes, 1000 * spent[1] / minutes, 1000 * median(lags), len(lags)
    )


async def _write(http: httpx.AsyncClient, found: Town, offset: int, seconds: float) -> int:
    token = {"Authorization": f"Bearer {found.token(f'{SITE}-site')}"}
    url = f"{found.hub}/v1/sites/{SITE}/runs/{RUN}/log"
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        line = f"sent {time.monotonic():.4f} step loss 0.123456 tokens/s 12345\n".encode()
        answer = await http.post(url, params={"offset": offset}, content=line, headers=token)
        answer.raise_for_status()
        offset += len(line)
        await asyncio.sleep(EVERY_SECONDS)
    return offset


async def _read(http: httpx.AsyncClient, found: Town, secret: str, lags: list[float]) -> None:
    url = f"{found.portal}/live/jobs/{JOB}/log"
    async with http.stream("GET", url, headers={"Cookie": f"{COOKIE}={secret}"}) as stream:
        stream.raise_for_status()
        async for text in stream.aiter_text():
            now = time.monotonic()
            lags += [now - float(sent) for sent in re.findall(r"sent ([\d.]+)", text)]
