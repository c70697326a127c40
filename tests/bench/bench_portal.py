"""How fast the portal is: first page, reruns at 20 and 50 clients, a list of 10,000 jobs, a log.

Run: `make bench-portal` (`--seconds 30`). A hub and a portal as processes of their own, on
loopback, with a generated day of 10,000 ended jobs of one person. Clients speak Streamlit's own
protocol over its websocket, each in a session of its own that asks for Home every five seconds;
the first page is Chromium's, with what a page is made of in its cache already. Beside each figure
stand the portal's CPU seconds: wall times are those of a machine that has other work too.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles

import psutil
from playwright.sync_api import sync_playwright
from sqlalchemy import insert
from streamlit.proto.Alert_pb2 import Alert as AlertProto
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from portal.gate.gate import COOKIE
from scheduler.config import HubSettings
from scheduler.core.lifecycle import JobState
from scheduler.db.engine import Database
from scheduler.db.tables import jobs, runs, usage_intervals
from tests.bench import following
from tests.e2e.town import ARGUMENTS, CHROMIUM, Town, session_of, settled, town

JOBS, EVERY, LOOKS = 10_000, 5.0, 7
ENDS = (JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED)
GOALS = {"first": 1500.0, 20: 50.0, 50: 200.0, "table": 300.0}
FOLLOWERS = 20


JOB = {
    "user": "dana",
    "account": "arl-vision",
    "request_sha256": "0" * 64,
    "nodes": 1,
    "gpus_per_node": 1,
    "gpu_models": [],
    "label": "public",
    "tier_min": "team",
    "tier_max": "national",
    "preemptible": True,
    "background": False,
    "priority": "standard",
    "time_limit_seconds": 600,
    "entrypoint": "python train.py",
    "runtime_env": {},
    "user_metadata": {},
    "entrypoint_options": {},
    "packages": [],
}
RUN = {
    "attempt": 1,
    "site": "national",
    "pool": "national-hub",
    "quota_class": 1,
    "token": 1,
    "slots": [["national-1", [0]]],
    "gpus": 1,
    "bind_within_seconds": 60,
    "after": [],
    "simulated": True,
    "why": "In quota.",
    "acknowledged": True,
}
TIMES = {"account": "arl-vision", "pool": "national-hub", "gpus": 1, "factor": 1000}


def a_day(number: int, now: datetime, rng: random.Random) -> tuple[dict[str, object], ...]:
    """Return rows of one ended job of the last day, its run, and what it is charged for."""
    name, state = f"jbench{number:06d}", ENDS[number % len(ENDS)].value
    submitted = now - timedelta(days=1) + number * timedelta(days=1) / JOBS
    started = min(now, submitted + timedelta(seconds=rng.expovariate(1 / 90)))
    ended = min(now, started + timedelta(seconds=rng.expovariate(1 / 300)))
    lasted = {"started_at": started, "ended_at": ended}
    job = JOB | {"id": name, "submission_id": f"bench-{number:06d}", "state": state} | lasted
    run = RUN | {"id": f"cp-{name}-1", "job_id": name, "state": state} | lasted
    run |= {"leased_at": submitted, "ends_by": ended, "bind_by": ended}
    times = TIMES | {"run_id": run["id"], "started_at": submitted, "ended_at": ended}
    return job | {"submitted_at": submitted}, run, times


async def generate(found: Town) -> None:
    """Write the day into the hub's database."""
    rng, now = random.Random(1), datetime.now(UTC)  # no secret
    database = Database(HubSettings(data=found.layout.data).sqlalchemy_url)
    rows = [a_day(number, now, rng) for number in range(JOBS)]
    async with database.transaction() as conn:
        for place, table in enumerate((jobs, runs, usage_intervals)):
            await conn.execute(insert(table), [row[place] for row in rows])
    await database.close()


def drawn(heard: ForwardMsg) -> None:
    """Refuse a page that failed: how fast it fails is not what is measured."""
    if heard.delta.new_element.WhichOneof("type") in ("exception", "alert"):
        shown = heard.delta.new_element
        if shown.alert.format != AlertProto.Format.ERROR and not shown.HasField("exception"):
            return
        raise RuntimeError(f"the page shows a failure: {shown}")


@dataclass
class Client:
    """One session of a browser, without the browser."""

    socket: ClientConnection
    page: str = ""

    async def rerun(self, query: str = "", fragment: str = "") -> float:
        """Ask for a page; return the milliseconds until it was drawn."""
        message = BackMsg()
        message.rerun_script.query_string = query
        message.rerun_script.page_script_hash = self.page
        message.rerun_script.context_info.timezone = "UTC"
        if fragment:
            message.rerun_script.fragment_id = fragment
        began = time.perf_counter()
        await self.socket.send(message.SerializeToString())
        while True:
            heard = ForwardMsg()
            heard.ParseFromString(await self.socket.recv())
            drawn(heard)
            if heard.WhichOneof("type") == "script_finished":
                return 1000 * (time.perf_counter() - began)

    async def go(self, name: str) -> None:
        """Open a page by its name in the address; the first page's is empty."""
        message = BackMsg()
        message.rerun_script.page_name = name
        await self.socket.send(message.SerializeToString())
        while True:
            heard = ForwardMsg()
            heard.ParseFromString(await self.socket.recv())
            drawn(heard)
            if heard.WhichOneof("type") == "navigation":
                self.page = heard.navigation.page_script_hash
                shown = {each.page_script_hash: each for each in heard.navigation.app_pages}
                if (shown[self.page].url_pathname if name else "") != name:
                    raise RuntimeError(f"asked for {name!r}, got {shown[self.page]}")
            if heard.WhichOneof("type") == "script_finished":
                return


