"""`commonpool status`: each process, up or down, with what its log said last."""

from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from scheduler.embedded.instance import SUPERVISOR, plan_of
from scheduler.embedded.layout import Layout
from scheduler.embedded.processes import Record, belonging, descendants, records, tail


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process of the instance. `since` is None where it is down."""

    name: str
    up: bool
    pid: int | None
    since: datetime | None
    restarts: int
    memory_mib: int
    note: str


def statuses(layout: Layout) -> tuple[ProcessStatus, ...]:
    """Return every process that should run, in the order of their start, and what was added."""
    known = records(layout)
    names = dict.fromkeys([SUPERVISOR, *(spec.name for spec in plan_of(layout)), *known])
    return tuple(_status(layout, name, known.get(name)) for name in names)


def others(layout: Layout, known: tuple[ProcessStatus, ...]) -> int:
    """Return how many more processes the instance has: Ray's, and those of private clusters."""
    recorded = {status.pid for status in known}
    return sum(process.pid not in recorded for process in belonging(layout))


def _status(layout: Layout, name: str, record: Record | None) -> ProcessStatus:
    process = record.process() if record else None
    restarts = record.exits if record else 0
    if process is None or record is None:
        said = tail(layout.log / f"{name}.log", lines=1)
        code = record.last_exit if record else None
        note = f"exit code {code}; {said}" if code is not None else said
        return ProcessStatus(name, False, None, None, restarts, 0, note)
    note = f"came back after exit code {record.last_exit}" if restarts else ""
    since = datetime.fromtimestamp(record.created, UTC)
    # Everything is below the supervisor: its own memory is what it adds.
    members = (process,) if name == SUPERVISOR else (process, *descendants(process))
    return ProcessStatus(name, True, record.pid, since, restarts, _memory_mib(members), note)


def _memory_mib(members: tuple[psutil.Process, ...]) -> int:
    """Return the resident memory of processes; pages that they share count for each."""
    total = 0
    for member in members:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue  # it ended meanwhile
    return total // 1024**2
