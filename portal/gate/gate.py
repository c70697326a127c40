"""The gate in front of the pages: nobody gets in without a session that the hub knows.

Streamlit gives a live session to any client that knows its id, unless it can tell people
apart. So the gate says who comes, in headers of its own that `server.trustedUserHeaders`
turns into `st.user`, drops such headers where a client sent them, and closes everything else
to the anonymous: pages, sockets, files, metrics.

Source: notes/portal.md §2.3, where each of these holes was found open without it.
"""

import hashlib
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

import httpx
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from portal.pages import AWAY
from scheduler.clock import Clock
from scheduler.wire.identity import Session
from scheduler.wire.replies import reply_of

COOKIE = "__Host-cp_session"
KEEP_SECONDS = 10.0
"""For so long a session is let in unasked; the pages ask the hub at each click anyway."""
KEEP_WHILE_AWAY_SECONDS = 600.0
"""For so long one that was known is let in while the hub is away: it shows what it had."""
MAX_KEPT = 10_000
PUBLIC = ("/static/", "/favicon.png", "/livez", "/_stcore/health", "/_stcore/host-config")
# What no browser opens by its address: to these a redirect would be an answer of nonsense.
MACHINERY = ("/_stcore", "/media", "/component", "/bidi-components", "/live/")
_OURS = b"x-cp-"
_UNAUTHORIZED = 401
_ANSWER = httpx.Timeout(5, connect=2)


class Sessions:
    """Asks the hub who a session is, and keeps the answer for a moment."""

    def __init__(self, hub: httpx.AsyncClient, clock: Clock) -> None:
        """Ask over `hub`, a client of its base address."""
        self._hub = hub
        self._clock = clock
        self._kept: dict[str, tuple[float, Session | None]] = {}

    async def who(self, secret: str) -> Session | None:
        """Return whose session it is; None where it is nobody's.

        Raises:
            httpx.TransportError: the hub is away, and it was not asked lately.
        """
        key, now = hashlib.sha256(secret.encode()).hexdigest(), self._clock.monotonic()
        at, known = self._kept.get(key, (-KEEP_WHILE_AWAY_SECONDS, None))
        if now - at < KEEP_SECONDS:
            return known
        try:
            found = await self._ask(secret)
        except (httpx.TransportError, ValidationError):
            if known is not None and now - at < KEEP_WHILE_AWAY_SECONDS:
                return known
            raise
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[key] = (now, found)
        return found

    async def _ask(self, secret: str) -> Session | None:
        # Looking is no act of the person: it must not keep the session alive.
        headers = {"Authorization": f"Bearer {secret}", "X-CP-Passive": "1"}
        answer = await self._hub.get("/v1/session", headers=headers, timeout=_ANSWER)
        if answer.status_code == _UNAUTHORIZED:
            return None
        if not answer.is_success:
            raise httpx.TransportError(f"the hub answered {answer.status_code}")
        return reply_of(Session, answer.content)


class Gate:
    """ASGI middleware. `sessions` None lets everybody in: one person's portal on loopback."""

    def __init__(self, app: ASGIApp, sessions: Sessions | None) -> None:
        """Stand in front of `app`."""
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in who is known, with the headers that say who it is."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        sent = [(name, value) for name, value in scope["headers"] if not name.startswith(_OURS)]
        try:
            session = await self._who(Headers(raw=sent))
        except (httpx.TransportError, ValidationError):
            session = None
            if not scope["path"].startswith(PUBLIC):
                await _turn_away(scope, receive, send, HTMLResponse(AWAY, 503))
                return
        if session is not None:
            sent += [(b"x-cp-sub", session.user.encode()), (b"x-cp-session", _id(session))]
        inside = {**scope, "headers": sent}
        if session is not None or self._sessions is None or scope["path"].startswith(PUBLIC):
            await self._app(inside, receive, send)
        else:
            await _turn_away(scope, receive, send, _to_the_door(scope))

    async def _who(self, headers: Mapping[str, str]) -> Session | None:
        secret = session_secret(headers.get("cookie", ""))
        if self._sessions is None or secret is None:
            return None
        return await self._sessions.who(secret)


def session_secret(cookies: str) -> str | None:
    """Return the session in a Cookie header; None where there is none."""
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    return found.value if found is not None and found.value.startswith("cp_session_") else None


async def _turn_away(scope: Scope, receive: Receive, send: Send, answer: Response) -> None:
    if scope["type"] == "websocket":
        # A handshake that is refused before it is accepted is a 403 to the client.
        await receive()
        await send({"type": "websocket.close", "code": 4401})
        return
    await answer(scope, receive, send)


def _to_the_door(scope: Scope) -> Response:
    path: str = scope["path"]
    if path.startswith(MACHINERY) or scope["method"] not in {"GET", "HEAD"}:
        return PlainTextResponse("Sign in first.\n", _UNAUTHORIZED)
    query = scope["query_string"].decode("latin-1")
    wanted = quote(f"{path}?{query}" if query else path, safe="/")
    return RedirectResponse(f"/auth/start?next={wanted}", 303)


def _id(session: Session) -> bytes:
    return (session.id or "").encode()
