"""Signing in and out: the banner, the way to an issuer and back, the end.

A browser's `/auth/start` shows the notice and the issuers; choosing one leaves for it with a
state, a nonce and a PKCE verifier that a short-lived cookie of this browser holds. Only the
browser that left can come back with them.
"""

import hashlib
import hmac
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scheduler.api import pages
from scheduler.api.arrivals import CHOICE_COOKIE, arrive, begun_elsewhere, chosen
from scheduler.api.audited import BROWSER
from scheduler.api.cookies import (
    COOKIE,
    check_origin,
    csrf_of,
    drop_cookie,
    is_csrf,
    session_cookie,
)
from scheduler.api.deps import HubState, alive_session, hub_of
from scheduler.api.forms import form_of, own_path, told
from scheduler.api.leaving import SIGN_IN_COOKIE, arrival, left_with, new_leaving, send_away
from scheduler.api.linking import LINK, finish
from scheduler.core.audit import Entry, Who
from scheduler.db import audit
from scheduler.db.sessions import revoke_session
from scheduler.identity.desk import CALLBACK
from scheduler.identity.provider import Strength
from scheduler.identity.settings import DEVELOPMENT

router = APIRouter(include_in_schema=False)
AGAIN = "again"
"""Of an address or a form: sign in anew, though there is a session."""


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
    asked = _strength(hub, again=AGAIN in form)
    return await send_away(hub, issuer, new_leaving(), asked, {"then": then})


@router.get(CALLBACK)
@told
async def callback(request: Request) -> Response:
    """Take what an issuer sent back with the browser that left for it."""
    value = left_with(request)
    if LINK in value:
        response = await finish(request, value)
    else:
        hub = hub_of(request)
        response = await arrive(request, await arrival(hub, value, request.query_params))
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


def _strength(hub: HubState, *, again: bool) -> Strength | None:
    """Return what the provider is asked for: where something asks how old a sign-in is, its time.

    Somebody who comes to sign in again is not let through by a session that the provider keeps.
    """
    file = hub.desk.file
    if not file.asks_age:
        return None
    lasting = int(file.sessions.absolute.total_seconds())
    words = "" if file.step_up is None or not again else " ".join(sorted(file.step_up.assurance))
    # Also where only a stronger sign-in is asked for: `acr_values` alone is a wish (OpenID Connect
    # Core 1.0 §3.1.2.1), and a provider that still knows somebody lets them pass as weak as before.
    return Strength(0 if again else lasting, words)


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


def _mark(hub: HubState) -> str:
    """Return what stands for the present notice: agreeing to another one does not count."""
    return hashlib.sha256(hub.desk.file.banner.encode()).hexdigest()[:16]
