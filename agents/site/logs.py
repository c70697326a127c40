"""A run's log: followed at its engine, spooled on disk, delivered to the hub by offset.

The spool is what bridges a hub that is away and a cluster that is gone; it is bounded,
and what does not fit is replaced by one line that says so. Delivery may repeat pieces:
the hub keeps them by offset. Memory is one piece per run, however long the log.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

import structlog

from agents.config import TokenUnreadable
from agents.hub import Backoff, HubAway, HubRefused, LogGap
from agents.site.failures import BackendUnavailable

log = structlog.get_logger(__name__)

_PIECE = 256 * 1024
_TOKEN_TROUBLE = frozenset({401, 403})
_TOO_LONG = b"\n[commonpool] the log is longer than this site keeps; the rest was dropped\n"
_LOST = b"\n[commonpool] the rest of the log was lost with its Ray cluster\n"


class Spool:
    """The part of a log that is on this site's disk."""

    def __init__(self, file: Path, limit: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._limit = file, limit
        self.size = file.stat().st_size if file.exists() else 0

    @property
    def is_full(self) -> bool:
        """Return whether no more is kept."""
        return self.size >= self._limit

    def append(self, data: bytes) -> None:
        """Keep a piece, or as much of it as fits, with a line that says where it ends."""
        if self.is_full:
            return
        kept = data[: self._limit - self.size]
        if len(kept) < len(data):
            kept += _TOO_LONG
        with self._file.open("ab") as out:
            out.write(kept)
        self.size += len(kept)

    def read(self, offset: int) -> bytes:
        """Return a piece from an offset on; empty at the end."""
        if offset >= self.size:
            return b""
        with self._file.open("rb") as source:
            source.seek(offset)
            return source.read(_PIECE)

    def remove(self) -> None:
        """Remove it from the disk."""
        self._file.unlink(missing_ok=True)


class Follow(Protocol):
    """Yields a log from a byte on, until it is whole; `over` is set when the program ended."""

    def __call__(self, have: int, over: asyncio.Event) -> AsyncGenerator[bytes, None]:
        """Follow from byte `have`."""
        ...


class RunLog:
    """Takes one run's log from its engine to the hub."""

    def __init__(
        self, run: str, spool: Spool, deliver: Callable[[int, bytes], Awaitable[int]]
    ) -> None:
        self.spool = spool
        self._run, self._deliver = run, deliver
        self._over = asyncio.Event()  # the program has ended
        self._whole = asyncio.Event()  # no more will be spooled
        self._grown = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, follow: Follow) -> None:
        """Start to follow and to deliver; nothing happens the second time."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._spool(follow), name=f"log-of-{self._run}"),
                asyncio.create_task(self._ship(), name=f"delivery-of-{self._run}"),
            ]

    async def finish(self, seconds: float) -> None:
        """Wait until the whole log is at the hub; the engine has `seconds` for its rest of it.

        What the engine does not give by then is marked as lost. Delivery has no limit:
        while the hub is away, the end of the run cannot be told to it either.
        """
        self._over.set()
        if not self._tasks:
            return
        following, shipping = self._tasks
        done, _ = await asyncio.wait({following}, timeout=seconds)
        if not done:
            following.cancel()
            await asyncio.wait({following})
            self._add(_LOST)
        self._whole.set()
        self._grown.set()
        await asyncio.wait({shipping})

    async def close(self) -> None:
        """Stop both tasks; what is spooled stays."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _spool(self, follow: Follow) -> None:
        backoff = Backoff(longest=5)
        while not self.spool.is_full:
            try:
                async with aclosing(follow(self.spool.size, self._over)) as pieces:
                    async for piece in pieces:
                        backoff.reset()
                        self._add(piece)
                        if self.spool.is_full:
                            return
            except BackendUnavailable as away:
                log.debug("log_interrupted", run_id=self._run, why=str(away))
                await backoff.pause()
            else:
                return

    def _add(self, piece: bytes) -> None:
        self.spool.append(piece)
        self._grown.set()

    async def _ship(self) -> None:
        offset, backoff = 0, Backoff()
        while True:
            self._grown.clear()
            piece = await asyncio.to_thread(self.spool.read, offset)
            if not piece:
                if self._whole.is_set():
                    return
                await self._grown.wait()
                continue
            try:
                offset = await self._deliver(offset, piece)
                backoff.reset()
            except LogGap as gap:
                offset = min(gap.next_offset, offset)
                await backoff.pause()
            except (HubAway, TokenUnreadable):
                await backoff.pause()
            except HubRefused as refused:
                if refused.status in _TOKEN_TROUBLE:  # The agent may be given another one.
                    await backoff.pause()
                    continue
                log.error("log_refused", run_id=self._run, why=str(refused))  # noqa: TRY400  # its words say all
                return
