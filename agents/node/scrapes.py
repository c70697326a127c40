"""A small HTTP server for `/metrics`: it sleeps until somebody asks, and answers quickly.

Python's own looks twice a second whether it should end, and prometheus_client makes each line's
labels anew and packs the page: each cost a tenth of what the whole agent does, or more.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

Pages = Callable[..., Iterable[bytes]]
"""A WSGI application."""
_NEVER: Any = None
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # asked for, not bound


_KINDS = {"counter": ("_total", "counter"), "info": ("_info", "gauge"), "unknown": ("", "untyped")}
_number: Callable[[float], str] = floatToGoString
_FORM = [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")]


def text(collectors: Iterable[Collector]) -> str:
    """Return what these have to say, in Prometheus's text format.

    They must have no histograms and no time stamps, as agents have none.
    """
    lines: list[str] = []
    for collector in collectors:
        for metric in collector.collect():
            _add(lines, metric)
    return "".join(lines)


def _add(lines: list[str], metric: Metric) -> None:
    suffix, kind = _KINDS.get(metric.type, ("", metric.type))
    name, told = metric.name + suffix, metric.documentation
    told = told.replace("\\", r"\\").replace("\n", r"\n")
    lines.append(f"# HELP {name} {told}\n# TYPE {name} {kind}\n")
    lines.extend(
        f"{sample.name}{_labels(sample.labels)} {_number(sample.value)}\n"
        for sample in metric.samples
    )


class Labels(dict[str, str]):
    """Labels that many lines have, scrape after scrape: not to be changed once they are text."""

    @cached_property
    def text(self) -> str:
        """Return them as a line has them."""
        return _written(self)


def _labels(labels: Mapping[str, str]) -> str:
    return labels.text if isinstance(labels, Labels) else _written(labels)


def _written(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(labels[name])}"' for name in sorted(labels))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Page:
    """Answers every request with what some collectors have to say."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def __call__(
        self, _environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        body = text(self._collectors).encode()
        start_response("200 OK", [*_FORM, ("Content-Length", str(len(body)))])
        return [body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: a scrape is no news."""


def serve_pages(pages: Pages, address: str, port: int) -> Callable[[], None]:
    """Serve in threads of its own; return what ends it.

    Raises:
        OSError: the address cannot be listened on, because it is taken, say.
    """
    kind = _Server6 if ":" in address else _Server
    server = make_server(address, port, pages, kind, _Silent)
    thread = threading.Thread(
        target=server.serve_forever, args=(_NEVER,), name="metrics", daemon=True
    )
    thread.start()

    def end() -> None:
        ending = threading.Thread(target=server.shutdown, daemon=True)
        ending.start()
        while ending.is_alive():
            # It looks whether to end when it has been asked something; a word too early is lost.
            with contextlib.suppress(OSError):
                where = _ANY.get(address, address) or "127.0.0.1"
                socket.create_connection((where, server.server_port), timeout=1).close()
            ending.join(0.05)
        server.server_close()
        thread.join()

    return end
