"""Slurm's accounting as a trace: what `sacct --allusers --parsable2` prints.

Needed are JobID, Submit, AllocTRES or ReqTRES, and Elapsed or ElapsedRaw; used where
there: User, Account or Partition (the tenant), AllocNodes or NNodes, JobName, State, and
TimelimitRaw or Timelimit. Other fields are passed over, for sacct has a hundred.

Times are taken as UTC unless they name an offset, so export with TZ=UTC. Rows of job steps
(`123.batch`) are parts of jobs; parts of a heterogeneous job (`123+1`) are jobs of their
own. Jobs without GPUs, that never ran or that run still are left out and counted, and so
are attempts before a requeue. sacct lists by job, not by time: rows may come in any order.

Source: sacct(1), "Job Accounting Fields" and "--parsable2".
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler.core.model import JobId
from scheduler.sim.source import LONGEST, WHOLE_FILE, Problems, Row, rows
from scheduler.sim.trace import BEGINS_AT, UNKNOWN, Trace, TraceJob, note_twice

_NEEDED = (("JobID",), ("Submit",), ("ElapsedRaw", "Elapsed"), ("AllocTRES", "ReqTRES"))
# [days-]hours:minutes:seconds, of which hours and days may be missing.
_ELAPSED = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)(?:\.\d+)?", re.ASCII)
_GPUS = re.compile(r"(?:^|,)gres/gpu(:[^=,]+)?=(\d{1,15})([KM]?)(?=,|$)", re.ASCII)
_UNITS = {"": 1, "K": 1024, "M": 1024**2}  # Slurm shortens large counts
_YEARS = range(1970, 2200)  # of a submission: before and after them nobody ran Slurm
_RUNNING = frozenset({"RUNNING", "SUSPENDED", "STOPPED", "RESIZING", "COMPLETING"})
_MOST_DIGITS = 7  # of one part of a time: far beyond any job, and within a timedelta
WITHOUT_GPUS, _NEVER_RAN, _RUN_STILL = "without GPUs", "never ran", "still running"
_REQUEUED = "requeued"


def read(file: Path, text: str, problems: Problems) -> Trace:
    """Return the GPU jobs that ran, in order of submission.

    Raises:
        Refused: with every problem that was found, by line and field.
    """
    table = rows(text, "|", problems)
    line, columns = next(table)
    _check_header(line, columns, problems)
    found: list[tuple[datetime, TraceJob]] = []
    left_out: Counter[str] = Counter()
    seen: dict[str, int] = {}
    for line, values in table:
        if len(values) != len(columns):
            told = f"the row has {len(values)} fields, the header names {len(columns)}"
            problems.add(line, WHOLE_FILE, told)
            continue
        row = Row(line, dict(zip(columns, values, strict=True)), problems)
        if "." in row.text("JobID"):
            continue
        why = _why_left_out(row)
        if why:
            left_out[why] += 1
            continue
        note_twice(row, "JobID", row.needed("JobID"), seen)
        found.append((_instant(row), _job(row)))
    if not found:
        problems.add(line, WHOLE_FILE, f"has no GPU jobs that ran ({told_left_out(left_out)})")
    problems.settle()
    return _trace(file, found, left_out)


def told_left_out(left_out: Mapping[str, int]) -> str:
    """Return `3 without GPUs, 1 never ran`."""
    return ", ".join(f"{count:,} {why}" for why, count in sorted(left_out.items())) or "no rows"


def _check_header(line: int, columns: Sequence[str], problems: Problems) -> None:
    for either in _NEEDED:
        if not any(name in columns for name in either):
            problems.add(line, " or ".join(either), "the column is missing")
    for at, name in enumerate(columns):
        if name in columns[:at]:
            problems.add(line, name, "the column is there twice")
    problems.settle()


def _why_left_out(row: Row) -> str:
    """Return why a row is not part of the trace, empty where it is."""
    state = row.text("State").partition(" ")[0]
    if state in _RUNNING:
        return _RUN_STILL
    if state == "REQUEUED":  # an attempt before the last one, as --duplicates prints them
        return _REQUEUED
    if state == "PENDING" or not _elapsed(row):
        return _NEVER_RAN
    return "" if _gpus(row) else WITHOUT_GPUS


def _job(row: Row) -> TraceJob:
    nodes = next((row.text(f) for f in ("AllocNodes", "NNodes") if row.text(f)), "")
    number = int(nodes[:_MOST_DIGITS]) if nodes.isascii() and nodes.isdigit() else 0
    tenant = row.text("Account") or row.text("Partition") or UNKNOWN
    return TraceJob(
        id=JobId(row.text("JobID")),
        submit=timedelta(0),
        duration=_elapsed(row),
        gpus=_gpus(row),
        nodes=number or None,  # 0, or 1K: it says no number that could be meant
        user=row.text("User") or tenant,
        tenant=tenant,
        line=row.line,
        name=row.text("JobName"),
        limit=_limit(row),
    )


def _limit(row: Row) -> timedelta | None:
    """Return the limit that was asked for; `UNLIMITED` and `Partition_Limit` say no number."""
    minutes, text = row.text("TimelimitRaw"), row.text("Timelimit")
    limit = timedelta(0)
    if minutes.isascii() and minutes.isdigit():
        limit = timedelta(minutes=int(minutes[:_MOST_DIGITS]))
    elif parts := _ELAPSED.fullmatch(text):
        limit = _time(parts)
    return limit if timedelta(0) < limit <= LONGEST else None


def _elapsed(row: Row) -> timedelta:
    raw = row.text("ElapsedRaw")
    if raw:
        return row.seconds("ElapsedRaw", zero_is_fine=True)
    text = row.text("Elapsed")
    parts = _ELAPSED.fullmatch(text)
    if parts is None:
        row.wrong("Elapsed", f"'{text[:40]}' is not [days-]hours:minutes:seconds")
        return timedelta(1)
    elapsed = _time(parts)
    if elapsed > LONGEST:
        row.wrong("Elapsed", f"{text} is longer than {LONGEST.days} days")
    return elapsed


def _time(parts: re.Match[str]) -> timedelta:
    days, hours, minutes, seconds = (int((part or "0")[:_MOST_DIGITS]) for part in parts.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _gpus(row: Row) -> int:
    """Return the GPUs of `gres/gpu=8`, or of all `gres/gpu:model=8` where only those are told."""
    for field in ("AllocTRES", "ReqTRES"):
        told = _GPUS.findall(row.text(field))
        counts = [(model, int(count) * _UNITS[unit]) for model, count, unit in told]
        plain = [count for model, count in counts if not model]
        if told:
            return plain[0] if plain else sum(count for _, count in counts)
    return 0


def _instant(row: Row) -> datetime:
    text = row.text("Submit")
    try:
        if text.isascii() and text.isdigit():
            at = datetime.fromtimestamp(int(text), UTC)
        else:
            at = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        row.wrong("Submit", f"'{text[:40]}' is not a time such as 2026-03-02T12:00:00")
        return BEGINS_AT
    if at.year not in _YEARS:
        row.wrong("Submit", f"{text[:40]} is not in the years {_YEARS[0]} to {_YEARS[-1]}")
        return BEGINS_AT
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _trace(file: Path, found: Sequence[tuple[datetime, TraceJob]], left_out: Counter[str]) -> Trace:
    inorder = sorted(found, key=lambda each: each[0])
    begins_at = inorder[0][0]
    jobs = tuple(replace(job, submit=at - begins_at) for at, job in inorder)
    return Trace(file, begins_at, jobs, dict(left_out))