@asynccontextmanager
async def a_client(found: Town, secret: str) -> AsyncIterator[Client]:
    """Connect as a browser does that is signed in."""
    url = found.portal.replace("http", "ws") + "/_stcore/stream"
    cookie = {"Cookie": f"{COOKIE}={secret}"}
    async with connect(
        url, additional_headers=cookie, subprotocols=["streamlit"], max_size=None, proxy=None
    ) as socket:
        yield Client(socket)


def portal_process(found: Town) -> psutil.Process:
    """Return the portal's process: who listens at its port."""
    port = int(found.portal.rpartition(":")[2])
    for one in psutil.Process().children(recursive=True):
        if any(each.laddr.port == port for each in one.net_connections() if each.laddr):
            return one
    raise RuntimeError(f"nobody listens at {found.portal}")


def cpu(process: psutil.Process) -> float:
    """Return the seconds that a process computed so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def reruns(found: Town, secret: str, clients: int, seconds: float) -> list[float]:
    """Let so many people look at Home every five seconds; return the milliseconds of each."""
    took: list[float] = []

    async def one(number: int) -> None:
        async with a_client(found, secret) as client:
            await client.go("")
            await asyncio.sleep(EVERY * number / clients)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                began = time.monotonic()
                took.append(await client.rerun())
                await asyncio.sleep(max(0.0, EVERY - (time.monotonic() - began)))

    await asyncio.gather(*(one(number) for number in range(clients)))
    return took


async def table(found: Town, secret: str) -> list[float]:
    """Filter the list of 10,000 jobs by another state each time."""
    async with a_client(found, secret) as client:
        await client.go("jobs")
        states = [state.value for state in ENDS[1:]] * LOOKS
        return [await client.rerun(f"state={state}") for state in states]


def first_page(found: Town, secret: str) -> list[float]:
    """Open Home in Chromium, its cache warm, until no part of it is a grey block any more."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context()
        cookie = {"name": COOKIE, "value": secret, "url": "https://127.0.0.1/"}
        context.add_cookies([cookie])
        took = []
        for _ in range(LOOKS + 1):
            page = context.new_page()
            began = time.perf_counter()
            page.goto(found.portal)
            settled(page)
            took.append(1000 * (time.perf_counter() - began))
            page.close()
        browser.close()
    return took[1:]


def tell(what: str, took: list[float], goal: float, seconds: float) -> None:
    """Print a figure beside its goal, and what the portal computed for it."""
    middle = median(took)
    p95 = quantiles(took, n=20)[-1] if len(took) > 1 else middle
    verdict = "" if middle < goal else ": missed"
    print(
        f"{what:<46} p50 {middle:7.0f} ms  p95 {p95:7.0f} ms  goal {goal:5.0f} ms{verdict}"
        f"  ({len(took)} looks, portal CPU {1000 * seconds / len(took):.0f} ms each,"
        f" load {os.getloadavg()[0]:.1f})",
        flush=True,
    )


def measured(process: psutil.Process, look: Callable[[], list[float]]) -> tuple[list[float], float]:
    """Return how long looks took, and what the portal computed meanwhile."""
    before = cpu(process)
    took = look()
    return took, cpu(process) - before


def run(work: Awaitable[list[float]]) -> list[float]:
    """Run a measurement to its end."""

    async def whole() -> list[float]:
        return await work

    return asyncio.run(whole())


def follow_a_log(found: Town, secret: str, seconds: float) -> None:
    """Print what it costs that many follow one log, which runs no script."""

    async def whole() -> following.Followed:
        await following.begin(found, lambda number, now: a_day(number, now, random.Random(1))[:2])
        return await following.follow(found, secret, FOLLOWERS, seconds)

    cost = asyncio.run(whole())
    what = f"a live log, {FOLLOWERS} followers, a line a second"
    print(
        f"{what:<46} portal CPU {cost.portal_ms:.0f} ms and hub CPU {cost.hub_ms:.0f} ms for each"
        f" follower's minute, a line is there after p50 {cost.lag_ms:.0f} ms"
        f"  ({cost.lines} lines, load {os.getloadavg()[0]:.1f})",
        flush=True,
    )


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--only-log", action="store_true", help="Measure followers of a log alone")
    asked = parser.parse_args()
    seconds = asked.seconds
    with tempfile.TemporaryDirectory() as folder, town(Path(folder)) as found:
        asyncio.run(generate(found))
        secret, portal = session_of(found, "dana"), portal_process(found)
        looks: list[tuple[str, float, Callable[[], list[float]]]] = [
            ("first page, warm, in Chromium", GOALS["first"], lambda: first_page(found, secret)),
            (
                "the list of 10,000 jobs, filtered by state",
                GOALS["table"],
                lambda: run(table(found, secret)),
            ),
        ]
        looks += [
            (
                f"Home anew, {clients} clients, each every 5 s",
                GOALS[clients],
                lambda clients=clients: run(reruns(found, secret, clients, seconds)),
            )
            for clients in (20, 50)
        ]
        for what, goal, look in () if asked.only_log else looks:
            took, spent = measured(portal, look)
            tell(what, took, goal, spent)
        follow_a_log(found, secret, seconds)
        memory = portal.memory_info().rss / 2**20
        print(json.dumps({"portal_rss_mib": round(memory), "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
