"""Links that were begun: each is for one session, for some minutes, and is taken once."""

from datetime import datetime

from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.identity_tables import identity_links
from scheduler.db.sessions import digest


async def begin_link(
    conn: AsyncConnection, state: str, session: str, now: datetime, ends_at: datetime
) -> None:
    """Store that a session left for an issuer with a state; another that it began is over."""
    table = identity_links.c
    await conn.execute(
        delete(identity_links).where((table.ends_at <= now) | (table.session == session))
    )
    await conn.execute(
        insert(identity_links).values(sha256=digest(state), session=session, ends_at=ends_at)
    )


async def take_link(conn: AsyncConnection, state: str, session: str, now: datetime) -> bool:
    """Take a link that this session began; False where there is none, or it was taken before."""
    table = identity_links.c
    taken = delete(identity_links).where(
        table.sha256 == digest(state), table.session == session, table.ends_at > now
    )
    return (await conn.execute(taken)).rowcount == 1
