"""Personal tokens: `cp_pat_`, 32 random bytes and a checksum, kept as a SHA-256.

The checksum lets a scanner of secrets tell a token from text that looks like one, and spares a
query for what cannot be one. The last use is stored as seldom as that of other tokens.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.identity_tables import personal_tokens
from scheduler.db.sessions import digest
from scheduler.db.tokens import USE_RESOLUTION
from scheduler.wire.identity import (
    PersonalTokenIssued,
    PersonalTokenRequest,
    PersonalTokenView,
    Power,
)

PREFIX = "cp_pat_"
_CHECK = 8


@dataclass(frozen=True, slots=True)
class PersonalRow:
    """A personal token that was not revoked; it may have expired, which its bearer is told."""

    id: str
    user: str
    powers: frozenset[Power]
    expires_at: datetime
    last_used_at: datetime | None = None
    institution: str | None = None
    iss: str | None = None

    def use_is_worth_noting(self, now: datetime) -> bool:
        """Return whether the stored last use is old."""
        return self.last_used_at is None or now - self.last_used_at >= USE_RESOLUTION


@dataclass(frozen=True, slots=True)
class MadeBy:
    """The sign-in that a token comes from: by whom, for which institution; None is not known."""

    institution: str | None = None
    iss: str | None = None


NOT_KNOWN = MadeBy()


def new_secret() -> str:
    """Return a new token's secret."""
    body = secrets.token_urlsafe(32)
    return f"{PREFIX}{body}{_checksum(body)}"


def is_well_formed(secret: str) -> bool:
    """Return whether a text can be a personal token at all: its checksum holds."""
    body = secret.removeprefix(PREFIX)
    return secret.startswith(PREFIX) and body[-_CHECK:] == _checksum(body[:-_CHECK])


async def issue_personal(
    conn: AsyncConnection,
    user: str,
    request: PersonalTokenRequest,
    now: datetime,
    made_by: MadeBy = NOT_KNOWN,
) -> PersonalTokenIssued:
    """Make a token of a user; its secret is in the answer and nowhere else.

    It acts for the institution for which its maker was signed in, and ends with the identity.
    """
    issued = PersonalTokenIssued(
        id=secrets.token_hex(8),
        token=new_secret(),
        user=user,
        name=request.name,
        powers=tuple(sorted(set(request.powers))),
        expires_at=now + timedelta(days=request.expires_in_days),
    )
    await conn.execute(
        insert(personal_tokens).values(
            id=issued.id,
            sha256=digest(issued.token),
            user=user,
            name=issued.name,
            powers=[power.value for power in issued.powers],
            created_at=now,
            expires_at=issued.expires_at,
            institution=made_by.institution,
            iss=made_by.iss,
        )
    )
    return issued


async def find_personal(conn: AsyncConnection, secret: str) -> PersonalRow | None:
    """Return whose token a secret is; None where it is unknown or revoked."""
    table = personal_tokens.c
    query = select(
        table.id,
        table.user,
        table.powers,
        table.expires_at,
        table.last_used_at,
        table.institution,
        table.iss,
    ).where(table.sha256 == digest(secret), table.revoked_at.is_(None))
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        return None
    powers = frozenset(Power(power) for power in row.powers)
    rest = (row.expires_at, row.last_used_at, row.institution, row.iss)
    return PersonalRow(row.id, row.user, powers, *rest)


async def note_personal_use(conn: AsyncConnection, token: str, now: datetime) -> None:
    """Store that a token was used."""
    changed = update(personal_tokens).where(personal_tokens.c.id == token)
    await conn.execute(changed.values(last_used_at=now))


async def list_personal(conn: AsyncConnection, user: str) -> tuple[PersonalTokenView, ...]:
    """Return every token that a user ever made, newest first, without secrets."""
    table = personal_tokens.c
    query = (
        select(personal_tokens)
        .where(table.user == user)
        .order_by(table.created_at.desc(), table.id)
    )
    return tuple(
        PersonalTokenView(
            id=row.id,
            user=row.user,
            name=row.name,
            powers=tuple(Power(power) for power in row.powers),
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
            revoked=row.revoked_at is not None,
            institution=row.institution,
        )
        for row in await conn.execute(query)
    )


async def revoke_personal(
    conn: AsyncConnection, token: str, user: str | None, now: datetime
) -> bool:
    """End a token, of a user or of anybody; False where there is none to end."""
    table = personal_tokens.c
    asked = update(personal_tokens).where(table.id == token, table.revoked_at.is_(None))
    if user is not None:
        asked = asked.where(table.user == user)
    return (await conn.execute(asked.values(revoked_at=now))).rowcount == 1


async def revoke_personal_of(
    conn: AsyncConnection, user: str, now: datetime, iss: str | None = None
) -> int:
    """End every token of a user, or those that sign-ins by one issuer made; return how many."""
    table = personal_tokens.c
    asked = update(personal_tokens).where(
        table.user == user, table.revoked_at.is_(None), table.expires_at > now
    )
    if iss is not None:
        asked = asked.where(table.iss == iss)
    return (await conn.execute(asked.values(revoked_at=now))).rowcount


def _checksum(body: str) -> str:
    return f"{crc32(body.encode('utf-8', 'surrogatepass')):08x}"
