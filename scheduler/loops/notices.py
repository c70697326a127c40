"""Tells people what awaits them, and closes requests whose time is up. The leader's alone."""

import asyncio
from collections.abc import Sequence

import structlog

from scheduler.clock import Clock
from scheduler.core.policy import Policy
from scheduler.db.engine import Database
from scheduler.db.notices import NoticeRow, due_notices, mark_failed, mark_sent
from scheduler.db.policies import policy_in_force
from scheduler.db.request_steps import expire
from scheduler.errors import Refused
from scheduler.notify import Letter, NotSent, Sender

log = structlog.get_logger("notices")

_MOST = 50
_LOOK_SECONDS = 20.0


class NoticeLoop:
    """Sends what is due by every way that there is; without any, notices wait in the portal."""

    name = "notices"
    bell = "notices"

    def __init__(
        self, db: Database, clock: Clock, senders: Sequence[Sender], portal_url: str = ""
    ) -> None:
        """Send by these ways; `portal_url` is put before links."""
        self._db = db
        self._clock = clock
        self._senders = senders
        self._portal_url = portal_url.rstrip("/")

    def reset(self) -> None:
        """Forget nothing: all that is known is in the database."""

    async def step(self) -> float:
        """Close what has expired and send what is due; return the seconds until the next look."""
        now = self._clock.now()
        async with self._db.reading() as conn:
            try:
                policy = await policy_in_force(conn)
            except Refused:
                return _LOOK_SECONDS  # without a policy there are no people to tell
        async with self._db.transaction() as conn:
            await expire(conn, now)
        async with self._db.reading() as conn:
            due = await due_notices(conn, now, _MOST)
        for row in due:
            await self._send(row, policy)
        return 0.0 if len(due) == _MOST else _LOOK_SECONDS

    async def _send(self, row: NoticeRow, policy: Policy) -> None:
        letter = self._letter(row, policy)
        try:
            reached = [await asyncio.to_thread(way.send, letter) for way in self._senders]
        except NotSent as error:
            log.warning(
                "notice_not_sent", notice=row.id, attempt=row.attempts + 1, error=str(error)
            )
            async with self._db.transaction() as conn:
                await mark_failed(conn, row, self._clock.now(), str(error))
            return
        how = "" if any(reached) else "no way leads to this person"
        async with self._db.transaction() as conn:
            await mark_sent(conn, row.id, self._clock.now(), how)

    def _letter(self, row: NoticeRow, policy: Policy) -> Letter:
        address = next((user.email for user in policy.users if user.name == row.recipient), "")
        link = f"{self._portal_url}{row.link}" if self._portal_url and row.link else ""
        key = f"notice-{row.id}-{row.at:%Y%m%d%H%M%S}"
        return Letter(key, row.recipient, address, row.subject, row.body, link)
