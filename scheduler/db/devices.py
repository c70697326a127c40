"""Command lines that ask to be signed in (RFC 8628), until somebody answers or minutes are over.

The device code is a secret of the command line's and is kept as a digest; the user code is
short, for a person to compare, and good for nothing without their own session.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.identity_tables import device_codes
from scheduler.db.personal_tokens import NOT_KNOWN, MadeBy
from scheduler.db.sessions import digest
from scheduler.wire.identity import Power

LASTS = timedelta(minutes=10)
INTERVAL = timedelta(seconds=3)
"""How often a command line may ask whether somebody has answered."""
MAX_WAITING = 1_000
# No vowels, so that no words come out, and nothing that is read for a digit.
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"


class Standing(StrEnum):
    """Where a question stands; the words are RFC 8628's errors, but for the last."""

    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    DENIED = "access_denied"
    EXPIRED = "expired_token"
    APPROVED = "approved"


@dataclass(frozen=True, slots=True)
class Question:
    """What a command line asked for; `user` is who agreed, None before."""

    user_code: str
    client: str
    powers: tuple[Power, ...]
    expires_at: datetime
    user: str | None
    made_by: MadeBy = NOT_KNOWN


async def ask(
    conn: AsyncConnection, client: str, powers: tuple[Power, ...], now: datetime
) -> tuple[str, str] | None:
    """Store a question; return its device code and user code. None where too many wait."""
    await conn.execute(delete(device_codes).where(device_codes.c.expires_at <= now))
    waiting = (await conn.execute(select(func.count()).select_from(device_codes))).scalar_one()
    if waiting >= MAX_WAITING:
        return None
    device_code = secrets.token_urlsafe(32)
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    user_code = f"{letters[:4]}-{letters[4:]}"
    await conn.execute(
        insert(device_codes).values(
            sha256=digest(device_code),
            user_code=user_code,
            client=client,
            powers=[power.value for power in powers],
            created_at=now,
            expires_at=now + LASTS,
        )
    )
    return device_code, user_code


async def find_question(conn: AsyncConnection, user_code: str, now: datetime) -> Question | None:
    """Return the question that a person was shown; None where it is over or answered."""
    table = device_codes.c
    row = (
        await conn.execute(
            select(device_codes).where(
                table.user_code == user_code, table.expires_at > now, table.decision.is_(None)
            )
        )
    ).one_or_none()
    if row is None:
        return None
    powers = tuple(Power(power) for power in row.powers)
    return Question(row.user_code, row.client, powers, row.expires_at, row.user)


async def answer(  # who, for which institution, what, and when
    conn: AsyncConnection,
    user_code: str,
    person: tuple[str, MadeBy],
    now: datetime,
    *,
    agreed: bool,
) -> bool:
    """Store an answer of a person, and the sign-in in which they gave it.

    False where the question is over or was answered.
    """
    user, made_by = person
    table = device_codes.c
    changed = await conn.execute(
        update(device_codes)
        .where(table.user_code == user_code, table.expires_at > now, table.decision.is_(None))
        .values(
            decision="approved" if agreed else "denied",
            user=user,
            institution=made_by.institution,
            iss=made_by.iss,
        )
    )
    return changed.rowcount == 1


async def poll(
    conn: AsyncConnection, device_code: str, now: datetime
) -> tuple[Standing, Question | None]:
    """Return where a question stands. An answer is given once: then the question is gone."""
    table = device_codes.c
    mine = table.sha256 == digest(device_code)
    row = (await conn.execute(select(device_codes).where(mine))).one_or_none()
    if row is None or row.expires_at <= now:
        return Standing.EXPIRED, None
    if row.decision is None:
        too_soon = row.polled_at is not None and now - row.polled_at < INTERVAL
        await conn.execute(update(device_codes).where(mine).values(polled_at=now))
        return (Standing.SLOW_DOWN if too_soon else Standing.PENDING), None
    gone = await conn.execute(delete(device_codes).where(mine))
    if gone.rowcount != 1:  # Asked twice at once: one of the two has it.
        return Standing.EXPIRED, None
    if row.decision == "denied":
        return Standing.DENIED, None
    powers = tuple(Power(power) for power in row.powers)
    return Standing.APPROVED, Question(
        row.user_code,
        row.client,
        powers,
        row.expires_at,
        row.user,
        MadeBy(row.institution, row.iss),
    )


async def forget_answers(conn: AsyncConnection, user: str, iss: str | None = None) -> None:
    """Forget what a user agreed to and no command line has fetched yet."""
    gone = delete(device_codes).where(device_codes.c.user == user)
    if iss is not None:
        gone = gone.where(device_codes.c.iss == iss)
    await conn.execute(gone)
