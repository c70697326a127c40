"""All that signing in needs, put together once: issuers, their rules, the banner, the key."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from urllib.parse import parse_qsl, urlsplit

import httpx
import structlog

from scheduler.clock import Clock
from scheduler.config import HubSettings
from scheduler.core.claims import ClaimRule, ClaimRules
from scheduler.core.policy import Policy
from scheduler.core.roles import root
from scheduler.errors import Refused
from scheduler.identity.development import CLIENT_ID, DevelopmentIssuer
from scheduler.identity.provider import Client, Provider
from scheduler.identity.sealed import Sealer, sealer
from scheduler.identity.settings import (
    CARD,
    DEVELOPMENT,
    IdentityFile,
    Issuer,
    Secret,
    is_loopback,
    read_identity_file,
)

log = structlog.get_logger()

CALLBACK = "/auth/callback"
_DEVELOPMENT_RULES = ClaimRules(
    user=ClaimRule("preferred_username"),
    sector=ClaimRule("sector"),
    institution=ClaimRule("institution"),
    speaks_for=frozenset(),
)


@dataclass(frozen=True)
class Desk:
    """Where people sign in. `public_url` is the hub's as browsers see it; "" is no sign-in."""

    file: IdentityFile = field(default_factory=IdentityFile)
    public_url: str = ""
    sealer: Sealer = field(default_factory=lambda: Sealer(secrets.token_bytes(32)))
    providers: Mapping[str, Provider] = field(default_factory=dict)
    development: DevelopmentIssuer | None = None
    card_secret: str | None = None

    @cached_property
    def origin(self) -> str:
        """Return scheme, host and port of `public_url`, as a browser's `Origin` has them."""
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}" if self.public_url else ""

    @property
    def doors(self) -> tuple[tuple[str, str], ...]:
        """Return the name and title of every way to sign in, in the file's order."""
        found = [(name, each.client.title) for name, each in self.providers.items()]
        if self.file.card is not None:
            found.append((CARD, self.file.card.title))
        return tuple(found)

    @property
    def issuers(self) -> Mapping[str, str]:
        """Return the name of every way to sign in by its issuer's URL; the card's is its name."""
        found = {each.client.issuer: name for name, each in self.providers.items()}
        return found if self.file.card is None else {**found, CARD: CARD}

    async def origin_of(self, issuer: str) -> str | None:
        """Return where an issuer's sign-in page is, scheme and host; None while it is away."""
        if issuer == CARD and self.file.card is not None:
            parts = urlsplit(self.file.card.url)
            return f"{parts.scheme}://{parts.netloc}"
        return await self.providers[issuer].origin()

    def may_link(self, issuer: str) -> bool:
        """Return whether people may have an identity of this issuer beside another's."""
        return self.file.linking is not None and issuer in self.file.linking.issuers

    def rules(self, issuer: str, policy: Policy) -> ClaimRules:
        """Return how an issuer's claims are read.

        Raises:
            KeyError: there is no such issuer.
        """
        if issuer == DEVELOPMENT and self.development is not None:
            top = root(policy)
            return replace(_DEVELOPMENT_RULES, speaks_for=frozenset({top} if top else ()))
        if issuer == CARD and self.file.card is not None:
            return self.file.card.rules()
        return {each.name: each.rules() for each in self.file.issuers}[issuer]


def build_desk(settings: HubSettings, clock: Clock) -> Desk:
    """Put the desk together as the settings say.

    Raises:
        Refused: the identity file is wrong, a secret is missing, the development issuer
            would be reachable by others.
    """
    file = IdentityFile() if settings.identity is None else read_identity_file(settings.identity)
    public = settings.public_url.rstrip("/")
    if not (file.issuers or file.card or settings.development_issuer):
        return Desk(file=file, public_url=public)
    _check_public(public, settings)
    providers = {each.name: Provider(_client(each, public), clock) for each in file.issuers}
    development = None
    if settings.development_issuer:
        development = _development(settings, file, public)
        providers[DEVELOPMENT] = development_provider(development, public, clock)
    card = None if file.card is None else _secret("card.proxy_secret", file.card.proxy_secret)
    return Desk(file, public, sealer(settings.data), providers, development, card)


def development_provider(issuer: DevelopmentIssuer, public: str, clock: Clock) -> Provider:
    """Return the development issuer as a provider; it is spoken to without a network."""
    client = Client(
        name=DEVELOPMENT,
        title="Development sign-in",
        issuer=issuer.url,
        client_id=CLIENT_ID,
        client_secret=None,
        scopes=("openid", "profile"),
        redirect_uri=public + CALLBACK,
    )
    return Provider(client, clock, _Inside(issuer, clock))


def _development(settings: HubSettings, file: IdentityFile, public: str) -> DevelopmentIssuer:
    if not (is_loopback(f"http://{_bracketed(settings.host)}") and is_loopback(public)):
        raise _refused(
            "the development issuer lets anybody be anybody, and this hub can be reached from "
            f"other machines (it listens on {settings.host}, and is {public} to browsers)",
            "listen on 127.0.0.1, or name real issuers in COMMONPOOL_IDENTITY instead",
        )
    if (file.issuers or file.card) and not file.development_beside_others:
        raise _refused(
            "the development issuer lets anybody be anybody, and other issuers are configured",
            "leave it out, or say development_beside_others: true in the identity file",
        )
    log.warning(
        "development_issuer_is_on", url=public, meaning="whoever reaches this hub may be anybody"
    )
    return DevelopmentIssuer(f"{public}/auth/development", public + CALLBACK)


def _check_public(public: str, settings: HubSettings) -> None:
    parts = urlsplit(public)
    if not parts.hostname or parts.path or (parts.scheme != "https" and not is_loopback(public)):
        raise _refused(
            f"COMMONPOOL_PUBLIC_URL is {settings.public_url or 'not set'}: browsers come back to "
            "it from an issuer, so it must be https://HOST, or http://127.0.0.1:PORT here",
            "set it to the address of the portal",
        )


def _client(issuer: Issuer, public: str) -> Client:
    secret = issuer.client_secret
    return Client(
        name=issuer.name,
        title=issuer.title,
        issuer=issuer.issuer,
        client_id=issuer.client_id,
        client_secret=None
        if secret is None
        else _secret(f"issuers.{issuer.name}.client_secret", secret),
        scopes=issuer.scopes,
        redirect_uri=public + CALLBACK,
        audiences=issuer.audiences,
        acr_values=issuer.acr_values,
    )


def _secret(where: str, secret: Secret) -> str:
    try:
        return secret.read()
    except ValueError as error:
        raise _refused(f"{where}: {error}", "put the secret there") from error


def _refused(detail: str, next_step: str) -> Refused:
    return Refused("Sign-in cannot start", detail, field="identity", next_step=next_step)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Inside(httpx.AsyncBaseTransport):
    """Answers for the development issuer what a network would bring."""

    def __init__(self, issuer: DevelopmentIssuer, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = str(request.url).removeprefix(self._issuer.url)
        match path:
            case "/.well-known/openid-configuration":
                return httpx.Response(200, json=self._issuer.description())
            case "/keys":
                return httpx.Response(200, json=self._issuer.keys())
            case "/token":
                form = dict(parse_qsl((await request.aread()).decode()))
                found = self._issuer.token(form, self._clock.now())
                if found is None:
                    return httpx.Response(400, json={"error": "invalid_grant"})
                return httpx.Response(200, json=found)
            case _:
                return httpx.Response(404, json={"error": "not_found"})
