"""Two routes beside the pages: a job's log as it is written, and the whole of it as a file.

They are behind the gate like everything else, and ask the hub with the session's cookie that the
browser brought: what the hub refuses is refused here, by the same status, before a byte is sent.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from urllib.parse import quote

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from portal.config import PortalSettings
from portal.live.follow import Follower
from portal.live.reader import Away, Denied, LogReader
from portal.live.seats import MOST_FOLLOWERS, Full, Seated, Seats
from scheduler.clock import Clock
from scheduler.wire.jobs import LogPage

FOLLOW, WHOLE = "/live/jobs/{job}/log", "/live/jobs/{job}/log.txt"
_STREAM = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy that collects an answer would hold lines back
}


Answer = Callable[["LiveLogs", Request], Awaitable[Response]]


def _answered(route: Answer) -> Answer:
    """Return a route that answers with the hub's own status where it may or can not serve."""

    @wraps(route)
    async def answered(self: "LiveLogs", request: Request) -> Response:
        try:
            return await route(self, request)
        except (Denied, Full) as no:
            return _plain(no.why, no.status)
        except Away:
            return _plain("The hub does not answer. Try again later.", 503)

    return answered


class LiveLogs:
    """Serves logs of the hub at `settings.hub_url`, to whoever the hub lets read them."""

    def __init__(
        self, settings: PortalSettings, clock: Clock, secret_in: Callable[[str], str | None]
    ) -> None:
        """Open no connection yet. `secret_in` is how the gate finds the session in a cookie."""
        self._secret_in = secret_in
        token = settings.portal_token
        self._token = None if token is None else token.get_secret_value()
        self._clock = clock
        self._seats = Seats()
        # Their own: readers that wait for hours must not keep pages from the hub.
        self._hub = httpx.AsyncClient(
            base_url=settings.hub_url,
            limits=httpx.Limits(max_connections=2 * MOST_FOLLOWERS),
            trust_env=False,
        )

    def routes(self) -> list[Route]:
        """Return what the application is to serve."""
        return [Route(FOLLOW, self.follow), Route(WHOLE, self.whole)]

    async def aclose(self) -> None:
        """Close the connections to the hub."""
        await self._hub.aclose()

    @_answered
    async def follow(self, request: Request) -> Response:
        """Send events until the job's log is complete; to HEAD, only whether one may."""
        reader, start = self._reader(request), _start(request)
        if request.method == "HEAD":
            await reader.page(start)
            return _plain("", 200)
        person = request.headers.get(_WHO, "")
        # Before the hub is asked: hundreds who come at once are not let in by one look.
        self._seats.take(person)
        try:
            page = await _first(reader, start)
        except BaseException:
            self._seats.leave(person)
            raise
        events = Follower(reader, self._clock, offset=start).events(page)
        return Seated(self._seats, person, events, _STREAM)

    @_answered
    async def whole(self, request: Request) -> Response:
        """Send all of the log that is there now, as a file, piece by piece."""
        reader = self._reader(request)
        page = await reader.page(0)
        name = f"{quote(reader.job, safe='')}.log"
        headers = {**_STREAM, "Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return StreamingResponse(_pieces(reader, page), headers=headers, media_type="text/plain")

    def _reader(self, request: Request) -> LogReader:
        secret = self._token or self._secret_in(request.headers.get("cookie", ""))
        if secret is None:
            raise Denied(401, "Sign in first.")
        return LogReader(self._hub, secret, request.path_params["job"])


async def _first(reader: LogReader, start: int) -> LogPage | None:
    """Return the first piece; None: whoever follows stays connected until the hub is back.

    Raises:
        Denied: they may not read it.
    """
    try:
        return await reader.page(start)
    except Away:
        return None


async def _pieces(reader: LogReader, page: LogPage) -> AsyncIterator[bytes]:
    """Yield the log from its first piece on; a hub that goes away breaks the file off."""
    while page.text:
        yield page.text.encode()
        page = await reader.page(page.next_offset)


def _start(request: Request) -> int:
    """Return where in the log to go on, in bytes.

    Raises:
        Denied: 400, that is no place in a log.
    """
    # A browser that comes back by itself says so in the header, with the old address.
    asked = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
    if not (asked.isascii() and asked.isdigit() and len(asked) < _DIGITS):
        raise Denied(400, "`after` is where in the log to go on: a number of bytes.")
    return int(asked)


_WHO = "x-cp-sub"  # the gate's own word; what a client sends under this name is dropped
_DIGITS = 16  # below 2**53, as the hub has it


def _plain(text: str, status: int) -> Response:
    return PlainTextResponse(f"{text}\n", status, {"Cache-Control": "no-store"})
