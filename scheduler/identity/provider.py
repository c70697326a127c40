"""One OpenID provider: where to send people, and what it says of them when they come back.

The authorisation code flow with PKCE (S256), state and nonce. What comes back is checked as
OpenID Connect Core 1.0 §3.1.3.7 asks: signature by the provider's keys, issuer, audience,
times, nonce. The checks are Authlib's; access and refresh tokens are not kept.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import structlog
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from scheduler.clock import Clock
from scheduler.errors import Refused

log = structlog.get_logger()

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384")
_KEEP = timedelta(hours=1)
_LEEWAY_SECONDS = 60
_MAX_ANSWER_BYTES = 1_000_000
_TIMEOUT = httpx.Timeout(5, connect=2)


@dataclass(frozen=True, slots=True)
class Client:
    """What a provider knows this hub as. No secret: a public client, by PKCE alone."""

    name: str
    title: str
    issuer: str
    client_id: str
    client_secret: str | None
    scopes: tuple[str, ...]
    redirect_uri: str
    audiences: tuple[str, ...] = ()
    acr_values: str = ""


@dataclass(frozen=True, slots=True)
class Leaving:
    """What is remembered while somebody is at the provider."""

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Strength:
    """What is asked of a sign-in: how old it may be, in seconds, and which `acr`."""

    max_age: int | None = None
    acr_values: str = ""


class Provider:
    """Speaks with one provider; keeps what it says of itself for an hour."""

    def __init__(
        self, client: Client, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Speak over the network, or over a transport of the caller's."""
        self.client = client
        self._clock = clock
        self._transport = transport
        self._kept: tuple[datetime, Mapping[str, Any], KeySet] | None = None

    async def origin(self) -> str | None:
        """Return where its sign-in page is, scheme and host; None while it does not answer."""
        try:
            found, _ = await self._metadata()
        except Refused:
            return None
        parts = urlsplit(found["authorization_endpoint"])
        return f"{parts.scheme}://{parts.netloc}"

    async def address(self, leaving: Leaving, asked: Strength | None = None) -> str:
        """Return the address that a browser is sent to.

        `max_age` is OpenID Connect Core 1.0 §3.1.2.1: the provider then says `auth_time`.

        Raises:
            Refused: 502, the provider does not answer.
        """
        found, _ = await self._metadata()
        url: str = prepare_grant_uri(
            found["authorization_endpoint"],
            client_id=self.client.client_id,
            response_type="code",
            redirect_uri=self.client.redirect_uri,
            scope=list(self.client.scopes),
            state=leaving.state,
            nonce=leaving.nonce,
            code_challenge=create_s256_code_challenge(leaving.verifier),
            code_challenge_method="S256",
            acr_values=(asked and asked.acr_values) or self.client.acr_values or None,
            max_age=None if asked is None or asked.max_age is None else str(asked.max_age),
        )
        return url

    async def claims(self, code: str, leaving: Leaving) -> Mapping[str, object]:
        """Return what the provider says of whoever came back with `code`, checked.

        Raises:
            Refused: 502, it does not answer; 401, what it says does not hold.
        """
        found, keys = await self._metadata()
        answer = await self._token(found["token_endpoint"], code, leaving.verifier)
        id_token = answer.get("id_token")
        if not isinstance(id_token, str):
            raise self._not_valid("it sent no ID token")
        try:
            token = self._decoded(id_token, keys)
        except ValueError:
            # A key that it made since we looked; asked once, since anybody may invent a key id.
            self._kept = None
            _, keys = await self._metadata()
            try:
                token = self._decoded(id_token, keys)
            except ValueError as error:
                raise self._not_valid(f"its signature does not hold ({error})") from error
        claims = self._checked(token, leaving, str(answer.get("access_token") or ""))
        return await self._with_userinfo(found, claims, answer)

    def _decoded(self, id_token: str, keys: KeySet) -> jwt.Token:
        try:
            return jwt.decode(id_token, keys, algorithms=list(ALGORITHMS))
        except JoseError as error:
            raise ValueError(str(error)) from error

    def _checked(self, token: jwt.Token, leaving: Leaving, access_token: str) -> dict[str, object]:
        allowed = [self.client.client_id, *self.client.audiences]
        said = CodeIDToken(
            token.claims,
            token.header,
            options={
                "iss": {"essential": True, "value": self.client.issuer},
                "aud": {"essential": True, "values": allowed},
                "sub": {"essential": True},
                "exp": {"essential": True},
                "nonce": {"essential": True, "value": leaving.nonce},
            },
            params={
                "nonce": leaving.nonce,
                "client_id": self.client.client_id,
                "access_token": access_token,
            },
        )
        now = int(self._clock.now().timestamp())
        try:
            said.validate(now, _LEEWAY_SECONDS)
        except JoseError as error:
            raise self._not_valid(f"its ID token is not for this sign-in ({error})") from error
        return dict(token.claims)

    async def _with_userinfo(
        self, found: Mapping[str, Any], claims: dict[str, object], answer: Mapping[str, Any]
    ) -> Mapping[str, object]:
        """Add what it says at its userinfo endpoint; the ID token's own words go first."""
        url, access = found.get("userinfo_endpoint"), answer.get("access_token")
        if not isinstance(url, str) or not isinstance(access, str):
            return claims
        more = await self._json("GET", url, headers={"Authorization": f"Bearer {access}"})
        if more.get("sub") != claims["sub"]:
            raise self._not_valid("its userinfo is of somebody else")
        return {**more, **claims}

    async def _token(self, url: str, code: str, verifier: str) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.client.redirect_uri,
            "client_id": self.client.client_id,
            "code_verifier": verifier,
        }
        headers = {}
        if self.client.client_secret is not None:
            del form["client_id"]
            pair = f"{quote(self.client.client_id)}:{quote(self.client.client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return await self._json("POST", url, headers=headers, form=form)

    async def _metadata(self) -> tuple[Mapping[str, Any], KeySet]:
        now = self._clock.now()
        if self._kept is not None and now - self._kept[0] < _KEEP:
            return self._kept[1], self._kept[2]
        base = self.client.issuer.rstrip("/")
        found = await self._json("GET", f"{base}/.well-known/openid-configuration")
        if found.get("issuer") != self.client.issuer:
            raise self._away(f"it calls itself {found.get('issuer')!r}")
        try:
            endpoints = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            _, _, jwks = (str(found[name]) for name in endpoints)
            keys = KeySet.import_key_set(await self._json("GET", jwks))  # type: ignore[arg-type]
        except (KeyError, ValueError, JoseError) as error:
            raise self._away(f"its description lacks {error}") from error
        self._kept = (now, found, keys)
        return found, keys

    async def _json(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        asked = {"Accept": "application/json", **(headers or {})}
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT, transport=self._transport) as http:
                answer = await http.request(method, url, headers=asked, data=form)
            found = answer.json() if len(answer.content) <= _MAX_ANSWER_BYTES else None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise self._away(f"no usable answer from {url}") from error
        if not isinstance(found, dict):
            raise self._away(f"no usable answer from {url}")
        if not answer.is_success:
            said = str(found.get("error", answer.status_code))[:100]
            raise self._not_valid(f"it answered '{said}'")
        return found

    def _away(self, why: str) -> Refused:
        log.warning("issuer_away", issuer=self.client.name, why=why)
        return Refused(
            title="Your organisation's sign-in does not answer",
            detail=f"{self.client.title} cannot be asked now: {why}.",
            status=502,
            next_step="Try again in a minute; if it stays, tell the operator of this hub.",
        )

    def _not_valid(self, why: str) -> Refused:
        log.warning("sign_in_not_valid", issuer=self.client.name, why=why)
        return Refused(
            title="Sign-in not valid",
            detail=f"What came back from {self.client.title} cannot be used: {why}.",
            status=401,
            next_step="Sign in again; if it stays, tell the operator of this hub.",
        )
