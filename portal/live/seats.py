"""Who follows a log now: so many in all, and so many of one person.

A follower holds a connection to the hub for as long as it reads. One person who opens
hundreds must not keep all others out, and a reader that takes nothing for long is let go.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

MOST_FOLLOWERS = 400
"""Of one portal process; each holds one connection to the hub."""
MOST_OF_ONE = 20
STALLED_SECONDS = 60.0
"""A reader that takes nothing for so long is gone, or is none; a browser comes back by itself."""


class Full(Exception):  # noqa: N818  # a state, told by its name
    """There is no seat: `status` says whether for nobody, or for this person."""

    def __init__(self, status: int, why: str) -> None:
        """Keep the status, and a sentence for people."""
        super().__init__(why)
        self.status = status
        self.why = why


class Seats:
    """Counts followers by person."""

    def __init__(self, most: int = MOST_FOLLOWERS, most_of_one: int = MOST_OF_ONE) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._of = Counter[str]()

    @property
    def taken(self) -> int:
        """Return how many follow now."""
        return self._of.total()

    def take(self, person: str) -> None:
        """Take a seat, which is to be given back by `leave`.

        Raises:
            Full: there is none, or this person has enough.
        """
        if self._of[person] >= self._most_of_one:
            raise Full(429, f"You follow {self._most_of_one} logs already. Close one of them.")
        if self.taken >= self._most:
            raise Full(503, "Too many people follow logs here. It is tried again by itself.")
        self._of[person] += 1

    def leave(self, person: str) -> None:
        """Give a seat back."""
        self._of[person] -= 1
        if not self._of[person]:
            del self._of[person]


class Seated(StreamingResponse):
    """A stream to somebody who has a seat, for as long as they read it."""

    def __init__(
        self, seats: Seats, person: str, events: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> None:
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._seats, self._person = seats, person

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until there is nothing more, the reader is gone, or takes nothing."""

        async def taken(message: Message) -> None:
            async with asyncio.timeout(STALLED_SECONDS):
                await send(message)

        try:
            await super().__call__(scope, receive, taken)
        except (TimeoutError, ClientDisconnect):  # of later servers it is the same
            return  # without the end of a body the server closes the connection
        finally:
            self._seats.leave(self._person)
