"""What must hold before anything is started: each check answers with a `Trouble` or None."""

import importlib.util
import socket
from contextlib import closing
from pathlib import Path

import psutil

from scheduler.embedded.trouble import Trouble

NEEDED_BYTES = 4 * 1024**3
_LOOPBACK = "127.0.0.1"
_EXTRAS = (
    ("sqlalchemy", "scheduler"),
    ("fastapi", "scheduler"),
    ("ray", "site"),
    ("aiohttp", "site"),
    ("streamlit", "portal"),
    ("sklearn", "demo"),
)


def missing_extras(with_portal: bool) -> Trouble | None:
    """Return which optional parts are not installed, with the command that installs them."""
    missing = {
        extra
        for module, extra in _EXTRAS
        if (with_portal or extra != "portal") and importlib.util.find_spec(module) is None
    }
    if not missing:
        return None
    names = ",".join(sorted(missing))
    return Trouble(
        f"these parts of Commonpool are not installed: {names}",
        f"pip install 'commonpool[{names}]', or in a clone: make setup",
    )


def too_little_memory(needed: int = NEEDED_BYTES) -> Trouble | None:
    """Return how much memory is free where that is less than the instance and a demo need."""
    free = free_memory()
    if free >= needed:
        return None
    return Trouble(
        f"about {needed / 1024**3:.0f} GiB of free memory are needed, {free / 1024**3:.1f} GiB are",
        "close what is large, give the container or machine more, or try anyway with --force",
    )


def free_memory() -> int:
    """Return the bytes that may still be used here: the machine's, or the container's if fewer."""
    free = int(psutil.virtual_memory().available)
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if limit is None or used is None:
        return free
    # Pages of files that the kernel would give back count as used there.
    reclaimable = _cgroup_stat("inactive_file")
    return min(free, limit - used + reclaimable)


def _cgroup(name: str) -> int | None:
    try:
        text = (Path("/sys/fs/cgroup") / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _cgroup_stat(key: str) -> int:
    try:
        lines = Path("/sys/fs/cgroup/memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), 0)


def port_taken(port: int, purpose: str, option: str) -> Trouble | None:
    """Return who listens on a port, as far as this user may know, or None where it is free."""
    if is_free(port):
        return None
    return Trouble(
        f"port {port}, wanted for the {purpose}, is in use{_by_whom(port)}",
        f"stop that, or choose another port: {option} N ({option} 0 takes any free one)",
    )


def _by_whom(port: int) -> str:
    try:
        listeners = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        pid = next((c.pid for c in listeners if tuple(c.laddr)[1:] == (port,) and c.pid), None)
        if pid is None:
            return ""
        command = " ".join(psutil.Process(pid).cmdline())
    except (psutil.Error, OSError):
        return ""
    return f" by process {pid} ({command[:120]})"


def is_free(port: int) -> bool:
    """Return whether a server could listen on the port now."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
        return True


def any_port() -> int:
    """Return a port that is free now, chosen by the system."""
    with closing(socket.socket()) as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def free_block(size: int, first: int, last: int) -> int:
    """Return the start of `size` ports in a row that are all free, on steps of `size`.

    Raises:
        Trouble: there is no such row between `first` and `last`.
    """
    for start in range(first, last - size + 2, size):
        if all(is_free(port) for port in range(start, start + size)):
            return start
    raise Trouble(
        f"no {size} free ports in a row between {first} and {last}, which are needed",
        "stop some of the programs that listen there",
    )
