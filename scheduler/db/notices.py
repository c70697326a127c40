"""Notices that are due: taken in order, sent outside of any transaction, marked after.

A hub that dies between sending and marking sends again: at least once, under the same key.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.request_tables import notices

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)
GIVES_UP = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice that is to be sent."""

    id: int
    at: datetime
    recipient: str
    subject: str
    body: str
    link: str
    attempts: int


async def due_notices(conn: AsyncConnection, now: datetime, most: int) -> list[NoticeRow]:
    """Return notices whose time has come, the oldest first."""
    columns = [notices.c[name] for name in NoticeRow.__slots__]
    query = select(*columns).where(notices.c.sent_at.is_(None), notices.c.next_at <= now)
    return [NoticeRow(*row) for row in await conn.execute(query.order_by(notices.c.id).limit(most))]


async def mark_sent(conn: AsyncConnection, notice: int, now: datetime, how: str) -> None:
    """Store that somebody was told, or that nothing leads to them."""
    done = update(notices).where(notices.c.id == notice)
    await conn.execute(done.values(sent_at=now, error=how))


async def mark_failed(conn: AsyncConnection, row: NoticeRow, now: datetime, error: str) -> None:
    """Store why it could not be sent, and when to try again: ever later, and not for ever."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(row.attempts, 10))
    gives_up = now - row.at > GIVES_UP
    values = {"attempts": row.attempts + 1, "next_at": now + pause, "error": error[:500]}
    if gives_up:
        values |= {"sent_at": now, "error": f"given up: {error[:480]}"}
    await conn.execute(update(notices).where(notices.c.id == row.id).values(**values))
