"""A person who lists jobs, in a process of their own: how long each answer took.

Measured beside the load, the load's own work would be in what the person waits.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from multiprocessing import get_context
from multiprocessing.connection import Connection

EVERY_SECONDS = 0.1


@dataclass
class Looker:
    """Asks for what was measured."""

    _pipe: Connection

    def seconds(self) -> list[float]:
        """Return how long each answer took, from the start until now."""
        self._pipe.send(None)
        return self._pipe.recv()


@contextmanager
def looking(port: int, token: str) -> Iterator[Looker]:
    """List jobs ten times a second for as long as this block."""
    context = get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_look, args=(port, token, theirs))
    process.start()
    try:
        yield Looker(mine)
    finally:
        process.terminate()
        process.join()


def _look(port: int, token: str, pipe: Connection) -> None:
    http = HTTPConnection("127.0.0.1", port, timeout=60)
    found: list[float] = []
    while True:
        began = time.perf_counter()
        http.request("GET", "/v1/jobs", headers={"Authorization": f"Bearer {token}"})
        answer = http.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"GET /v1/jobs: {answer.status}")
        found.append(time.perf_counter() - began)
        if pipe.poll(EVERY_SECONDS):
            pipe.recv()
            pipe.send(found)
