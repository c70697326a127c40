"""Signing in and out: the banner, the way to an issuer and back, the end.

A browser's `/auth/start` shows the notice and the issuers; choosing one leaves for it with a
state, a nonce and a PKCE verifier that a short-lived cookie of this browser holds. Only the
browser that left can come back with them.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scheduler.api import pages
from scheduler.api.arrivals import CHOICE_COOKIE, Arrival, arrive, begun_elsewhere, chosen
from scheduler.api.audited import BROWSER
from scheduler.api.cards import card_claims
from scheduler.api.cookies import (
    COOKIE,
    check_origin,
    csrf_of,
    drop_cookie,
    is_csrf,
    session_cookie,
    set_cookie,
)
from scheduler.api.deps import HubState, hub_of, idle_limit
from scheduler.api.forms import form_of, own_path, told
from scheduler.core.audit import Entry, Who
from scheduler.db import audit
from scheduler.db.identities import Subject
from scheduler.db.sessions import SessionRow, revoke_session
from scheduler.errors import Refused
from scheduler.identity.desk import CALLBACK
from scheduler.identity.provider import Leaving, Strength
from scheduler.identity.settings import CARD, DEVELOPMENT

router = APIRouter(include_in_schema=False)
AGAIN = "again"
"""Of an address or a form: sign in anew, though there is a session."""
SIGN_IN_COOKIE = "__Host-cp_sign_in"
_AWAY_LASTS = timedelta(minutes=10)


@router.get("/auth/start")
@told
async def start(request: Request) -> Response:
    """Show the notice and the issuers; whoever is signed in goes on to where they wanted."""
    desk = hub_of(request).desk
    then = own_path(request.query_params.get("next"))
    elsewhere = desk.origin and request.headers.get("host") != urlsplit(desk.origin).netloc
    if elsewhere and "here" not in request.query_params:
        # Cookies are of one host: 127.0.0.1 and localhost are two. Once only: a proxy that
        # changes the Host would lead in a circle.
        query = urlencode({"next": then, "here": "1"})
        return RedirectResponse(f"{desk.origin}/auth/start?{query}", status_code=303)
    again = AGAIN in request.query_params
    if await alive_session(request) is not None and not again:
        return RedirectResponse(then, status_code=303)
    return await _door(request, then, again=again)


@router.post("/auth/start")
@told
async def leave(request: Request) -> Response:
    """Send the browser to the issuer that was chosen, once the notice was agreed to."""
    hub = hub_of(request)
    check_origin(request, hub.desk)
    form = await form_of(request)
    then, issuer = own_path(form.get("next")), form.get("issuer", "")
    if not hmac.compare_digest(form.get("agreed", "").encode(), _mark(hub).encode()):
        note = "Please read the notice and agree to it first."
        return await _door(request, then, note, again=AGAIN in form)
    if issuer not in dict(hub.desk.doors):
        raise _unknown_issuer(hub, issuer)
    # Hexadecimal, which every provider takes; 256 bits each.
    leaving = Leaving(*(secrets.token_hex(32) for _ in range(3)))
    if issuer == CARD and hub.desk.file.card is not None:
        address = f"{hub.desk.file.card.url}?{urlencode({'state': leaving.state})}"
    else:
        asked = _strength(hub, again=AGAIN in form)
        address = await hub.desk.providers[issuer].address(leaving, asked)
    value = {"issuer": issuer, "then": then} | {
        name: getattr(leaving, name) for name in Leaving.__slots__
    }
    response = RedirectResponse(address, status_code=303)
    sealed = hub.desk.sealer.seal("sign-in", value, hub.clock.now(), _AWAY_LASTS)
    set_cookie(response, SIGN_IN_COOKIE, sealed, int(_AWAY_LASTS.total_seconds()))
    return response


@router.get(CALLBACK)
@told
async def callback(request: Request) -> Response:
    """Take what an issuer sent back with the browser that left for it."""
    hub, query = hub_of(request), request.query_params
    sealed = request.cookies.get(SIGN_IN_COOKIE, "")
    value = hub.desk.sealer.open("sign-in", sealed, hub.clock.now())
    if value is None or not hmac.compare_digest(
        str(value["state"]).encode(), query.get("state", "").encode()
    ):
        raise begun_elsewhere()
    if "error" in query:
        raise _declined(query["error"])
    arrival = await _arrival(hub, value, query)
    response = await arrive(request, arrival)
    drop_cookie(response, SIGN_IN_COOKIE)
    return response


@router.post("/auth/institution")
@told
async def institution(request: Request) -> Response:
    """Take the answer of somebody who belongs to two institutions."""
    check_origin(request, hub_of(request).desk)
    form = await form_of(request)
    sealed = request.cookies.get(CHOICE_COOKIE, "")
    return await chosen(request, sealed, form.get("institution", ""))


@router.get("/auth/sign-out")
@told
async def ask_to_sign_out(request: Request) -> Response:
    """Ask whether to sign out."""
    secret, row = session_cookie(request), await alive_session(request)
    if secret is None or row is None:
        return RedirectResponse("/auth/signed-out", status_code=303)
    return pages.page("sign_out", "Sign out", user=row.user, csrf=csrf_of(secret))


@router.post("/auth/sign-out")
@told
async def sign_out(request: Request) -> Response:
    """End the session that the form was drawn for."""
    hub = hub_of(request)
    check_origin(request, hub.desk)
    secret, form = session_cookie(request), await form_of(request)
    if secret is not None and not is_csrf(secret, form.get("csrf", "")):
        raise begun_elsewhere()
    row = None if secret is None else await hub.callers.session(secret)
    if row is not None:
        async with hub.db.transaction() as conn:
            now = hub.clock.now()
            if await revoke_session(conn, row.id, None, row.user, now):
                by = Who(row.user, BROWSER, row.id)
                await audit.record(conn, [Entry(now, by, "session.end", f"session:{row.id}")])
        hub.callers.forget_all()
    return RedirectResponse("/auth/signed-out", status_code=303)


@router.get("/auth/signed-out")
@told
async def signed_out(request: Request) -> Response:
    """Say that nobody is signed in here; a session that is alive is not ended by a link."""
    if await alive_session(request) is not None:
        return RedirectResponse("/auth/sign-out", status_code=303)
    response = pages.page(
        "message",
        "You are signed out",
        detail="Your session in this browser has ended. Jobs that run or wait are not affected.",
        next_step="On a shared machine, close the browser: your organisation may still know you.",
        link="/auth/start",
        link_text="Sign in again",
    )
    drop_cookie(response, COOKIE)
    return response


async def alive_session(request: Request) -> SessionRow | None:
    """Return the session of the browser, if it may still be used."""
    hub, secret = hub_of(request), session_cookie(request)
    row = None if secret is None else await hub.callers.session(secret)
    if row is None:
        return None
    idle = idle_limit(hub, await hub.policy(), row)
    return row if row.alive(idle, hub.clock.now()) else None


def _strength(hub: HubState, *, again: bool) -> Strength | None:
    """Return what the provider is asked for: where decisions ask how old a sign-in is, its time.

    Somebody who comes to sign in again is not let through by a session that the provider keeps.
    """
    step_up = hub.desk.file.step_up
    if step_up is None:
        return None
    lasting = int(hub.desk.file.sessions.absolute.total_seconds())
    words = " ".join(sorted(step_up.assurance)) if again else ""
    return Strength(0 if again and step_up.within is not None else lasting, words)


async def _door(request: Request, then: str, note: str = "", *, again: bool = False) -> Response:
    desk = hub_of(request).desk
    origins = {name: await provider.origin() for name, provider in desk.providers.items()}
    doors = [(name, title, origins.get(name, "card") is None) for name, title in desk.doors]
    targets = {origin for origin in origins.values() if origin and origin != desk.origin}
    if desk.file.card is not None:
        parts = urlsplit(desk.file.card.url)
        targets.add(f"{parts.scheme}://{parts.netloc}")
    return pages.page(
        "sign_in",
        "Sign in",
        status=400 if note else 200,
        form_to=tuple(sorted(targets)),
        note=note,
        development=DEVELOPMENT in desk.providers,
        doors=doors,
        next=then,
        again=again,
        banner=desk.file.banner.strip(),
        banner_mark=_mark(hub_of(request)),
    )


async def _arrival(hub: HubState, value: Mapping[str, object], query: Mapping[str, str]) -> Arrival:
    issuer, now = str(value["issuer"]), hub.clock.now()
    if issuer == CARD:
        claims = card_claims(hub, query.get("ticket", ""), str(value["state"]))
        subject = Subject(CARD, str(claims["edipi"]), CARD)
        return Arrival(subject, claims, "card", now, str(value["then"]))
    provider = hub.desk.providers.get(issuer)
    if provider is None:
        raise _unknown_issuer(hub, issuer)
    # RFC 9207: an issuer that says who it is must be the one that was left for.
    if query.get("iss", provider.client.issuer) != provider.client.issuer:
        raise _unknown_issuer(hub, query["iss"])
    leaving = Leaving(*(str(value[name]) for name in Leaving.__slots__))
    claims = await provider.claims(query.get("code", ""), leaving)
    subject = Subject(provider.client.issuer, str(claims["sub"]), issuer)
    at = claims.get("auth_time")
    # Without its word the sign-in may be of any age: as old as a session can be, for decisions.
    unsaid = now if hub.desk.file.step_up is None else now - hub.desk.file.sessions.absolute
    auth_time = datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else unsaid
    return Arrival(subject, claims, _assurance(claims), auth_time, str(value["then"]))


def _assurance(claims: Mapping[str, object]) -> str:
    """Return how somebody was recognised, as the issuer says it: acr and amr."""
    amr = claims.get("amr")
    methods = [str(each) for each in amr] if isinstance(amr, list) else []
    return " ".join(filter(None, [str(claims.get("acr") or ""), *methods]))


def _mark(hub: HubState) -> str:
    """Return what stands for the present notice: agreeing to another one does not count."""
    return hashlib.sha256(hub.desk.file.banner.encode()).hexdigest()[:16]


def _unknown_issuer(hub: HubState, issuer: str) -> Refused:
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
