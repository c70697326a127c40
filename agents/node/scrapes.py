"""A small HTTP server for `/metrics`, which sleeps until somebody asks.

Python's own looks twice a second whether it should end, which cost a tenth of what the whole
agent does.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

Pages = Callable[..., Iterable[bytes]]
"""A WSGI application."""
_NEVER: Any = None
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # asked for, not bound


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
