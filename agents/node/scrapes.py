"""A small HTTP server for `/metrics`: it sleeps until somebody asks, and answers quickly.

Python's own looks twice a second whether it should end, and loads a parser of mail and TLS;
prometheus_client makes each line's labels anew and packs the page. Each cost a tenth of what
the whole agent does, or more.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from math import inf, isnan

from agents.node.lines import log
from agents.node.metric import Collector, Metric

Pages = Callable[[str], tuple[int, str]]
"""Answers a request by its query: a status and a text."""

_KINDS = {"counter": ("_total", "counter"), "info": ("_info", "gauge"), "unknown": ("", "untyped")}
_FORM = "text/plain; version=0.0.4; charset=utf-8"
_MOST_BYTES, _PIECE, _SECONDS, _WAITING = 16_384, 4096, 30.0, 64
_WORDS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
}


def text(collectors: Iterable[Collector]) -> str:
    """Return what these have to say, in Prometheus's text format.

    They must have no histograms and no time stamps, as agents have none.
    """
    lines: list[str] = []
    labels = _Labels()
    for collector in collectors:
        for metric in collector.collect():
            _add(lines, labels, metric)
    return "".join(lines)


def _add(lines: list[str], labels: "_Labels", metric: Metric) -> None:
    suffix, kind = _KINDS.get(metric.type, ("", metric.type))
    name, told = metric.name + suffix, metric.documentation
    told = told.replace("\\", r"\\").replace("\n", r"\n")
    lines.append(f"# HELP {name} {told}\n# TYPE {name} {kind}\n")
    lines.extend(
        f"{sample.name}{labels.text(sample.labels)} {_number(sample.value)}\n"
        for sample in metric.samples
    )


def _number(value: float) -> str:
    if isnan(value):
        return "NaN"
    return repr(float(value)) if abs(value) < inf else "+Inf" if value > 0 else "-Inf"


class _Labels:
    """The text of labels. Those of a GPU are one object in all its lines, and made text of once."""

    def __init__(self) -> None:
        # With the labels themselves, so that no others can come to be in their place.
        self._known: dict[int, tuple[Mapping[str, str], str]] = {}

    def text(self, labels: Mapping[str, str]) -> str:
        known = self._known.get(id(labels))
        if known is None:
            pairs = ",".join(f'{name}="{_escaped(labels[name])}"' for name in sorted(labels))
            known = self._known[id(labels)] = (labels, f"{{{pairs}}}" if pairs else "")
        return known[1]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Page:
    """Answers every request with what some collectors have to say."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def __call__(self, _query: str) -> tuple[int, str]:
        """Answer a request."""
        return 200, text(self._collectors)


def serve_pages(pages: Pages, address: str, port: int) -> Callable[[], None]:
    """Serve in threads of its own; return what ends it.

    Raises:
        OSError: the address cannot be listened on, because it is taken, say.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=_WAITING)
    thread = threading.Thread(target=_accept, args=(listener, pages), name="metrics", daemon=True)
    thread.start()

    def end() -> None:
        # Whoever waits for a connection is woken by this, and by nothing else.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()

    return end


def _accept(listener: socket.socket, pages: Pages) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except ConnectionError:
            continue  # It was gone before it was taken.
        except OSError as error:
            if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                # Of all files and of all memory some may be free again in a while.
                log.warning("scrape_not_taken", why=str(error))
                threading.Event().wait(1)
                continue
            return
        threading.Thread(target=_answer, args=(connection, pages), daemon=True).start()


def _answer(connection: socket.socket, pages: Pages) -> None:
    """Answer one request, and end the connection, as scrapes come seldom."""
    with contextlib.suppress(OSError), connection:  # Who hangs up is nobody's news.
        connection.settimeout(_SECONDS)
        asked = _asked(connection)
        if not asked:
            return
        status, said = _page(asked, pages)
        body = said.encode()
        head = (
            f"HTTP/1.0 {status} {_WORDS[status]}\r\nContent-Type: {_FORM}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(head.encode() + (b"" if asked.startswith(b"HEAD ") else body))


def _asked(connection: socket.socket) -> bytes:
    """Return the head of a request as far as it goes; nothing where there is none."""
    found = b""
    while b"\r\n\r\n" not in found and b"\n\n" not in found and len(found) < _MOST_BYTES:
        piece = connection.recv(_PIECE)
        if not piece:
            return b""
        found += piece
    return found


def _page(asked: bytes, pages: Pages) -> tuple[int, str]:
    words = asked.partition(b"\n")[0].decode("latin-1").split()
    match words:
        case ["GET" | "HEAD", target, version] if version.startswith("HTTP/"):
            try:
                return pages(target.partition("?")[2])
            except Exception as error:  # noqa: BLE001  # a thread's top: told to both sides
                log.error("scrape_failed", why=f"{type(error).__name__}: {error}")
                return 500, f"{type(error).__name__}\n"
        case [_, _, version] if version.startswith("HTTP/"):
            return 405, "only GET is answered here\n"
        case _:
            return 400, "this is no request of HTTP\n"
