"""Ports for Ray's processes on this machine."""

import socket
from collections.abc import Collection, Iterator

FIRST, LAST = 20_000, 32_700
"""Below Linux's range for outgoing connections: a Ray agent whose port one has never recovers."""


def free_ports(count: int, taken: Collection[int]) -> Iterator[int]:
    """Yield so many ports that nobody listens on, none `taken`; fewer where there are no more."""
    found = 0
    for port in range(FIRST, LAST):
        if found == count:
            return
        if port not in taken and _is_free(port):
            found += 1
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))  # Ray's own processes listen on every interface.
        except OSError:
            return False
    return True
