"""Processes of an instance: started in sessions of their own, known by pid and start time.

A pid alone is not an identity, for the system gives it out again. A record holds the
process's start time too, and is believed only where both agree.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import psutil

from scheduler.embedded.layout import MARKER, Layout
from scheduler.embedded.waiting import until

# The kernel counts start times in ticks of 10 ms; psutil turns them into seconds.
_TICK_SECONDS = 0.05
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Spec:
    """What to start; its log is `name`.log.

    `after_port`: the first start waits until something listens there. Later ones do not,
    for an agent without its hub still has runs to look after.
    """

    name: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    after_port: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A process as it was started. `exits` counts earlier ends, `last_exit` is the latest code."""

    name: str
    pid: int
    created: float
    exits: int = 0
    last_exit: int | None = None

    def process(self) -> psutil.Process | None:
        """Return the process if it still is the one that was started, and not a zombie."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < _TICK_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    @property
    def is_alive(self) -> bool:
        return self.process() is not None


def spawn(
    layout: Layout, spec: Spec, exits: int = 0, last_exit: int | None = None
) -> tuple[subprocess.Popen[bytes], Record]:
    """Start a process in a session of its own and write its record."""
    environment = {**os.environ, **dict(spec.env), MARKER: layout.instance}
    with (layout.log / f"{spec.name}.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command line, no shell
            spec.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=layout.data,
            env=environment,
            start_new_session=True,
        )
    try:
        created = psutil.Process(process.pid).create_time()
    except psutil.NoSuchProcess:
        created = 0.0
    record = Record(spec.name, process.pid, created, exits, last_exit)
    write_record(layout, record)
    return process, record


def write_record(layout: Layout, record: Record) -> None:
    """Store a record so that a reader sees the old one or the new one, never half of it."""
    file = layout.run / f"{record.name}.json"
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(record)))
    fresh.replace(file)


def note_exit(layout: Layout, record: Record, code: int) -> Record:
    """Store that a process ended, and return its record with that counted."""
    ended = replace(record, exits=record.exits + 1, last_exit=code)
    write_record(layout, ended)
    return ended


def records(layout: Layout) -> dict[str, Record]:
    """Return all records by name; a damaged one is left out, its process found by its mark."""
    found: dict[str, Record] = {}
    for file in sorted(layout.run.glob("*.json")):
        record = read_record(file)
        if record is not None:
            found[record.name] = record
    return found


def read_record(file: Path) -> Record | None:
    """Return a record, or None where the file is gone, damaged or something else."""
    try:
        return Record(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def belonging(layout: Layout) -> list[psutil.Process]:
    """Return every living process of the instance, whoever started it, but not the caller.

    The mark in the environment is the proof; but Ray's dashboards write their titles over
    theirs, so the folder of its sockets in a command line, and being below a process of
    the instance, count too.
    """
    every = {process.pid: process for process in psutil.process_iter()}
    parents = {pid: _asked(process.ppid) for pid, process in every.items()}
    mine = {pid for pid, process in every.items() if _is_marked(process, layout)}
    fresh = mine
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - mine
        mine |= fresh
    mine -= _ancestors(os.getpid(), parents)
    return [every[pid] for pid in sorted(mine) if _is_running(every[pid])]


def _is_marked(process: psutil.Process, layout: Layout) -> bool:
    environment = _asked(process.environ) or {}
    if environment.get(MARKER) == layout.instance:
        return True
    return any(f"{layout.ray}/" in part for part in _asked(process.cmdline) or ())


def _ancestors(pid: int | None, parents: Mapping[int, int | None]) -> set[int]:
    """Return a process and those above it: `down` may run inside of what it ends."""
    found: set[int] = set()
    while pid is not None and pid not in found:
        found.add(pid)
        pid = parents.get(pid)
    return found


def _is_running(process: psutil.Process) -> bool:
    return _asked(process.status) not in (None, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def _asked(question: Callable[[], Answer]) -> Answer | None:
    """Return what a process answers, or None: it ended meanwhile, or is another user's."""
    try:
        return question()
    except (psutil.Error, OSError):
        return None


def stop(record: Record, grace_seconds: float) -> str:
    """End a recorded process; return what happened, in a word.

    `gone`: it had ended before; `stopped`: within its grace; `killed`: with all below it.
    """
    process = record.process()
    if process is None:
        return "gone"
    family = [process, *descendants(process)]
    signal_all([process], signal.SIGTERM)
    if until(lambda: not record.is_alive, grace_seconds):
        return "stopped"
    signal_all(family, signal.SIGKILL)
    return "killed"


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Return all processes below one; none where it has ended."""
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def signal_all(processes: Iterable[psutil.Process], number: int) -> None:
    """Send a signal to those that still are the processes that they were."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue  # it ended by itself


def tail(file: Path, lines: int = 12) -> str:
    """Return the last lines of a log, or a word about its absence."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return f"(no log at {file})"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def specs_to_json(specs: Iterable[Spec]) -> str:
    """Return the supervisor's plan."""
    return json.dumps([asdict(spec) for spec in specs], indent=1)


def specs_from_json(text: str) -> tuple[Spec, ...]:
    """Return the plan that `specs_to_json` wrote."""

    def spec(item: Mapping[str, Any]) -> Spec:
        env = tuple((key, value) for key, value in item["env"])
        return Spec(item["name"], tuple(item["argv"]), env, item["after_port"])

    return tuple(spec(item) for item in json.loads(text))
