"""Tokens: shown once, kept as a SHA-256. A token is 256 random bits, so no salt is needed."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.audit import Entry, Who
from scheduler.db.tables import tokens
from scheduler.wire.accounts import Scope, TokenIssued, TokenRequest, TokenView

# How exactly `last_used_at` is kept: it is for people, and each write costs a commit.
USE_RESOLUTION = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token that was not revoked; it may have expired, which its bearer is told."""

    id: str
    subject: str
    scope: Scope
    expires_at: datetime | None
    last_used_at: datetime | None = None

    def has_expired(self, now: datetime) -> bool:
        """Return whether the token's time is over."""
        return self.expires_at is not None and self.expires_at <= now

    def use_is_worth_noting(self, now: datetime) -> bool:
        """Return whether the stored last use is so old that `note_use` should be called."""
        return self.last_used_at is None or now - self.last_used_at >= USE_RESOLUTION


async def issue_token(conn: AsyncConnection, request: TokenRequest, now: datetime) -> TokenIssued:
    """Make a token; its secret is in the answer and nowhere else."""
    secret = f"cp_{request.scope.value}_{secrets.token_urlsafe(32)}"
    days = request.expires_in_days
    issued = TokenIssued(
        id=secrets.token_hex(8),
        token=secret,
        subject=request.subject,
        scope=request.scope,
        expires_at=None if days is None else now + timedelta(days=days),
    )
    await conn.execute(
        insert(tokens).values(
            id=issued.id,
            sha256=_digest(secret),
            subject=issued.subject,
            scope=issued.scope.value,
            created_at=now,
            expires_at=issued.expires_at,
        )
    )
    return issued


def token_entry(issued: TokenIssued, by: Who, now: datetime) -> Entry:
    """Return what the audit log says of a token: all but its secret."""
    after = {
        "subject": issued.subject,
        "scope": issued.scope.value,
        "expires_at": issued.expires_at,
    }
    return Entry(now, by, "token.issue", f"token:{issued.id}", after=after)


async def find_token(conn: AsyncConnection, secret: str, now: datetime) -> TokenRow | None:
    """Return whom a secret speaks for; None when unknown or revoked. Expired ones are found."""
    row = (
        await conn.execute(
            select(
                tokens.c.id,
                tokens.c.subject,
                tokens.c.scope,
                tokens.c.expires_at,
                tokens.c.last_used_at,
                tokens.c.revoked_at,
            ).where(tokens.c.sha256 == _digest(secret))
        )
    ).one_or_none()
    if row is None or (row.revoked_at is not None and row.revoked_at <= now):
        return None
    return TokenRow(row.id, row.subject, Scope(row.scope), row.expires_at, row.last_used_at)


async def note_use(conn: AsyncConnection, token_id: str, now: datetime) -> None:
    """Store that a token was used; see `TokenRow.use_is_worth_noting`."""
    await conn.execute(update(tokens).where(tokens.c.id == token_id).values(last_used_at=now))


async def list_tokens(conn: AsyncConnection) -> tuple[TokenView, ...]:
    """Return every token ever issued, newest first, without secrets."""
    rows = await conn.execute(select(tokens).order_by(tokens.c.created_at.desc(), tokens.c.id))
    return tuple(
        TokenView(
            id=row.id,
            subject=row.subject,
            scope=Scope(row.scope),
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
            revoked=row.revoked_at is not None,
        )
        for row in rows
    )


async def revoke_token(conn: AsyncConnection, token_id: str, now: datetime) -> bool:
    """End a token at once; False when there is no such token that still works."""
    found = await conn.execute(
        update(tokens)
        .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return found.rowcount == 1


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
