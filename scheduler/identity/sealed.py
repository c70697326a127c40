"""Values that a browser keeps for the hub, between leaving for an issuer and coming back.

Signed, not encrypted: nothing in them is secret from the browser that holds them. Each is for
one purpose, so that a value of one kind is none of another, and for a few minutes.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
from binascii import Error as NotBase64
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

_KEY_BYTES = 32


class Sealer:
    """Seals and opens values with one key."""

    def __init__(self, key: bytes) -> None:
        """Use a key of 32 bytes."""
        self._key = key

    def seal(
        self, purpose: str, value: Mapping[str, object], now: datetime, lasts: timedelta
    ) -> str:
        """Return the text of a value that can be opened until `now + lasts`."""
        until = (now + lasts).timestamp()
        plain = json.dumps({"until": until, "value": value}, separators=(",", ":")).encode()
        body = base64.urlsafe_b64encode(plain).rstrip(b"=").decode()
        return f"{body}.{self._tag(purpose, body)}"

    def open(self, purpose: str, text: str, now: datetime) -> Mapping[str, object] | None:
        """Return the value; None where it is not ours, for something else, or too old."""
        body, _, tag = text.partition(".")
        if not hmac.compare_digest(tag.encode(), self._tag(purpose, body).encode()):
            return None
        try:
            found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (NotBase64, ValueError):
            return None
        if datetime.fromtimestamp(found["until"], UTC) <= now:
            return None
        value: Mapping[str, object] = found["value"]
        return value

    def _tag(self, purpose: str, body: str) -> str:
        message = f"{purpose}\n{body}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def sealer(folder: Path) -> Sealer:
    """Return the sealer of a data folder; its key is made once and is for its owner only."""
    file = folder / "identity.key"
    if not file.exists():
        new = folder / f"identity.key.{secrets.token_hex(4)}"
        with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            out.write(secrets.token_bytes(_KEY_BYTES))
        # Whole or not at all, and never over the key that another hub made at this moment.
        with suppress(FileExistsError):
            os.link(new, file)
        new.unlink()
    key = file.read_bytes()
    if len(key) != _KEY_BYTES:
        raise SystemExit(f"{file} is no key of {_KEY_BYTES} bytes: remove it, and sign in again")
    return Sealer(key)
