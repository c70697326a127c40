"""One member of a run on this machine, as a folder: what is wanted, and how it stands.

The agent writes `order.json`, the keeper (`launch_keeper.py`) `state.json`, each whole or
not at all. A lock says whether a keeper is there: the kernel frees it however one ends.
Times are of the machine's uptime, which counts while it sleeps, as the hub's clock does.
"""

import fcntl
import os
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from scheduler.wire.launches import LaunchPhase

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UPTIME = Path("/proc/uptime")

Kept = TypeVar("Kept", bound=Struct)


class Order(Struct, frozen=True, kw_only=True):
    """What the agent wants: `command` kept up until `expires`, or ended because of `stop`."""

    run: str
    token: int
    expires: float
    boot: str
    command: tuple[str, ...]
    environment: dict[str, str]
    probe: tuple[str, int]
    ports: tuple[int, ...]
    scratch: str
    head: str = ""
    api: str = ""
    secret: str = ""
    stop: str = ""


class State(Struct, frozen=True, kw_only=True):
    """How it stands. `pid` and `created` (ticks since boot) name the process that was started."""

    phase: LaunchPhase
    why: str = ""
    pid: int = 0
    created: int = 0


def uptime() -> float:
    """Return the seconds since the machine started, sleep included."""
    return float(_UPTIME.read_text(encoding="ascii").split()[0])


def boot_id() -> str:
    """Return what names this start of the machine: no process outlives it."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


class Folder:
    """The files of one member."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def output(self) -> Path:
        """Return the file that Ray's command writes to."""
        return self.path / "ray.out"

    def order(self) -> Order:
        """Return what is wanted; where that cannot be read, that it ends."""
        return _read(self.path / "order.json", Order) or _unreadable(self.path.name)

    def state(self) -> State | None:
        """Return how it stands; None before anything was started."""
        return _read(self.path / "state.json", State)

    def write_order(self, order: Order) -> None:
        """Say what is wanted."""
        _write(self.path / "order.json", order)

    def write_state(self, state: State) -> None:
        """Say how it stands."""
        _write(self.path / "state.json", state)

    def lock(self) -> int | None:
        """Take the keeper's lock, and return its descriptor; None while another has it."""
        handle = os.open(self.path / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    def last_words(self) -> str:
        """Return the last line of what the command wrote, for people."""
        try:
            lines = self.output.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return f": {lines[-1].strip()[:200]}" if lines else ""


def _unreadable(run: str) -> Order:
    return Order(
        run=run,
        token=0,
        expires=0,
        boot="",
        command=(),
        environment={},
        probe=("", 0),
        ports=(),
        scratch="",
        stop="its order on the node cannot be read",
    )


def _read(file: Path, kind: type[Kept]) -> Kept | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def _write(file: Path, value: Struct) -> None:
    spare = file.with_suffix(".new")
    handle = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(msgspec.json.encode(value))
        out.flush()
        os.fsync(out.fileno())
    spare.replace(file)
