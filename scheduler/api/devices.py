"""Signing in a command line, by a browser beside it: the device flow of RFC 8628.

What comes out is a personal token of the person who agreed, for what the command line asked.
Forms in, JSON out, errors in OAuth's words, since the standard's clients expect them.
"""

import re
from http import HTTPStatus
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from scheduler.api import pages
from scheduler.api.audited import BROWSER, token_made
from scheduler.api.cookies import check_origin, csrf_of, is_csrf, session_cookie
from scheduler.api.deps import alive_session, hub_of
from scheduler.api.forms import form_of, told
from scheduler.core.audit import Who
from scheduler.db import audit, devices
from scheduler.db.devices import Standing
from scheduler.db.personal_tokens import MadeBy, issue_personal
from scheduler.db.sessions import is_revoked
from scheduler.errors import Refused
from scheduler.wire.identity import DeviceAsked, DeviceToken, PersonalTokenRequest, Power

router = APIRouter(include_in_schema=False)
CLIENT_ID = "commonpool-cli"
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
TOKEN_DAYS = 30
_WORDS = {
    Power.READ: "reading",
    Power.JOBS: "submitting and ending your jobs",
    Power.MANAGE: "all that your roles allow",
}
_SHOWN = re.compile(r"[^ -~]")


@router.post("/auth/device")
async def ask(request: Request) -> Response:
    """Take a command line's question, and say where its owner is to answer it."""
    hub = hub_of(request)
    form = await form_of(request)
    if form.get("client_id") != CLIENT_ID:
        return _error("invalid_client", f"client_id is {CLIENT_ID}")
    if not hub.desk.doors:
        return _error("unauthorized_client", "nobody can sign in at this hub: it has no issuer")
    powers = _powers(form.get("scope", ""))
    if powers is None:
        return _error("invalid_scope", f"scope is one or more of {', '.join(Power)}")
    client = _SHOWN.sub("?", form.get("client_name", ""))[:100] or "a command line"
    async with hub.db.transaction() as conn:
        codes = await devices.ask(conn, client, powers, hub.clock.now())
    if codes is None:
        return _error("temporarily_unavailable", "too many are signing in", status=503)
    address = f"{hub.desk.public_url}/auth/device"
    asked = DeviceAsked(
        device_code=codes[0],
        user_code=codes[1],
        verification_uri=address,
        verification_uri_complete=f"{address}?user_code={codes[1]}",
        expires_in=int(devices.LASTS.total_seconds()),
        interval=int(devices.INTERVAL.total_seconds()),
    )
    return JSONResponse(asked.model_dump(), headers=_NO_STORE)


@router.get("/auth/device")
@told
async def show(request: Request) -> Response:
    """Ask whoever is signed in whether a command line may work as them."""
    hub = hub_of(request)
    code = _tidy(request.query_params.get("user_code", ""))
    secret, session = session_cookie(request), await alive_session(request)
    if secret is None or session is None:
        wanted = f"/auth/device?user_code={quote(code)}" if code else "/auth/device"
        return RedirectResponse(f"/auth/start?next={quote(wanted, safe='/')}", status_code=303)
    async with hub.db.reading() as conn:
        found = await devices.find_question(conn, code, hub.clock.now()) if code else None
    if found is None:
        note = f"No command line waits with the code {code}." if code else ""
        return pages.page("device", "Sign in a command line", code="", note=note)
    return pages.page(
        "device",
        "Let a command line work as you?",
        note="",
        code=found.user_code,
        client=found.client,
        user=session.user,
        powers=" and ".join(_WORDS[power] for power in found.powers),
        until=f"{TOKEN_DAYS} days from now",
        csrf=csrf_of(secret),
    )


@router.post("/auth/device/answer")
@told
async def answer(request: Request) -> Response:
    """Take the answer of whoever is signed in."""
    hub = hub_of(request)
    check_origin(request, hub.desk)
    form, secret = await form_of(request), session_cookie(request)
    session = await alive_session(request)
    if secret is None or session is None or not is_csrf(secret, form.get("csrf", "")):
        raise _signed_out()
    agreed = form.get("answer") == "approved"
    code, now = _tidy(form.get("user_code", "")), hub.clock.now()
    made_by = MadeBy(session.institution, session.iss)
    async with hub.db.transaction() as conn:
        if await is_revoked(conn, session.id):  # by another replica, a moment ago
            raise _signed_out()
        stored = await devices.answer(conn, code, (session.user, made_by), now, agreed=agreed)
    if not stored:
        raise Refused(
            title="Too late",
            detail=f"No command line waits with the code {code} any more.",
            status=404,
            next_step="Begin again there: commonpool login.",
        )
    done = "The command line works as you now." if agreed else "The command line was refused."
    return pages.page(
        "message",
        "Done" if agreed else "Refused",
        detail=done,
        next_step="You can close this window.",
        link="/",
        link_text="To the portal",
    )


@router.post("/auth/token")
async def token(request: Request) -> Response:
    """Answer a command line that asks whether somebody has agreed; a token is given once."""
    hub = hub_of(request)
    form = await form_of(request)
    if form.get("grant_type") != GRANT:
        return _error("unsupported_grant_type", f"grant_type is {GRANT}")
    if form.get("client_id") != CLIENT_ID:
        return _error("invalid_client", f"client_id is {CLIENT_ID}")
    now = hub.clock.now()
    async with hub.db.transaction() as conn:
        standing, found = await devices.poll(conn, form.get("device_code", ""), now)
        if standing is not Standing.APPROVED or found is None or found.user is None:
            issued = None
        else:
            asked = PersonalTokenRequest(
                name=f"commonpool login: {found.client}"[:100],
                powers=found.powers,
                expires_in_days=TOKEN_DAYS,
            )
            issued = await issue_personal(conn, found.user, asked, now, found.made_by)
            by = Who(found.user, BROWSER)
            await audit.record(conn, [token_made(issued, by, now)])
    if issued is None:
        return _error(standing.value, "see RFC 8628, section 3.5")
    given = DeviceToken(
        access_token=issued.token,
        expires_in=int((issued.expires_at - now).total_seconds()),
        scope=" ".join(issued.powers),
        user=issued.user,
    )
    return JSONResponse(given.model_dump(), headers=_NO_STORE)


_NO_STORE = {"Cache-Control": "no-store"}


def _signed_out() -> Refused:
    return Refused(
        title="Not signed in",
        detail="Your session has ended meanwhile.",
        status=401,
        next_step="Open the address that the command line shows once more.",
    )


def _powers(scope: str) -> tuple[Power, ...] | None:
    asked = scope.split() or [Power.JOBS.value]
    if not set(asked) <= set(Power):
        return None
    return tuple(power for power in Power if power.value in asked)


def _tidy(code: str) -> str:
    """Return a code as it is stored, however it was typed: `abcd efgh` is `ABCD-EFGH`."""
    letters = re.sub(r"[^A-Z]", "", code.upper())[:8]
    return f"{letters[:4]}-{letters[4:]}" if letters else ""


def _error(error: str, said: str, status: int = HTTPStatus.BAD_REQUEST) -> Response:
    body = {"error": error, "error_description": said}
    return JSONResponse(body, status_code=status, headers=_NO_STORE)
