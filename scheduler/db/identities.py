"""Identities: which user of the policy an issuer's subject is."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.claims import Asserted
from scheduler.db.identity_tables import identities


@dataclass(frozen=True, slots=True)
class Subject:
    """A person as an issuer knows them; `issuer` is the issuer's name in the identity file."""

    iss: str
    sub: str
    issuer: str


async def linked_user(conn: AsyncConnection, subject: Subject) -> str | None:
    """Return the user whom a subject was at its last sign-in; None for a new one."""
    query = select(identities.c.user).where(
        identities.c.iss == subject.iss, identities.c.sub == subject.sub
    )
    user: str | None = (await conn.execute(query)).scalar_one_or_none()
    return user


async def other_subject(conn: AsyncConnection, subject: Subject, user: str) -> bool:
    """Return whether the issuer knows this user under another subject already."""
    query = select(identities.c.sub).where(
        identities.c.iss == subject.iss,
        identities.c.user == user,
        identities.c.sub != subject.sub,
    )
    return (await conn.execute(query)).first() is not None


async def forget_identities(conn: AsyncConnection, user: str) -> int:
    """Forget who a user was at every issuer; return how many there were."""
    return (await conn.execute(delete(identities).where(identities.c.user == user))).rowcount


async def note_identity(
    conn: AsyncConnection, subject: Subject, said: Asserted, assurance: str, now: datetime
) -> None:
    """Store what an issuer said of a subject, new or known."""
    values = {
        "issuer": subject.issuer,
        "user": said.user,
        "sector": said.sector.value,
        "institution": said.institutions[0],
        "teams": list(said.teams),
        "attributes": {name: list(values) for name, values in said.attributes},
        "assurance": assurance[:200],
        "verified_at": now,
    }
    known = (identities.c.iss == subject.iss) & (identities.c.sub == subject.sub)
    changed = await conn.execute(update(identities).where(known).values(**values))
    if changed.rowcount == 0:
        try:
            async with conn.begin_nested():
                await conn.execute(
                    insert(identities).values(
                        iss=subject.iss, sub=subject.sub, first_seen_at=now, **values
                    )
                )
        except IntegrityError:
            # The same person at the same moment from two windows; what was said is the same.
            await conn.execute(update(identities).where(known).values(**values))
