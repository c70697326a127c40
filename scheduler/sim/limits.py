"""The time limits that jobs of a trace come with: `--limits exact|FILE|factor:X`.

A trace says how long jobs ran, not what was asked for. `exact` is the oracle of the
published comparisons; `factor:3` is nearer to what people ask for; a file says it job by
job (CSV with `job_id,limit_s`). Slurm's accounting does know what was asked for: `asked`.
"""

from datetime import timedelta
from math import isfinite
from pathlib import Path

from scheduler.errors import Refused
from scheduler.sim.source import LONGEST, WHOLE_FILE, Problems, Row, read_text, rows
from scheduler.sim.trace import Trace, note_twice

_COLUMNS = ["job_id", "limit_s"]
_SHORTEST = timedelta(microseconds=1)


def time_limits(said: str, trace: Trace) -> tuple[timedelta, ...]:
    """Return each job's limit, in the trace's order.

    Raises:
        Refused: the factor, or the file, is not usable; with every problem found.
    """
    if said == "exact":
        return tuple(job.duration for job in trace.jobs)
    if said == "asked":
        return _asked(trace)
    kind, _, factor = said.partition(":")
    if kind == "factor":
        return _scaled(factor, trace)
    return _listed(Path(said), trace)


def _asked(trace: Trace) -> tuple[timedelta, ...]:
    unsaid = [job for job in trace.jobs if job.limit is None]
    if unsaid:
        count = "1 job" if len(unsaid) == 1 else f"{len(unsaid):,} jobs"
        raise Refused(
            title="--limits asked",
            detail=f"{trace.file} says no time limit for {count}; the first is {unsaid[0].id} in "
            f"line {unsaid[0].line}",
            field="TimelimitRaw or Timelimit",
            limit="a number: UNLIMITED and Partition_Limit are none",
            next_step="export TimelimitRaw with sacct, or use --limits FILE with job_id,limit_s, "
            "exact or factor:X",
        )
    return tuple(job.limit for job in trace.jobs if job.limit is not None)


def _scaled(text: str, trace: Trace) -> tuple[timedelta, ...]:
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not (isfinite(factor) and factor > 0):
        told = f"--limits factor:{text} is not a number above 0"
        raise Refused("--limits", told, next_step="for example --limits factor:3")
    longest = max(job.duration for job in trace.jobs)
    if longest.total_seconds() * factor > LONGEST.total_seconds():
        told = f"--limits factor:{text} makes a limit longer than {LONGEST.days} days"
        raise Refused("--limits", told, next_step="take a smaller factor")
    return tuple(max(_SHORTEST, job.duration * factor) for job in trace.jobs)


def _listed(file: Path, trace: Trace) -> tuple[timedelta, ...]:
    text, problems = read_text(file), Problems(file)
    table = rows(text, ",", problems)
    line, header = next(table, (1, []))
    if [name.strip() for name in header] != _COLUMNS:
        problems.add(line, WHOLE_FILE, f"the header is not {','.join(_COLUMNS)}")
        problems.settle()
    known = {job.id for job in trace.jobs}
    limits: dict[str, timedelta] = {}
    seen: dict[str, int] = {}
    for line, values in table:
        if len(values) != len(_COLUMNS):
            told = f"the row has {len(values)} fields, the header names {len(_COLUMNS)}"
            problems.add(line, WHOLE_FILE, told)
            continue
        row = Row(line, dict(zip(_COLUMNS, values, strict=True)), problems)
        job = row.needed("job_id")
        note_twice(row, "job_id", job, seen)
        if job not in known:
            row.wrong("job_id", f"{trace.file} has no job '{job[:40]}'")
        limits[job] = row.seconds("limit_s")
    for job_id in sorted(known - limits.keys()):
        problems.add(line, "job_id", f"no limit for job '{job_id}'")
    problems.settle()
    return tuple(limits[job.id] for job in trace.jobs)
