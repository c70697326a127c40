"""A log as it is written, as Server-Sent Events: lines, the job's states, and what goes wrong.

An event of lines carries where in the log it ends as its id, so a reader that lost the
connection goes on from there (`Last-Event-ID`): no line is lost and none comes twice. Nothing is
held but one piece: a log that is written faster than it is read is skipped forward, and the
reader is told by how much. Readers share nothing: each asks the hub for itself, by one
question that waits there, so whose session or role ends is told so within one wait.

Source: WHATWG HTML, 9.2 Server-sent events.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from portal.live.reader import PIECE_BYTES, Away, Denied
from scheduler.clock import Clock
from scheduler.core.lifecycle import JobState
from scheduler.wire.jobs import LogPage

WAIT_SECONDS = 10
"""How long a question waits at the hub; after each that brought nothing, a sign of life."""
PAUSE_SECONDS = 0.5
"""Between two questions: what a busy job prints meanwhile comes as one event."""
RETRY_SECONDS = 2.0
MOST_BEHIND_BYTES = 4 * PIECE_BYTES
"""A reader that is farther behind than this is brought forward."""

Pause = Callable[[float], Awaitable[None]]


class Reader(Protocol):
    """Who asks for pieces of a log."""

    async def page(
        self, offset: int, wait_seconds: int = 0, known: JobState | None = None
    ) -> LogPage:
        """Return the piece from `offset`; raises Away, Denied."""


def event(name: str, at: int | None = None, **data: object) -> bytes:
    """Return one event as it goes over the wire; JSON has no bare newline to break its frame."""
    mark = "" if at is None else f"id: {at}\n"
    return f"{mark}event: {name}\ndata: {json.dumps(data)}\n\n".encode()


BEAT = event("beat")


@dataclass
class Follower:
    """How far one reader is: `offset` in bytes, and the state of the job that it knows of."""

    reader: Reader
    clock: Clock
    pause: Pause = asyncio.sleep
    offset: int = 0
    known: JobState | None = None
    heard_at: datetime | None = None
    is_away: bool = False
    is_cut: bool = False  # the next piece begins within a line

    async def events(self, page: LogPage | None) -> AsyncIterator[bytes]:
        """Yield events from the first piece on (None: the hub was away), until nothing follows."""
        while True:
            if page is not None:
                for each in self._news(page):
                    yield each
                if page.complete:
                    return
                await self.pause(PAUSE_SECONDS)
            try:
                page = await self.reader.page(self.offset, WAIT_SECONDS, self.known)
            except Denied as denied:
                yield event("stop", status=denied.status, why=denied.why)
                return
            except Away:
                page = None
                yield self._away()
                await self.pause(RETRY_SECONDS)

    def _away(self) -> bytes:
        if self.is_away:
            return BEAT
        self.is_away = True
        since = self.heard_at or self.clock.now()
        return event("away", since=since.isoformat())

    def _news(self, page: LogPage) -> list[bytes]:
        """Return what a piece says that was not said yet."""
        told: list[bytes] = []
        if self.is_away:
            told.append(event("back"))
        self.is_away, self.heard_at = False, self.clock.now()
        if page.state is not None and page.state is not self.known:
            self.known = page.state
            told.append(event("state", state=page.state.value))
        behind = (page.size or 0) - page.next_offset
        if behind > MOST_BEHIND_BYTES:
            return [*told, self._skip(page)]
        text = self._whole_lines(page.text)
        self.offset = page.next_offset
        if text:
            told.append(event("lines", self.offset, text=text))
        if page.complete:
            told.append(event("end", state=page.state.value if page.state else ""))
        return told or [BEAT]

    def _skip(self, page: LogPage) -> bytes:
        """Go on near the end of the log, and say how much is passed over."""
        to = (page.size or 0) - PIECE_BYTES
        passed, self.offset, self.is_cut = to - self.offset, to, True
        return event("skipped", to, bytes=passed)

    def _whole_lines(self, text: str) -> str:
        """Return text from its first whole line on, where it begins within one."""
        if not (self.is_cut and text):
            return text
        self.is_cut = False
        return text.partition("\n")[2] or text
