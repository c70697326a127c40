"""Traces: what jobs came, when, how large, and how long each ran."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler.core.model import JobId
from scheduler.sim.source import Row

BEGINS_AT = datetime(2026, 1, 1, tzinfo=UTC)
"""Second 0 of a trace that does not say: only a policy with dates can tell."""

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TraceJob:
    """One job as it happened: `submit` counts from the trace's beginning.

    `gpus` are a gang, all or nothing; `nodes` on how many it ran, where known; `limit` is
    the time limit that was asked for, where known. `line` is where it stands in its file.
    """

    id: JobId
    submit: timedelta
    duration: timedelta
    gpus: int
    nodes: int | None
    user: str
    tenant: str
    line: int
    name: str = ""
    limit: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """Jobs in order of submission. `left_out` counts rows that are no GPU job that ran, by why."""

    file: Path
    begins_at: datetime
    jobs: tuple[TraceJob, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)


def note_twice(row: Row, field: str, name: str, seen: dict[str, int]) -> None:
    """Note a job's name and its line; that it is there already is a problem."""
    first = seen.setdefault(name, row.line)
    if first != row.line:
        row.wrong(field, f"'{name}' is there already, in line {first}")
