"""The way to an issuer and back: what a browser leaves with, and what it must come back with.

A state, a nonce and a PKCE verifier are sealed into a short-lived cookie of the browser that
leaves, with what it left for. Only that browser can come back with them.
"""

import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scheduler.api.arrivals import Arrival, begun_elsewhere
from scheduler.api.cards import card_claims
from scheduler.api.cookies import set_cookie
from scheduler.api.deps import HubState, hub_of
from scheduler.db.identities import Subject
from scheduler.errors import Refused
from scheduler.identity.provider import Leaving, Strength
from scheduler.identity.settings import CARD

SIGN_IN_COOKIE = "__Host-cp_sign_in"
AWAY_LASTS = timedelta(minutes=10)


def new_leaving() -> Leaving:
    """Return a state, a nonce and a verifier: hexadecimal, which every provider takes."""
    return Leaving(*(secrets.token_hex(32) for _ in range(3)))


async def send_away(
    hub: HubState,
    issuer: str,
    leaving: Leaving,
    asked: Strength | None,
    wanted: Mapping[str, str],
) -> Response:
    """Send a browser to an issuer; it keeps what it left for, `wanted`.

    Raises:
        Refused: 403, there is no such issuer; 502, it does not answer.
    """
    if issuer not in dict(hub.desk.doors):
        raise unknown_issuer(hub, issuer)
    if issuer == CARD and hub.desk.file.card is not None:
        address = f"{hub.desk.file.card.url}?{urlencode({'state': leaving.state})}"
    else:
        address = await hub.desk.providers[issuer].address(leaving, asked)
    value = {"issuer": issuer, **wanted} | {
        name: getattr(leaving, name) for name in Leaving.__slots__
    }
    response = RedirectResponse(address, status_code=303)
    sealed = hub.desk.sealer.seal("sign-in", value, hub.clock.now(), AWAY_LASTS)
    set_cookie(response, SIGN_IN_COOKIE, sealed, int(AWAY_LASTS.total_seconds()))
    return response


def left_with(request: Request) -> Mapping[str, object]:
    """Return what the browser that comes back left with.

    Raises:
        Refused: 400, it left with something else, or never; 401, the issuer refused it.
    """
    hub, query = hub_of(request), request.query_params
    sealed = request.cookies.get(SIGN_IN_COOKIE, "")
    value = hub.desk.sealer.open("sign-in", sealed, hub.clock.now())
    if value is None or not hmac.compare_digest(
        str(value["state"]).encode(), query.get("state", "").encode()
    ):
        raise begun_elsewhere()
    if "error" in query:
        raise _declined(query["error"])
    return value


async def arrival(hub: HubState, value: Mapping[str, object], query: Mapping[str, str]) -> Arrival:
    """Return who an issuer says came back, checked.

    Raises:
        Refused: what came back does not hold, or the issuer does not answer.
    """
    issuer, now = str(value["issuer"]), hub.clock.now()
    if issuer == CARD:
        claims = card_claims(hub, query.get("ticket", ""), str(value["state"]))
        subject = Subject(CARD, str(claims["edipi"]), CARD)
        return Arrival(subject, claims, "card", now, str(value["then"]))
    provider = hub.desk.providers.get(issuer)
    if provider is None:
        raise unknown_issuer(hub, issuer)
    # RFC 9207: an issuer that says who it is must be the one that was left for.
    if query.get("iss", provider.client.issuer) != provider.client.issuer:
        raise unknown_issuer(hub, query["iss"])
    leaving = Leaving(*(str(value[name]) for name in Leaving.__slots__))
    claims = await provider.claims(query.get("code", ""), leaving)
    subject = Subject(provider.client.issuer, str(claims["sub"]), issuer)
    at = claims.get("auth_time")
    # Without its word the sign-in may be of any age: as old as a session can be, for decisions.
    unsaid = now if not hub.desk.file.asks_age else now - hub.desk.file.sessions.absolute
    auth_time = datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else unsaid
    return Arrival(subject, claims, _assurance(claims), auth_time, str(value["then"]))


def _assurance(claims: Mapping[str, object]) -> str:
    """Return how somebody was recognised, as the issuer says it: acr and amr."""
    amr = claims.get("amr")
    methods = [str(each) for each in amr] if isinstance(amr, list) else []
    return " ".join(filter(None, [str(claims.get("acr") or ""), *methods]))


def unknown_issuer(hub: HubState, issuer: str) -> Refused:
    """Return the refusal of an issuer that the identity file does not name."""
    known = ", ".join(title for _, title in hub.desk.doors) or "none"
    return Refused(
        title="Unknown issuer",
        detail=f"This hub does not take sign-ins from '{issuer[:100]}'.",
        status=403,
        field="issuer",
        limit=known,
        next_step=f"Known are: {known}.",
    )


def _declined(error: str) -> Refused:
    said = "it was cancelled" if error == "access_denied" else f"'{error[:60]}'"
    return Refused(
        title="Not signed in",
        detail=f"Your organisation did not sign you in: {said}.",
        status=401,
        next_step="Begin again, or tell your organisation's help desk.",
    )
