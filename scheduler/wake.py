"""Wake whoever waits in this process: the cycle, a site's long poll, a log's tail.

A hint, never a message: every waiter also looks again by itself after a while, so a
wake-up that is lost (another API replica, a restart) costs time and nothing else.
"""

import asyncio
from collections import defaultdict


class Wake:
    """Named bells; `ring` releases everyone who waits on that name at that moment.

    `stopping` is no hint: once this process stops it stays set, also for who comes later.
    """

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._bells: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def ring(self, name: str) -> None:
        """Release all who wait for `name`."""
        bell = self._bells.pop(name, None)
        if bell is not None:
            bell.set()

    def bell(self, name: str) -> asyncio.Event:
        """Return the event of the next ring; take it *before* looking at the state waited for."""
        return self._bells[name]

    async def wait(self, bell: asyncio.Event, seconds: float) -> bool:
        """Wait for a bell taken earlier; return False when `seconds` passed without a ring."""
        try:
            # Not wait_for: in Python 3.11 it can swallow a cancellation that comes with the ring.
            async with asyncio.timeout(seconds):
                await bell.wait()
        except TimeoutError:
            return False
        return True
