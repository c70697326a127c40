"""Keeps the loops going: one leader among the hubs of a database, back-off, a graceful stop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Protocol

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler import metrics
from scheduler.db.engine import Database
from scheduler.errors import StorageUnavailable
from scheduler.wake import Wake

log = structlog.get_logger("loops")

_LONGEST_BACK_OFF = 30.0
_FAULTY_AFTER = 3
_ASK_SECONDS = 2.0
_STOP_SECONDS = 2.0
# Any constant does, as long as every hub of one database uses the same.
_LEADER_LOCK = 0x636F6D6D02


class Loop(Protocol):
    """Something that is done again and again by the leader."""

    name: str
    bell: str

    def reset(self) -> None:
        """Forget what was known: this process begins to lead, or a step failed."""
        ...

    async def step(self) -> float:
        """Do it once; return the seconds until the next time, unless the bell rings first."""
        ...


Leadership = Callable[[], AbstractAsyncContextManager[asyncio.Event]]
"""Entered once this process leads; the event is set when it does no longer."""


@asynccontextmanager
async def alone() -> AsyncIterator[asyncio.Event]:
    """Lead at once and for ever: the data folder's lock has seen to it that no other runs."""
    yield asyncio.Event()


def elected(db: Database) -> Leadership:
    """Return leadership by PostgreSQL's advisory lock, which dies with its connection."""

    @asynccontextmanager
    async def held() -> AsyncIterator[asyncio.Event]:
        lost = asyncio.Event()
        async with db.engine.connect() as plain:
            conn = await plain.execution_options(isolation_level="AUTOCOMMIT")
            while not await _ask(conn):  # noqa: ASYNC110  # the lock tells nobody that it is free
                await asyncio.sleep(_ASK_SECONDS)
            guard = asyncio.create_task(_guard(conn, lost))
            try:
                yield lost
            finally:
                guard.cancel()
                with suppress(asyncio.CancelledError):
                    await guard
                with suppress(SQLAlchemyError):
                    await conn.execute(text(f"SELECT pg_advisory_unlock({_LEADER_LOCK})"))

    return held


async def _ask(conn: AsyncConnection) -> bool:
    asked = await conn.execute(text(f"SELECT pg_try_advisory_lock({_LEADER_LOCK})"))
    return bool(asked.scalar_one())


async def _guard(conn: AsyncConnection, lost: asyncio.Event) -> None:
    """Set `lost` as soon as the connection that holds the lock no longer answers."""
    try:
        while True:
            await asyncio.sleep(_ASK_SECONDS)
            async with asyncio.timeout(_ASK_SECONDS):
                await conn.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        log.warning("leadership_lost", error=str(error))
        lost.set()


class Supervisor:
    """Runs loops while this process leads."""

    def __init__(
        self, leadership: Leadership, loops: Sequence[Loop], wake: Wake, *, leads: bool = True
    ) -> None:
        """Run `loops`; `leads` is False for what every process does, whoever leads."""
        self._leads = leads
        self._leadership = leadership
        self._loops = loops
        self._wake = wake
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = {loop.name: 0 for loop in loops}
        self._last_error: dict[str, str] = {}

    def fault(self) -> str | None:
        """Return why the loops are not alive, or None: they are, or another hub leads."""
        if self._task is None or self._task.done():
            return "the hub's loops do not run"
        for name, count in self._failures.items():
            if count >= _FAULTY_AFTER:
                return f"the {name} loop failed {count} times in a row: {self._last_error[name]}"
        return None

    def start(self) -> None:
        """Begin to lead, or to wait for it, in the background."""
        self._task = asyncio.create_task(self._run(), name="loops")

    async def stop(self) -> None:
        """Let steps that are under way finish for a moment, then end them."""
        self._stopping.set()
        for loop in self._loops:
            self._wake.ring(loop.bell)
        if self._task is None:
            return
        _, unfinished = await asyncio.wait([self._task], timeout=_STOP_SECONDS)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                await self._lead()
                failures = 0
            except (SQLAlchemyError, StorageUnavailable, OSError) as error:
                failures += 1
                log.warning("leadership_unavailable", error=str(error))
                await self._pause(_back_off(failures))

    async def _lead(self) -> None:
        async with self._leadership() as lost:
            if not self._leads:
                await self._run_loops(lost)
                return
            log.info("leading")
            metrics.LEADER.set(1)
            try:
                await self._run_loops(lost)
            finally:
                metrics.LEADER.set(0)

    async def _run_loops(self, lost: asyncio.Event) -> None:
        """Repeat every loop until leadership is lost or the hub stops."""
        steps = [asyncio.create_task(self._repeat(loop), name=loop.name) for loop in self._loops]
        ends = [asyncio.create_task(event.wait()) for event in (lost, self._stopping)]
        try:
            await asyncio.wait([*steps, *ends], return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                await asyncio.wait(steps, timeout=_STOP_SECONDS / 2)
        finally:
            for task in (*steps, *ends):
                task.cancel()
            await asyncio.gather(*steps, *ends, return_exceptions=True)

    async def _repeat(self, loop: Loop) -> None:
        loop.reset()
        while not self._stopping.is_set():
            bell = self._wake.bell(loop.bell)
            try:
                rest = await loop.step()
            except Exception as error:  # noqa: BLE001  # a loop's top: told, and tried again
                self._failed(loop, error)
                await self._pause(_back_off(self._failures[loop.name]))
                continue
            self._failures[loop.name] = 0
            if rest:
                await self._wake.wait(bell, rest)

    def _failed(self, loop: Loop, error: Exception) -> None:
        loop.reset()
        self._failures[loop.name] += 1
        self._last_error[loop.name] = str(error) or type(error).__name__
        metrics.LOOP_FAILURES.labels(loop.name).inc()
        told = {"loop": loop.name, "failures": self._failures[loop.name], "error": str(error)}
        if isinstance(error, StorageUnavailable):
            log.warning("loop_will_retry", **told)
        else:
            log.error("loop_failed", **told, exc_info=error)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def _back_off(failures: int) -> float:
    return float(min(_LONGEST_BACK_OFF, 0.1 * 2 ** min(failures, 10)))
