"""Sessions: opaque to the browser, kept here, ended here.

A session is alive until it was idle too long, its absolute end, or its revocation. How long
idle is too long depends on who it is, so that is asked by the reader.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.claims import Asserted
from scheduler.db.identities import Subject
from scheduler.db.identity_tables import sessions

PREFIX = "cp_session_"
SEEN_RESOLUTION = timedelta(seconds=30)
"""How exactly `seen_at` is stored: each write costs a commit."""
_KEEP_ENDED = timedelta(days=30)
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that was not revoked; whether it is still alive, `alive` says."""

    id: str
    user: str
    iss: str
    issuer: str
    sector: str
    institution: str
    assurance: str
    created_at: datetime
    auth_time: datetime
    seen_at: datetime
    ends_at: datetime
    user_agent: str
    revoked_at: datetime | None = None

    def alive(self, idle: timedelta, now: datetime) -> bool:
        """Return whether it may be used now, by somebody who may be idle so long."""
        return self.revoked_at is None and now < min(self.ends_at, self.seen_at + idle)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in that was checked: who, by whom, how well, with what browser."""

    subject: Subject
    said: Asserted
    institution: str
    assurance: str
    auth_time: datetime
    user_agent: str


async def open_session(
    conn: AsyncConnection, signed_in: SignedIn, now: datetime, lasts: timedelta
) -> str:
    """Begin a session; its secret, 32 random bytes, is in the answer and nowhere else."""
    await conn.execute(delete(sessions).where(sessions.c.ends_at < now - _KEEP_ENDED))
    secret = f"{PREFIX}{secrets.token_urlsafe(32)}"
    await conn.execute(
        insert(sessions).values(
            id=secrets.token_hex(8),
            sha256=digest(secret),
            user=signed_in.said.user,
            iss=signed_in.subject.iss,
            sub=signed_in.subject.sub,
            issuer=signed_in.subject.issuer,
            sector=signed_in.said.sector.value,
            institution=signed_in.institution,
            assurance=signed_in.assurance[:200],
            created_at=now,
            auth_time=signed_in.auth_time,
            seen_at=now,
            ends_at=now + lasts,
            user_agent=signed_in.user_agent[:200],
        )
    )
    return secret


_COLUMNS = tuple(sessions.c[name] for name in SessionRow.__slots__)


async def find_session(conn: AsyncConnection, secret: str) -> SessionRow | None:
    """Return a session by its secret, alive or not; None where there is none."""
    query = select(*_COLUMNS).where(sessions.c.sha256 == digest(secret))
    row = (await conn.execute(query)).one_or_none()
    return None if row is None else SessionRow(*row)


async def note_seen(conn: AsyncConnection, session: str, now: datetime) -> None:
    """Store that somebody acted in a session; it never moves back."""
    await conn.execute(
        update(sessions)
        .where(sessions.c.id == session, sessions.c.seen_at < now)
        .values(seen_at=now)
    )


async def list_sessions(conn: AsyncConnection, user: str | None) -> Sequence[SessionRow]:
    """Return sessions, newest first, of a user or of everybody; the last 200."""
    query = select(*_COLUMNS).order_by(sessions.c.created_at.desc(), sessions.c.id).limit(_SHOWN)
    if user is not None:
        query = query.where(sessions.c.user == user)
    return [SessionRow(*row) for row in await conn.execute(query)]


async def revoke_session(
    conn: AsyncConnection, session: str, user: str | None, by: str, now: datetime
) -> bool:
    """End a session, of a user or of anybody; False where there is none to end."""
    asked = update(sessions).where(sessions.c.id == session, sessions.c.revoked_at.is_(None))
    if user is not None:
        asked = asked.where(sessions.c.user == user)
    return (await conn.execute(asked.values(revoked_at=now, revoked_by=by))).rowcount == 1


async def is_revoked(conn: AsyncConnection, session: str) -> bool:
    """Return whether a session was ended, or is not there; else it lasts until the transaction."""
    query = select(sessions.c.id).where(sessions.c.id == session, sessions.c.revoked_at.is_(None))
    return (await conn.execute(query.with_for_update())).first() is None


async def revoke_all(
    conn: AsyncConnection, user: str, by: str, now: datetime, iss: str | None = None
) -> int:
    """End every session of a user, or those that one issuer began; return how many there were."""
    asked = update(sessions).where(sessions.c.user == user, sessions.c.revoked_at.is_(None))
    if iss is not None:
        asked = asked.where(sessions.c.iss == iss)
    return (await conn.execute(asked.values(revoked_at=now, revoked_by=by))).rowcount


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret; 256 random bits need no salt."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
