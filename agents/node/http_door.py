"""A small HTTP/1.1 server for one kind of request: a POST with a body, answered with JSON.

The agents' machines have no web framework, and need none. Parsing is h11's, which httpx
brings along; limits are on sizes, on times and on the number of connections.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import h11

MOST_BYTES = 1024 * 1024
_MOST_CONNECTIONS = 10_000
_IDLE_SECONDS = 120.0
_REQUEST_SECONDS = 30.0
_PIECE = 65_536


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: a status and JSON."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Asked], Awaitable[Answer]]


class Door:
    """Listens, and hands each request to `handler`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._open = 0
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Begin; return the port, which is another where 0 was asked for.

        Raises:
            OSError: the address is taken, or not of this machine.
        """
        self._server = await asyncio.start_server(self._connected, host, port, limit=_PIECE)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """End."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _MOST_CONNECTIONS:
                await self._serve(reader, writer)
        except (h11.ProtocolError, OSError, TimeoutError):
            pass  # A torn or idle connection is nobody's news: the agent makes another.
        except asyncio.CancelledError:
            pass  # The process ends. Raised on, asyncio would tell of it as of a fault.
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conn = h11.Connection(h11.SERVER, max_incomplete_event_size=16_384)
        while True:
            try:
                asked = await self._request(conn, reader)
            except h11.RemoteProtocolError as error:
                if conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    await _send(conn, writer, Answer(error.error_status_hint, b"{}"), last=True)
                return
            if asked is None:
                return
            answer = await self._handler(asked)
            await _send(conn, writer, answer)
            if conn.our_state is not h11.DONE or conn.their_state is not h11.DONE:
                return
            conn.start_next_cycle()

    async def _request(self, conn: h11.Connection, reader: asyncio.StreamReader) -> Asked | None:
        request: h11.Request | None = None
        pieces: list[bytes] = []
        size = 0
        while True:
            seconds = _IDLE_SECONDS if request is None else _REQUEST_SECONDS
            async with asyncio.timeout(seconds):
                event = await _next_event(conn, reader)
            match event:
                case h11.Request():
                    request = event
                case h11.Data():
                    size += len(event.data)
                    if size > MOST_BYTES:
                        raise h11.RemoteProtocolError("too large", error_status_hint=413)
                    pieces.append(bytes(event.data))
                case h11.EndOfMessage() if request is not None:
                    return _asked(request, b"".join(pieces))
                case _:
                    return None


async def _next_event(conn: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := conn.next_event()) is h11.NEED_DATA:
        conn.receive_data(await reader.read(_PIECE))
    return event


def _asked(request: h11.Request, body: bytes) -> Asked:
    headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
    return Asked(request.method.decode(), request.target.decode("latin-1"), headers, body)


async def _send(
    conn: h11.Connection, writer: asyncio.StreamWriter, answer: Answer, *, last: bool = False
) -> None:
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer.body)))]
    headers += list(answer.headers.items())
    if last:
        headers.append(("Connection", "close"))
    for event in (
        h11.Response(status_code=answer.status, headers=headers),
        h11.Data(data=answer.body),
        h11.EndOfMessage(),
    ):
        writer.write(conn.send(event) or b"")
    await writer.drain()
