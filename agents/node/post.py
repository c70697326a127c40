"""An HTTP/1.1 client for one thing: a POST over a connection that is kept, answered whole.

Python's own client brings a parser of mail along, urllib3 a pool of connections, and both TLS:
eight MiB, a quarter of what the agent's process may have. TLS is loaded here where the address
asks for it, and urllib3 where a proxy stands between.
"""

import contextlib
import os
import select
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

_CONNECT_SECONDS, _READ_SECONDS = 5.0, 30.0
_LONGEST_LINE, _MOST_LINES = 16_384, 200
_MOST_BYTES = 16 * 1024 * 1024
_PORTS = {"http": 80, "https": 443}
_CONTINUE, _NO_CONTENT = range(100, 200), frozenset({204, 304})


class Unanswered(Exception):  # noqa: N818  # a state, told by its name
    """Nobody answers there now, or what answers speaks no HTTP: to be tried again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status with the body that came with it."""

    status: int
    body: bytes


class Post(Protocol):
    """Posts to one address."""

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a body with these headers, and return what is answered; or raise `Unanswered`."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


def poster(url: str) -> Post:
    """Return what posts to an address, through the environment's proxy where that leads there."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not _is_local(host) and (proxy := _proxy(parts.scheme, host)):
        return _Proxied(proxy, url)
    return _Line(url)


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _proxy(scheme: str, host: str) -> str | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  # a MiB, seldom needed

    return None if proxy_bypass(host) else getproxies().get(scheme)


class _Proxied:
    """By urllib3, which knows what proxies want."""

    def __init__(self, proxy: str, url: str) -> None:
        import urllib3  # noqa: PLC0415  # several MiB, seldom needed

        self._url, self._error = url, urllib3.exceptions.HTTPError
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
        self._http = urllib3.ProxyManager(proxy, num_pools=1, maxsize=1, timeout=timeout)

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            answer = self._http.request(
                "POST", self._url, body=body, headers=headers, retries=False
            )
        except self._error as error:
            raise Unanswered(str(error)) from error
        return Answer(answer.status, answer.data)

    def close(self) -> None:
        self._http.clear()


class _Line:
    """A connection to one address, made when it is needed and kept while it holds."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._tls = parts.hostname or "", parts.scheme == "https"
        self._port = parts.port or _PORTS[parts.scheme]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._head = f"POST {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        self._socket: socket.socket | None = None
        self._answers: BufferedReader | None = None

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"{self._head}{told}Content-Length: {len(body)}\r\n\r\n".encode() + body
        try:
            if self._socket is not None and not _has_ended(self._socket):
                try:
                    return self._exchange(request)
                except (EOFError, ConnectionError):
                    pass  # It was closed while nobody looked: the request goes over a new one.
            self._connect()
            return self._exchange(request)
        except (OSError, EOFError, ValueError) as error:
            self.close()
            where = f"{self._host} port {self._port}"
            raise Unanswered(f"{where}: {error or type(error).__name__}") from error

    def _connect(self) -> None:
        self.close()
        made = socket.create_connection((self._host, self._port), _CONNECT_SECONDS)
        self._socket = made
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            import ssl  # noqa: PLC0415  # four MiB that a site with a gateway does not need

            self._socket = ssl.create_default_context().wrap_socket(
                made, server_hostname=self._host
            )
        self._socket.settimeout(_READ_SECONDS)
        self._answers = self._socket.makefile("rb")

    def close(self) -> None:
        for part in (self._answers, self._socket):
            with contextlib.suppress(OSError):
                if part is not None:
                    part.close()
        self._socket = self._answers = None

    def _exchange(self, request: bytes) -> Answer:
        """Send a request and read its answer whole.

        Raises:
            EOFError: the connection ended before an answer began.
            ValueError: what came is no HTTP, or too much.
        """
        if self._socket is None or self._answers is None:
            raise EOFError("not connected")
        self._socket.sendall(request)
        status, is_old, headers = _head(self._answers)
        while status in _CONTINUE:
            status, is_old, headers = _head(self._answers)
        body = b"" if status in _NO_CONTENT else _body(self._answers, headers)
        has_end = status in _NO_CONTENT or not headers.keys().isdisjoint(_LENGTHS)
        if is_old or not has_end or headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, body)


def _has_ended(kept: socket.socket) -> bool:
    """Return whether there is something to read before anything was asked: its end, that is."""
    return bool(select.select([kept], [], [], 0)[0])


_LENGTHS = ("content-length", "transfer-encoding")


def _line(answers: BufferedReader) -> str:
    line = answers.readline(_LONGEST_LINE + 1)
    if not line.endswith(b"\n"):
        raise ValueError("an answer that ends within its head" if line else "an early end")
    return line.decode("latin-1").strip()


def _head(answers: BufferedReader) -> tuple[int, bool, dict[str, str]]:
    """Return status, whether it is of HTTP/1.0, and headers."""
    if not answers.peek(1):
        raise EOFError("the connection was closed without an answer")
    version, _, rest = _line(answers).partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise ValueError("an answer that is no HTTP")
    headers: dict[str, str] = {}
    for _ in range(_MOST_LINES):
        line = _line(answers)
        if not line:
            return int(rest[:3]), version == "HTTP/1.0", headers
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    raise ValueError(f"an answer with more than {_MOST_LINES} headers")


def _body(answers: BufferedReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunks(answers)
    if "content-length" in headers:
        return _exactly(answers, int(headers["content-length"]))
    found = answers.read(_MOST_BYTES + 1)
    return _exactly_within(found, len(found))


def _chunks(answers: BufferedReader) -> bytes:
    pieces: list[bytes] = []
    left = _MOST_BYTES
    while size := int(_line(answers).partition(";")[0], 16):
        pieces.append(_exactly(answers, size, left))
        left -= size
        _line(answers)
    while _line(answers):
        pass  # Headers behind the body, which nobody needs.
    return b"".join(pieces)


def _exactly(answers: BufferedReader, size: int, most: int = _MOST_BYTES) -> bytes:
    if not 0 <= size <= most:
        raise ValueError(f"an answer of more than {_MOST_BYTES} bytes")
    return _exactly_within(answers.read(size), size)


def _exactly_within(found: bytes, size: int) -> bytes:
    if len(found) > _MOST_BYTES:
        raise ValueError(f"an answer of more than {_MOST_BYTES} bytes")
    if len(found) < size:
        raise ValueError("an answer that ends too early")
    return found
