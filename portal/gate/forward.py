"""One origin: what belongs to the hub is passed on to it, so that a browser needs one address.

The hub's API and its sign-in pages are under the portal's own address, where its cookies are.
Bodies are streamed both ways, so a long log or a stream of events is not held back. Sockets are
not passed on: pages need none of the hub's.
"""

from collections.abc import AsyncIterator

import httpx
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from portal.pages import AWAY

PREFIXES = ("/auth/", "/v1/", "/api/")
_PASSIVE = b"x-cp-passive"
# Of one connection, not of the message (RFC 9110 §7.6.1); the rest is the other side's business.
_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class Forward:
    """ASGI middleware that passes HTTP under `PREFIXES` on to the hub."""

    def __init__(self, app: ASGIApp, hub: httpx.AsyncClient) -> None:
        """Stand in front of `app`; `hub` is a client of the hub's base address."""
        self._app = app
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or let it through to the pages."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIXES):
            await self._app(scope, receive, send)
            return
        url = httpx.URL(self._hub.base_url).copy_with(
            raw_path=scope["raw_path"].partition(b"?")[0]
            + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        )
        request = httpx.Request(
            scope["method"], url, headers=_passed(scope), content=_body(receive)
        )
        try:
            answer = await self._hub.send(request, stream=True)
        except httpx.TransportError:
            await HTMLResponse(AWAY, 502)(scope, receive, send)
            return
        await _answer(answer, send)


def _passed(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers to pass on: never those by which a proxy says who somebody is."""
    kept = [
        (name, value)
        for name, value in scope["headers"]
        if name not in _HOP and (name == _PASSIVE or not name.startswith(b"x-cp-"))
    ]
    client = scope["client"][0] if scope.get("client") else "unknown"
    return [*kept, (b"x-forwarded-for", client.encode())]


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise httpx.ReadError("the client went away")
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _answer(answer: httpx.Response, send: Send) -> None:
    try:
        headers = [(n.lower(), v) for n, v in answer.headers.raw if n.lower() not in _HOP]
        start = {"type": "http.response.start", "status": answer.status_code, "headers": headers}
        await send(start)
        async for piece in answer.aiter_raw():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        await answer.aclose()
