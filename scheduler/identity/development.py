"""The development issuer: a real OpenID provider that lets anybody be anybody.

It is there so that one machine without a network can go through the same door as any other:
code, PKCE, nonce, a signed token. A demo user is chosen by a click. It must never be reachable
by others, so the hub starts it on loopback only, and beside real issuers only when told to.
"""

import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID = "commonpool"
_CODE_LASTS = timedelta(minutes=1)
_TOKEN_LASTS = timedelta(minutes=5)
_MAX_CODES = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """An authorisation request, as it came in the address."""

    redirect_uri: str
    state: str
    nonce: str
    challenge: str


@dataclass(frozen=True, slots=True)
class _Granted:
    claims: Mapping[str, object]
    asked: Asked
    until: datetime


class DevelopmentIssuer:
    """Makes codes and tokens. `url` is its issuer URL, below the hub's public address."""

    def __init__(self, url: str, redirect_uri: str, key: RSAKey | None = None) -> None:
        """Sign with a key, or make one: tokens of an earlier run are then worth nothing."""
        self.url = url
        self._redirect_uri = redirect_uri
        self._key = key or RSAKey.generate_key(2048, {"kid": secrets.token_hex(8), "use": "sig"})
        self._codes: dict[str, _Granted] = {}

    def description(self) -> dict[str, object]:
        """Return its discovery document."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def keys(self) -> dict[str, object]:
        """Return its public key as a set of keys."""
        return {"keys": [self._key.as_dict(private=False)]}

    def asked(self, query: Mapping[str, str]) -> Asked | str:
        """Return the request in an address, or why it is none of this hub's."""
        if query.get("client_id") != CLIENT_ID or query.get("redirect_uri") != self._redirect_uri:
            return "the client or its redirect address is not this hub's"
        if query.get("response_type") != "code" or query.get("code_challenge_method") != "S256":
            return "only the code flow with PKCE (S256) is served"
        needed = [query.get(name, "") for name in ("state", "nonce", "code_challenge")]
        if not all(needed):
            return "state, nonce and code_challenge are needed"
        return Asked(self._redirect_uri, *needed)

    def grant(self, asked: Asked, claims: Mapping[str, object], now: datetime) -> str:
        """Return a code for whoever was chosen."""
        self._codes = {code: each for code, each in self._codes.items() if each.until > now}
        while len(self._codes) >= _MAX_CODES:
            self._codes.pop(next(iter(self._codes)))
        code = secrets.token_urlsafe(24)
        self._codes[code] = _Granted(claims, asked, now + _CODE_LASTS)
        return code

    def token(self, form: Mapping[str, str], now: datetime) -> dict[str, object] | None:
        """Return tokens for a code, once; None where code, verifier or time do not fit."""
        granted = self._codes.pop(form.get("code", ""), None)
        if granted is None or granted.until <= now:
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if urlsafe_b64encode(digest).rstrip(b"=").decode() != granted.asked.challenge:
            return None
        if form.get("redirect_uri") != granted.asked.redirect_uri:
            return None
        issued = int(now.timestamp())
        claims = {
            **granted.claims,
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": issued,
            "auth_time": issued,
            "exp": issued + int(_TOKEN_LASTS.total_seconds()),
            "nonce": granted.asked.nonce,
        }
        signed = jwt.encode({"alg": "RS256", "kid": self._key.kid}, claims, self._key)
        return {
            "id_token": signed,
            "access_token": secrets.token_urlsafe(16),
            "token_type": "Bearer",
        }
