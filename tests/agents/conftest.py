"""Benches for backends: each way of carrying out a run, over a fake Ray and over a real one."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import pytest

from agents.config import SiteSettings
from agents.site import processes
from agents.site.backends.base import Backend
from agents.site.environment import Signals
from agents.site.launcher import Launcher, LaunchSettings
from agents.site.ports import PortRegistry
from agents.site.ray_jobs import RayHead, http_client
from agents.site.records import Ledger, RecordStore, RunRecord
from scheduler.clock import SystemClock
from scheduler.core.model import Backend as BackendName
from tests.agents.fake_hub import NOW, FakeHub, a_lease
from tests.agents.fake_ray_head import FakeRayHead, serving
from tests.agents.site import backends_of, fake_ray, settings_of
from tests.waiting import eventually


@pytest.fixture
def scratch():
    """A short folder: Unix socket paths end at 107 bytes, and pytest's own are long."""
    folder = Path(tempfile.mkdtemp(prefix="cp-t"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Bench:
    """One backend, the records that it works on, and how to do the same after a restart."""

    name: BackendName
    settings: SiteSettings
    hub: FakeHub
    store: RecordStore
    make: Callable[[], Backend]
    head: FakeRayHead | None = None
    runs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.backend = self.make()

    def restart(self) -> None:
        """Lose all memory but the records."""
        self.store.close()
        self.store = RecordStore(self.settings.data)
        self.backend = self.make()

    def ledger(self, **changes) -> Ledger:
        run = f"cp-t{token_hex(5)}-1"
        self.runs.append(run)
        lease = a_lease(run, **{"backend": self.name, **changes})
        self.store.save(RunRecord(lease=lease, reserved_at=NOW()))
        return Ledger(self.store, run)

    def again(self, ledger: Ledger) -> Ledger:
        return Ledger(self.store, ledger.record.run)

    async def seen(self, ledger: Ledger, kind: type, seconds: float = 60):
        """Return the first observation of a kind."""

        async def look():
            seen = await self.backend.observe(ledger.record)
            return seen if isinstance(seen, kind) else None

        return await eventually(look, seconds)

    async def log(self, ledger: Ledger, have: int = 0) -> bytes:
        over = asyncio.Event()
        over.set()
        async with asyncio.timeout(30):
            return b"".join(
                [piece async for piece in self.backend.follow(ledger.record, have, over)]
            )

    @property
    def signals(self) -> Signals:
        return Signals(self.settings.data)


@asynccontextmanager
async def a_bench(kind: str, scratch: Path) -> AsyncGenerator[Bench, None]:
    """Make a bench: `simulated`, `shared` or `private`, after `ray-` over real Ray."""
    data = scratch / "data"
    data.mkdir()
    hub, fake = FakeHub(), None
    async with AsyncExitStack() as stack:
        ray = await stack.enter_async_context(http_client())
        changes: dict[str, object] = {"scratch": scratch}
        if kind.startswith("ray-"):
            changes["launches"] = 1
        head = None
        if kind == "shared":
            fake = FakeRayHead(scratch / "head")
            changes["shared_ray"] = await stack.enter_async_context(serving(fake))
        elif kind == "ray-shared":
            head = await stack.enter_async_context(a_real_head(scratch, ray))
            changes["shared_ray"] = head.address
        settings = settings_of(data, **changes)
        name = (
            BackendName(kind)
            if kind == "simulated"
            else BackendName(f"ray_{kind.removeprefix('ray-')}")
        )
        command = fake_ray(scratch) if kind == "private" else ()
        bench = Bench(
            name,
            settings,
            hub,
            RecordStore(data),
            lambda: backends_of(settings, hub, ray, ray_command=command, head=head)[name],
            fake,
        )
        try:
            yield bench
        finally:
            await end_everything(bench, scratch)


@asynccontextmanager
async def a_real_head(scratch: Path, ray) -> AsyncGenerator[RayHead, None]:
    """Start one real Ray head, with the launcher; it asks for a token."""
    clock = SystemClock()
    store = RecordStore(make(scratch / "shared-head"))
    lease = a_lease(f"cp-h{token_hex(5)}-1", backend=BackendName.RAY_PRIVATE)
    store.save(RunRecord(lease=lease, reserved_at=NOW()))
    ledger = Ledger(store, lease.run)
    launcher = Launcher(LaunchSettings(scratch, 80_000_000), PortRegistry(), clock)
    try:
        launcher.reserve(ledger)
        await launcher.launch_node(ledger, 0)
        engine = ledger.record.engine
        assert engine is not None
        head = RayHead(ray, engine.address, engine.secret)

        async def is_up():
            assert launcher.dead_node(ledger.record) is None
            try:
                return any(node.alive for node in await head.nodes())
            except Exception as error:  # not yet
                raise AssertionError(error) from error

        await eventually(is_up, 120)
        yield head
    finally:
        assert await launcher.end(ledger.record)
        await launcher.remove(ledger.record)
        store.close()


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def end_everything(bench: Bench, scratch: Path) -> None:
    """Leave no process, whatever the test did."""
    launcher = Launcher(LaunchSettings(scratch, 0), PortRegistry(), SystemClock())
    for run in bench.runs:
        record = bench.store.records.get(run)
        if record is not None and record.engine is not None:
            await launcher.end(record)
            await launcher.remove(record)
        await processes.end_all(run, None, SystemClock(), 10)
    bench.store.close()


@pytest.fixture
async def shared(scratch):
    async with a_bench("shared", scratch) as bench:
        yield bench


@pytest.fixture
async def private(scratch):
    async with a_bench("private", scratch) as bench:
        yield bench
