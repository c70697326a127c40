"""One look for all who ask at once, and never one that began before they asked.

When something that is kept for a moment runs out, every request in flight wants it anew. Each
with a query of its own they would take all connections to the database, and whoever comes next
waits for one. Here they wait for one query together; who comes while it is on its way may have
changed what it reads, so that one waits for the next, with all others who came meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """Shares an asynchronous look among all who ask for it at once: two at most per burst."""

    def __init__(self, look: Callable[[], Awaitable[T]]) -> None:
        """Look by calling `look`, which takes no part of whoever asks."""
        self._look = look
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no look is on its way, and none is waited for."""
        return self._next is None and (self._running is None or self._running.done())

    async def ask(self) -> T:
        """Return what a look found that began after this was called.

        Raises:
            Exception: whatever the look raises, to each who waits for it.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
            self._next.add_done_callback(_seen)
        # Whoever hangs up must not end the look for the others.
        return await asyncio.shield(self._next)

    async def settle(self) -> None:
        """Wait for looks that nobody waits for any more; what they look at closes next."""
        looks = {task for task in (self._running, self._next) if task is not None}
        if looks:
            await asyncio.wait(looks)

    async def _after(self, before: "asyncio.Task[T] | None") -> T:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._look()


def _seen(task: "asyncio.Task[T]") -> None:
    """Take note of how a look ended: it may be that nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
