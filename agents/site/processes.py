"""Find and end every process of a run, orphans included.

A run's processes are those with `COMMONPOOL_RUN=<run>` in their environment, those of
the sessions that the agent started for it, and all descendants of both. The mark alone
is not enough: Ray's dashboard writes its title over its environment (seen with 2.60);
the tree alone is not either: a killed raylet leaves the user's program under pid 1. So
what writes into the run's own log is the run's as well. A program that sheds all of
that on purpose escapes: to hold one needs a control group.
"""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.marks import MARK
from scheduler.clock import Clock

_PROC = Path("/proc")
_RESCAN_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc shows it. `created` is in clock ticks since boot."""

    pid: int
    parent: int
    session: int
    created: int
    marked: bool


def created(pid: int) -> int | None:
    """Return when a process was created, in ticks since boot, or None where there is none."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def is_alive(pid: int, created_at: int) -> bool:
    """Return whether that very process is there still, and not one that was given its pid."""
    return created(pid) == created_at


def of_run(run: str, sessions: Mapping[int, int] | None = None) -> frozenset[int]:
    """Return the pids of a run on this machine; `sessions`: {leader's pid: its creation}.

    The agent itself never belongs to a run, even one that was started inside of it.
    """
    every = tuple(_scan(run))
    own = _sessions_of_the_run(every, sessions or {})
    roots = {p.pid for p in every if p.marked or p.session in own}
    return _with_descendants(roots, every) - {os.getpid()}


def _sessions_of_the_run(every: Iterable[Process], sessions: Mapping[int, int]) -> frozenset[int]:
    """Leave out a session id that another process was given since; a dead leader keeps its own.

    A session's id stays taken while any member lives, so it is foreign only if a leader
    with another creation time has it. A marked leader's session came out of the run too.
    """
    foreign = {p.pid for p in every if p.pid in sessions and p.created != sessions[p.pid]}
    led = {p.pid for p in every if p.marked and p.pid == p.session}
    return frozenset(sessions) - foreign | led


def _with_descendants(roots: set[int], every: Collection[Process]) -> frozenset[int]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for process in every:
        children[process.parent].append(process.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children[pid]
    return frozenset(found)


def _scan(run: str) -> Iterable[Process]:
    """Yield every live process, those too that are born during the scan; zombies are left out.

    A program that forks and exits all the time is elsewhere when its pid is read. But then
    there is a pid that was not listed before, so the scan goes on until there is none.
    """
    listed: set[str] = set()
    while fresh := set(os.listdir(_PROC)) - listed:  # noqa: PTH208  # far faster than iterdir
        listed |= fresh
        for entry in fresh:
            fields = _stat(int(entry)) if entry.isdigit() else None
            if fields is not None and fields[0] not in "ZX":
                ids = (int(entry), int(fields[1]), int(fields[3]), int(fields[19]))
                yield Process(*ids, _is_of(run, _PROC / entry))


def _is_of(run: str, process: Path) -> bool:
    """Say whether a process carries a run's mark, or writes to the run's log."""
    if f"{MARK}={run}".encode() in _read(process / "environ").split(b"\0"):
        return True
    return any(_target(process / "fd" / number).endswith(_log_name(run)) for number in "12")


def _log_name(run: str) -> str:
    return f"/job-driver-{run}.log"


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    """Return /proc/<pid>/stat from the state on; the name before it may hold anything."""
    text = _read(_PROC / str(pid) / "stat").decode(errors="replace")
    return text[text.rindex(")") + 2 :].split() if text else None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # Gone, or another person's: not ours to end either way.
        return b""


async def end_all(
    run: str, sessions: Mapping[int, int] | None, clock: Clock, seconds: float
) -> bool:
    """Kill a run's processes until a scan finds none; return False if some outlive `seconds`.

    A process may fork between the scan and the kill, so only an empty scan counts.
    """
    until = clock.monotonic() + seconds
    while await asyncio.to_thread(_kill, run, sessions):
        if clock.monotonic() > until:
            return False
        await asyncio.sleep(_RESCAN_SECONDS)
    return True


def _kill(run: str, sessions: Mapping[int, int] | None) -> bool:
    """Kill what a scan finds, the youngest first; return whether there was anything."""
    pids = of_run(run, sessions)
    for pid in sorted(pids, reverse=True):
        send(pid, signal.SIGKILL)
    return bool(pids)


def send(pid: int, what: signal.Signals) -> None:
    """Signal a process that may be gone already."""
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return
