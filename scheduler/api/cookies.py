"""The session's cookie, and when it is believed: a page of ours must have sent it.

`__Host-` binds it to this host, to `/` and to TLS (browsers count loopback as such). A request
that changes something must also come from our own origin and carry a header that another
page cannot set, `X-CSRF-Token`; a bearer token needs neither, since no browser adds it by itself.
"""

import hashlib
import hmac

from starlette.requests import HTTPConnection
from starlette.responses import Response

from scheduler.errors import Refused
from scheduler.identity.desk import Desk

COOKIE = "__Host-cp_session"
CSRF_HEADER = "x-csrf-token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def session_cookie(conn: HTTPConnection) -> str | None:
    """Return the session that the browser sent; None without one."""
    return conn.cookies.get(COOKIE) or None


def set_cookie(response: Response, name: str, value: str, seconds: int | None = None) -> None:
    """Set a cookie of this host that no script reads; without `seconds`, until the browser ends."""
    response.set_cookie(
        name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax"
    )


def drop_cookie(response: Response, name: str) -> None:
    """Take a cookie away."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")


def csrf_of(secret: str) -> str:
    """Return the word that goes with a session in `X-CSRF-Token` or a form's `csrf`."""
    return hashlib.sha256(f"csrf\n{secret}".encode()).hexdigest()[:32]


def check_same_origin(conn: HTTPConnection, desk: Desk, secret: str) -> None:
    """Refuse a cookie that a foreign page, or a form without our word, brings along.

    Raises:
        Refused: 403.
    """
    socket = conn.scope["type"] == "websocket"
    if not socket and conn.scope["method"] in _SAFE:
        return
    check_origin(conn, desk)
    if not socket and not is_csrf(secret, conn.headers.get(CSRF_HEADER, "")):
        raise _foreign("the header X-CSRF-Token is missing or wrong", "X-CSRF-Token")


def check_origin(conn: HTTPConnection, desk: Desk) -> None:
    """Refuse what a browser says comes from another page.

    Raises:
        Refused: 403.
    """
    origin = conn.headers.get("origin", "")
    if not desk.origin or origin != desk.origin:
        raise _foreign(f"it comes from {origin or 'no page'}", "Origin", desk.origin)


def is_csrf(secret: str, given: str) -> bool:
    """Return whether a request carries the session's own word."""
    return hmac.compare_digest(csrf_of(secret).encode(), given.encode("utf-8", "replace"))


def _foreign(why: str, field: str, limit: str | None = None) -> Refused:
    return Refused(
        title="Not from this site",
        detail=f"A session's cookie is taken from this site's own pages only: {why}.",
        status=403,
        field=field,
        limit=limit or None,
        next_step="Use the page itself, or a token in the Authorization header.",
    )
