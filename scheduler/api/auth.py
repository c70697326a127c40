"""Who is calling: the token of a request, and what it may be used for.

A token comes as `Authorization: Bearer`, as the password of `Authorization: Basic`
(a `~/.netrc` entry makes Ray's client do that), or as `X-Ray-Authorization`.
Look-ups are kept for a few seconds, so that a busy client costs no query per request;
another replica's revocation is therefore seen within `KEEP_SECONDS`.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from scheduler.clock import Clock
from scheduler.db.engine import Database
from scheduler.db.tokens import TokenRow, find_token, touch_tokens
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope

KEEP_SECONDS = 3.0
TOUCH_SECONDS = 60.0
MAX_KEPT = 10_000
_SECRET = re.compile(r"cp_[a-z]+_[A-Za-z0-9_-]{20,100}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a valid token speaks for."""

    subject: str
    scope: Scope
    token_id: str
    expires_at: datetime | None = None

    @property
    def sees(self) -> str | None:
        """Return the user whose jobs the caller may see; None is everyone's (admin)."""
        return None if self.scope is Scope.ADMIN else self.subject


class TokenCache:
    """Tokens seen lately, by hash, and when each was last used (written now and then)."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[float, TokenRow]] = {}
        self._used: dict[str, datetime] = {}
        self._touched_at = 0.0

    async def find(self, db: Database, clock: Clock, secret: str) -> TokenRow | None:
        """Return the token's row, expired or not; None where it is unknown or revoked."""
        if not _SECRET.fullmatch(secret):
            return None
        key = hashlib.sha256(secret.encode()).hexdigest()
        kept = self._rows.get(key)
        if kept is not None and clock.monotonic() - kept[0] < KEEP_SECONDS:
            row: TokenRow | None = kept[1]
        else:
            async with db.reading() as conn:
                row = await find_token(conn, secret, clock.now())
            self._keep(key, row, clock.monotonic())
        if row is not None:
            self._used[row.id] = clock.now()
        return row

    def forget_all(self) -> None:
        """Look every token up again: one was revoked."""
        self._rows.clear()

    def is_touch_due(self, monotonic: float) -> bool:
        """Return whether uses gathered for long enough to be worth a write."""
        return bool(self._used) and monotonic - self._touched_at >= TOUCH_SECONDS

    async def touch(self, db: Database, monotonic: float) -> None:
        """Write the instants of last use that gathered since the last time."""
        used, self._used, self._touched_at = self._used, {}, monotonic
        if used:
            async with db.transaction() as conn:
                await touch_tokens(conn, used)

    def _keep(self, key: str, row: TokenRow | None, monotonic: float) -> None:
        self._rows.pop(key, None)
        if row is None:
            return
        if len(self._rows) >= MAX_KEPT:
            self._rows.clear()
        self._rows[key] = (monotonic, row)


def secret_of(headers: Mapping[str, str]) -> str | None:
    """Return the token that a request carries, or None.

    Raises:
        Refused: the header is there, but is neither Bearer nor Basic with a password.
    """
    header = headers.get("authorization") or headers.get("x-ray-authorization")
    if not header:
        return None
    scheme, _, rest = header.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip()
        case "basic":
            return _basic_password(rest.strip())
        case _:
            raise unauthorized("The Authorization header is neither Bearer nor Basic.")


def caller_of(row: TokenRow | None, now: datetime) -> Caller:
    """Return the caller of a token that was found.

    Raises:
        Refused: 401, unknown, revoked or expired, with the next step.
    """
    if row is None:
        raise unauthorized("The token is not known to this hub, or was revoked.")
    if row.expires_at is not None and row.expires_at <= now:
        raise unauthorized(f"The token expired at {row.expires_at:%Y-%m-%d %H:%M:%S} UTC.")
    return Caller(row.subject, Scope(row.scope), row.id, row.expires_at)


def unauthorized(detail: str) -> Refused:
    """Return the refusal of a caller whose token is missing or not valid."""
    return Refused(
        title="Not authenticated",
        detail=detail,
        status=401,
        field="Authorization",
        next_step=(
            "Ask an admin for a token (`commonpool token create`) and send it as "
            "`Authorization: Bearer <token>`."
        ),
    )


def wrong_scope(caller: Caller, scopes: tuple[Scope, ...]) -> Refused:
    """Return the refusal of a valid token that is for something else."""
    wanted = " or ".join(scopes)
    return Refused(
        title="Wrong scope",
        detail=f"This needs a token of scope {wanted}; yours is of scope {caller.scope}.",
        status=403,
        field="Authorization",
        value=caller.scope,
        limit=wanted,
        next_step=f"Use a token made with `commonpool token create --scope {scopes[0]}`.",
    )


def _basic_password(encoded: str) -> str:
    try:
        decoded = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise unauthorized("The Basic credentials are not valid base64 of user:token.") from None
    return decoded.partition(":")[2]
