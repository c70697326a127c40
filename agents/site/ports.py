"""Ports and loopback addresses of private Ray clusters, so that no two on a machine clash.

One folder per machine and person holds a claim per run, whichever agent made it. All
ports are below 32768, outside Linux's range for outgoing connections: a Ray agent whose
port is taken by one never recovers. Source: notes/ray.md §2.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from agents.free_ports import FIRST, LAST, free_ports

_LOOK_SECONDS = 0.1
_ADDRESSES = range(1, 60 * 250)


class Claim(BaseModel):
    """What one run holds. It ends with the run's record, even if nobody gives it back."""

    run: str
    record: Path
    index: int
    ports: tuple[int, ...]


class NoPortsLeft(Exception):  # noqa: N818  # a state, told by its name
    """The machine has no free ports or addresses below 32768 for one more cluster."""


class PortRegistry:
    """Claims of this machine, under `/tmp/cp-<uid>-ports` whichever agent asks."""

    def __init__(self, folder: Path = Path("/tmp")) -> None:  # noqa: S108  # what is in it is ours alone
        self._folder = folder / f"cp-{os.getuid()}-ports"

    def claim(self, run: str, record: Path, count: int) -> Claim:
        """Return `count` free ports and an address block for a run; the same again if it has them.

        Raises:
            NoPortsLeft: there are none.
        """
        with self._locked():
            claims = tuple(self._live())
            mine = next((c for c in claims if c.run == run and c.record == record), None)
            if mine is not None and len(mine.ports) == count:
                return mine
            others = [c for c in claims if c is not mine]
            taken = {port for c in others for port in c.ports}
            index = next((i for i in _ADDRESSES if i not in {c.index for c in others}), None)
            ports = tuple(free_ports(count, taken))
            if index is None or len(ports) < count:
                raise NoPortsLeft(f"no {count} free ports between {FIRST} and {LAST}")
            made = Claim(run=run, record=record, index=index, ports=ports)
            self._file(run).write_text(made.model_dump_json(), encoding="utf-8")
            return made

    def release(self, run: str) -> None:
        """Give a run's ports back; nothing happens where it has none."""
        with self._locked():
            self._file(run).unlink(missing_ok=True)

    def _file(self, run: str) -> Path:
        return self._folder / f"{run}.json"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _live(self) -> Iterator[Claim]:
        """Yield the claims whose run still has its record; drop the others."""
        for file in self._folder.glob("*.json"):
            try:
                claim = Claim.model_validate_json(file.read_bytes())
            except (ValidationError, OSError):
                file.unlink(missing_ok=True)
                continue
            if claim.record.exists():
                yield claim
            else:
                file.unlink(missing_ok=True)


class LaunchSlots:
    """How many Ray nodes start at once on this machine, whichever agents start them.

    A start needs a core for some seconds, and Ray gives one up that takes 30 s: many at
    once all fail. The kernel frees a slot however its holder ends.
    """

    def __init__(self, count: int, folder: Path = Path("/tmp")) -> None:  # noqa: S108  # as above
        self._folder, self._count = folder / f"cp-{os.getuid()}-ports", count

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a slot; waits until there is one."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        while (held := self._try()) is None:  # noqa: ASYNC110  # another process frees it
            await asyncio.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            os.close(held)

    def _try(self) -> int | None:
        for number in range(self._count):
            name = self._folder / f"launch-{number}.lock"
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
            else:
                return handle
        return None


def loopback(index: int, node: int) -> str:
    """Return the address of one node of a run: 127.64.0.0 and up, a /24 for each run.

    Ray rewrites 127.0.0.1 to the machine's outward address, and keeps these.
    """
    return f"127.{64 + index // 250}.{index % 250}.{node + 1}"
