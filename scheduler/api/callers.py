"""Who is behind a secret: tokens, personal tokens and sessions, looked up and kept for a moment.

A busy client so costs no query per request. What is kept is a row of some seconds ago, so a
revocation by another replica is seen within `KEEP_SECONDS`; one by this process at once. Uses
are stored beside the request, and that somebody acted in a session only where it was no page
that looks again by itself (`X-CP-Passive: 1`).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.api.together import Together
from scheduler.clock import Clock
from scheduler.db.engine import Database
from scheduler.db.personal_tokens import (
    PersonalRow,
    find_personal,
    is_well_formed,
    note_personal_use,
)
from scheduler.db.sessions import SEEN_RESOLUTION, SessionRow, digest, find_session, note_seen
from scheduler.db.tokens import TokenRow, find_token, note_use
from scheduler.errors import StorageUnavailable

log = structlog.get_logger()

KEEP_SECONDS = 3.0
KEEP_WHILE_AWAY_SECONDS = 300.0
MAX_KEPT = 10_000
_MAX_SECRET = 200
_TOKEN = re.compile(r"cp_[a-z]+_[A-Za-z0-9_-]{20,100}")
Row = TypeVar("Row")


class _Kept(Generic[Row]):
    """Rows by the digest of their secret, for some seconds each; one look-up for all who wait."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: dict[str, tuple[float, Row]] = {}
        self._looking: dict[str, Together[Row | None]] = {}
        self._times_cleared = 0

    async def find(self, key: str, look: Callable[[], Awaitable[Row | None]]) -> Row | None:
        """Return what is kept; else what a look-up finds, which all who ask at once share.

        A thousand agents so cost one query when their gateway's token is due again. While
        the database is away, whom it knew in the last minutes stays known: nobody can be
        revoked meanwhile, and what needs no database, as metrics, is answered.

        Raises:
            StorageUnavailable: the database is away, and this secret was not seen lately.
        """
        row = self._younger_than(KEEP_SECONDS, key)
        if row is not None:
            return row
        shared = self._shared(key, look)
        try:
            return await shared.ask()
        except StorageUnavailable:
            row = self._younger_than(KEEP_WHILE_AWAY_SECONDS, key)
            if row is None:
                raise
            return row
        finally:
            if shared.is_idle and self._looking.get(key) is shared:
                del self._looking[key]

    def put(self, key: str, row: Row) -> None:
        """Keep a row from now on."""
        if len(self._rows) >= MAX_KEPT:
            self._rows.clear()
        self._rows[key] = (self._clock(), row)

    def clear(self) -> None:
        """Forget all rows, and what is looked up now: it may be of before a revocation."""
        self._rows.clear()
        self._times_cleared += 1

    async def settle(self) -> None:
        """Wait for the look-ups that nobody waits for any more."""
        for shared in list(self._looking.values()):
            await shared.settle()

    def _shared(self, key: str, look: Callable[[], Awaitable[Row | None]]) -> Together[Row | None]:
        if len(self._looking) >= MAX_KEPT:  # Of those who hung up nobody else takes them away.
            busy = {key: one for key, one in self._looking.items() if not one.is_idle}
            self._looking = busy
        if key not in self._looking:
            self._looking[key] = Together(partial(self._look, key, look))
        return self._looking[key]

    async def _look(self, key: str, look: Callable[[], Awaitable[Row | None]]) -> Row | None:
        times_cleared = self._times_cleared
        row = await look()
        if row is None:
            self._rows.pop(key, None)
        elif times_cleared == self._times_cleared:
            self.put(key, row)
        return row

    def _younger_than(self, seconds: float, key: str) -> Row | None:
        at, row = self._rows.get(key, (0.0, None))
        return row if row is not None and self._clock() - at < seconds else None


class Callers:
    """Finds sessions and tokens by their secrets; an unknown one is looked up each time."""

    def __init__(self, db: Database, clock: Clock) -> None:
        """Look up in a database; times are the clock's."""
        self._db = db
        self._clock = clock
        self._sessions = _Kept[SessionRow](clock.monotonic)
        self._personal = _Kept[PersonalRow](clock.monotonic)
        self._tokens = _Kept[TokenRow](clock.monotonic)
        self._noting: set[asyncio.Task[None]] = set()

    async def session(self, secret: str) -> SessionRow | None:
        """Return a session, alive or not; None where there is none of that secret."""
        if len(secret) > _MAX_SECRET:
            return None
        return await self._find(self._sessions, secret, find_session)

    def acted(self, secret: str, row: SessionRow) -> None:
        """Note that somebody acts in a session that is alive."""
        now = self._clock.now()
        if now - row.seen_at >= SEEN_RESOLUTION:
            self._sessions.put(digest(secret), replace(row, seen_at=now))
            self._note("session", lambda conn: note_seen(conn, row.id, now))

    async def personal(self, secret: str) -> PersonalRow | None:
        """Return a personal token, expired or not; None where it is unknown or revoked."""
        if len(secret) > _MAX_SECRET or not is_well_formed(secret):
            return None
        return await self._find(self._personal, secret, find_personal, self._noted_personal)

    async def token(self, secret: str) -> TokenRow | None:
        """Return the row of a token, expired or not; None where it is unknown or revoked."""
        if not _TOKEN.fullmatch(secret):
            return None
        now = self._clock.now()
        return await self._find(
            self._tokens,
            secret,
            lambda conn, wanted: find_token(conn, wanted, now),
            self._noted_token,
        )

    async def _find(
        self,
        kept: _Kept[Row],
        secret: str,
        look: Callable[[AsyncConnection, str], Awaitable[Row | None]],
        noted: Callable[[Row], Row] = lambda row: row,
    ) -> Row | None:
        """Return what is kept of a secret; else look it up, note the use, and keep it."""

        async def looked_up() -> Row | None:
            async with self._db.reading() as conn:
                row = await look(conn, secret)
            return None if row is None else noted(row)

        return await kept.find(digest(secret), looked_up)

    def forget_all(self) -> None:
        """Look everybody up again: something was revoked."""
        for kept in (self._sessions, self._personal, self._tokens):
            kept.clear()

    async def settle(self) -> None:
        """Wait until what was begun beside requests is stored; the database closes next."""
        for kept in (self._sessions, self._personal, self._tokens):
            await kept.settle()
        await asyncio.gather(*self._noting)

    def _noted_personal(self, row: PersonalRow) -> PersonalRow:
        now = self._clock.now()
        if not row.use_is_worth_noting(now):
            return row
        self._note("personal_token", lambda conn: note_personal_use(conn, row.id, now))
        return replace(row, last_used_at=now)

    def _noted_token(self, row: TokenRow) -> TokenRow:
        now = self._clock.now()
        if not row.use_is_worth_noting(now):
            return row
        self._note("token", lambda conn: note_use(conn, row.id, now))
        return replace(row, last_used_at=now)

    def _note(self, what: str, write: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Write beside the request, which does not wait for it."""
        task = asyncio.create_task(self._write(what, write))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _write(self, what: str, write: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        try:
            async with self._db.transaction() as conn:
                await write(conn)
        except StorageUnavailable as error:
            # Only a time of last use is lost: a full disk must not end a read.
            log.warning("use_not_noted", of=what, error=str(error))
