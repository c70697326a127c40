"""A whole site agent in the test's process, with every backend, against a hub in memory."""

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from agents.config import SiteSettings
from agents.site.agent import SiteAgent
from agents.site.backends.ray_private import RayPrivate
from agents.site.backends.ray_shared import RayShared
from agents.site.backends.simulated import Simulated
from agents.site.environment import Signals
from agents.site.launcher import Launcher, LaunchSettings
from agents.site.packages import PackageCache
from agents.site.ports import PortRegistry
from agents.site.ray_jobs import RayHead, http_client
from agents.site.records import RecordStore
from scheduler.clock import SystemClock
from scheduler.core.model import Backend
from tests.agents.fake_hub import FakeHub

ROOT = Path(__file__).parents[2]


def settings_of(data: Path, **changes) -> SiteSettings:
    values = {
        "hub": "http://127.0.0.1:1",
        "token_file": data / "token",
        "site": "here",
        "data": data,
        "tick_seconds": 0.05,
        "poll_seconds": 0.1,
        "unknown_after": 0.5,
        "lost_after": 2,
        "stop_wait": 5,
        "log_wait": 3,
        "launches": 64,  # Fake clusters need not wait for real ones of other agents.
    }
    return SiteSettings(**{**values, **changes})


def backends_of(settings: SiteSettings, hub: FakeHub, ray: httpx.AsyncClient, **parts):
    clock = parts.get("clock", SystemClock())
    packages = PackageCache(settings.data, hub, settings.site)
    signals = Signals(settings.data)
    plain = RayHead(ray, settings.shared_ray) if settings.shared_ray else None
    head = parts.get("head") or plain
    launch = LaunchSettings(
        settings.scratch, settings.object_store_bytes, parts.get("ray_command", ())
    )
    launcher = Launcher(launch, PortRegistry(), clock)
    return {
        Backend.RAY_SHARED: RayShared(head, packages, signals, clock, settings.stop_wait),
        Backend.RAY_PRIVATE: RayPrivate(
            launcher,
            ray,
            packages,
            signals,
            clock,
            launches=settings.launches,
            stop_wait=settings.stop_wait,
        ),
        Backend.SIMULATED: Simulated(clock),
    }


@asynccontextmanager
async def a_site(settings: SiteSettings, hub: FakeHub, **parts):
    """Run an agent; leave its runs going at the end, as the real one does."""
    store = RecordStore(settings.data)
    try:
        async with http_client() as ray:
            agent = SiteAgent(
                settings,
                hub,
                store,
                backends_of(settings, hub, ray, **parts),
                parts.get("clock", SystemClock()),
            )
            running = asyncio.create_task(agent.run())
            try:
                yield agent
            finally:
                running.cancel()
                await asyncio.wait({running})
    finally:
        store.close()


def fake_ray(scratch: Path) -> tuple[str, ...]:
    """Return a `ray` command that starts fake heads, with their folders in `scratch`."""
    names = (f"FAKE_RAY_FOLDER={scratch}", f"PYTHONPATH={ROOT}")
    return ("/usr/bin/env", *names, sys.executable, "-m", "tests.agents.fake_ray_start")
