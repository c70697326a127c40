"""Identities: which user of the policy an issuer's subject is."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.claims import Asserted
from scheduler.db.identity_tables import identities

# Any constant does, as long as every hub of one database uses the same.
_IDENTITIES_LOCK = 0x636F6D6D04


@dataclass(frozen=True, slots=True)
class Subject:
    """A person as an issuer knows them; `issuer` is the issuer's name in the identity file."""

    iss: str
    sub: str
    issuer: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What is stored of a subject; `linked_at` where its person, not its claims, said who it is."""

    iss: str
    sub: str
    issuer: str
    user: str
    sector: str
    institution: str
    assurance: str
    first_seen_at: datetime
    verified_at: datetime
    linked_at: datetime | None

    @property
    def mark(self) -> str:
        """Return what stands for it in the audit log, which holds no number of a card."""
        return mark_of(Subject(self.iss, self.sub, self.issuer))


def mark_of(subject: Subject) -> str:
    """Return an issuer's name and a digest of its subject."""
    digest = hashlib.sha256(f"{subject.iss}\n{subject.sub}".encode()).hexdigest()
    return f"{subject.issuer}:{digest[:16]}"


_COLUMNS = tuple(identities.c[name] for name in Identity.__slots__)


async def take_turn(conn: AsyncConnection) -> None:
    """Look at identities and change them alone, until the transaction ends.

    Whether a name is believed rests on what is not there: that no other issuer knows the user,
    that another identity is left. No row holds that still; SQLite's writers are alone already.
    """
    if conn.dialect.name == "postgresql":
        await conn.execute(text(f"SELECT pg_advisory_xact_lock({_IDENTITIES_LOCK})"))


async def find_identity(conn: AsyncConnection, subject: Subject) -> Identity | None:
    """Return what is known of a subject; None for a new one."""
    query = select(*_COLUMNS).where(
        identities.c.iss == subject.iss, identities.c.sub == subject.sub
    )
    row = (await conn.execute(query)).one_or_none()
    return None if row is None else Identity(*row)


async def identities_of(conn: AsyncConnection, user: str) -> Sequence[Identity]:
    """Return who a user is at every issuer, the longest known first."""
    query = select(*_COLUMNS).where(identities.c.user == user)
    rows = await conn.execute(query.order_by(identities.c.first_seen_at, identities.c.iss))
    return [Identity(*row) for row in rows]


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


async def forget_identity(conn: AsyncConnection, user: str, iss: str) -> bool:
    """Forget who a user was at one issuer; False where it did not know them."""
    gone = delete(identities).where(identities.c.user == user, identities.c.iss == iss)
    return (await conn.execute(gone)).rowcount == 1


async def insert_linked(
    conn: AsyncConnection, subject: Subject, said: Asserted, assurance: str, now: datetime
) -> None:
    """Store a new subject whose person said whose it is.

    Raises:
        IntegrityError: it is known already, or its issuer knows the user by another.
    """
    await conn.execute(
        insert(identities).values(
            iss=subject.iss,
            sub=subject.sub,
            first_seen_at=now,
            linked_at=now,
            **_values(subject, said, assurance, now),
        )
    )


async def note_identity(
    conn: AsyncConnection, subject: Subject, said: Asserted, assurance: str, now: datetime
) -> bool:
    """Store what an issuer said of a subject, new or known; False where it is another user's."""
    values = _values(subject, said, assurance, now)
    known = (identities.c.iss == subject.iss) & (identities.c.sub == subject.sub)
    known &= identities.c.user == said.user
    changed = await conn.execute(update(identities).where(known).values(**values))
    if changed.rowcount == 1:
        return True
    try:
        async with conn.begin_nested():
            await conn.execute(
                insert(identities).values(
                    iss=subject.iss, sub=subject.sub, first_seen_at=now, **values
                )
            )
    except IntegrityError:
        # At the same moment from two windows: the same person, or it was linked to another user.
        changed = await conn.execute(update(identities).where(known).values(**values))
        return changed.rowcount == 1
    return True


def _values(subject: Subject, said: Asserted, assurance: str, now: datetime) -> dict[str, object]:
    return {
        "issuer": subject.issuer,
        "user": said.user,
        "sector": said.sector.value,
        "institution": said.institutions[0],
        "teams": list(said.teams),
        "attributes": {name: list(values) for name, values in said.attributes},
        "assurance": assurance[:200],
        "verified_at": now,
    }
