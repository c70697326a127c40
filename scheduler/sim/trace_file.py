"""Trace files: two formats, told apart by the header.

This project's CSV (`COLUMNS`) is read here, and what Slurm's `sacct --parsable2` prints
in `sacct.py`. A trace is taken whole or not at all: every problem is told with its line
and field.
"""

from collections.abc import Sequence
from pathlib import Path

from scheduler.core.model import JobId
from scheduler.sim import sacct
from scheduler.sim.source import WHOLE_FILE, Problems, Row, read_text, rows
from scheduler.sim.trace import BEGINS_AT, UNKNOWN, Trace, TraceJob, note_twice

NEEDED = ("job_id", "submit_s", "duration_s", "gpus")
COLUMNS = (*NEEDED, "nodes", "gpu_type", "user", "tenant", "status")


def read_trace(file: Path) -> Trace:
    """Return the jobs of a trace, plain or gzip, in either format.

    Raises:
        Refused: with every problem that was found, by line and field.
    """
    text = read_text(file)
    problems = Problems(file)
    if "|" in text.partition("\n")[0]:
        return sacct.read(file, text, problems)
    jobs = _jobs(text, problems)
    problems.settle()
    on_gpus = tuple(job for job in jobs if job.gpus)
    without = len(jobs) - len(on_gpus)
    if not on_gpus:
        problems.add(1, "gpus", f"is 0 in all {without:,} rows: there is nothing to place")
        problems.settle()
    return Trace(file, BEGINS_AT, on_gpus, {sacct.WITHOUT_GPUS: without} if without else {})


def _jobs(text: str, problems: Problems) -> tuple[TraceJob, ...]:
    """Return every row that can be read, those without GPUs too; a job at least."""
    table = rows(text, ",", problems)
    line, header = next(table, (1, []))
    columns = [name.strip() for name in header]
    _check_header(line, columns, problems)
    jobs: list[TraceJob] = []
    seen: dict[str, int] = {}
    for line, values in table:
        if len(values) != len(columns):
            told = f"the row has {len(values)} fields, the header names {len(columns)}"
            problems.add(line, WHOLE_FILE, told)
            continue
        row = Row(line, dict(zip(columns, values, strict=True)), problems)
        job = _job(row)
        note_twice(row, "job_id", job.id, seen)
        if jobs and job.submit < jobs[-1].submit:
            row.wrong("submit_s", f"{row.text('submit_s')} is earlier than the row before it")
        jobs.append(job)
    problems.settle()
    if not jobs:
        problems.add(line, WHOLE_FILE, "has no jobs: a row each belongs below the header")
    return tuple(jobs)


def _check_header(line: int, columns: Sequence[str], problems: Problems) -> None:
    """Refuse a file whose columns are not this schema's, before its rows are all misread."""
    if not set(columns) & set(COLUMNS):
        problems.add(line, WHOLE_FILE, _no_header(columns))
        problems.settle()
    for name in NEEDED:
        if name not in columns:
            problems.add(line, name, "the column is missing")
    for at, name in enumerate(columns):
        if name not in COLUMNS:
            known = f"is not known here: leave it out; known are {', '.join(COLUMNS)}"
            problems.add(line, name or f"column {at + 1}", known)
        elif name in columns[:at]:
            problems.add(line, name, "the column is there twice")
    problems.settle()


def _no_header(columns: Sequence[str]) -> str:
    """Say what the first line should be, where it names no column that is known."""
    if {name.lower() for name in columns} & set(COLUMNS):
        return f"names its columns in other letters: they are {', '.join(COLUMNS)}"
    only = columns[0] if len(columns) == 1 else ""
    for name, mark in (("semicolons", ";"), ("tabs", "\t")):
        if mark in only:
            return f"has {name} between its columns, where commas belong"
    needed = ",".join(NEEDED)
    return f"has no header: the first line names the columns, at least {needed}"


def _job(row: Row) -> TraceJob:
    tenant = row.text("tenant") or UNKNOWN
    return TraceJob(
        id=JobId(row.needed("job_id")),
        submit=row.seconds("submit_s", zero_is_fine=True),
        duration=row.seconds("duration_s"),
        gpus=row.count("gpus", least=0),
        nodes=row.count("nodes") if row.text("nodes") else None,
        user=row.text("user") or tenant,
        tenant=tenant,
        line=row.line,
    )
