"""Check what a simulation wrote with `--jobs`, from the trace alone: none of our code is used.

    python tests/sim/check.py TRACE JOBS --nodes N --gpus-per-node G

It shows that no node's GPUs were given out twice at once, that gangs ran together and on
like nodes, that nothing started before it was submitted, that every job's work was done,
and that every job ended. TRACE is in this project's CSV, plain or gzip.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import csv
import gzip
import io
import math
import sys
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True)
class Terms:
    """How it was simulated: the cluster, what a restart took, how often work was kept."""

    nodes: int
    gpus_per_node: int
    restart: Decimal = Decimal(0)
    every: Decimal | None = None
    limits: dict[str, Decimal] | None = None  # None: each job's duration


@dataclass(frozen=True)
class Row:
    """One attempt as it was written."""

    number: int
    start: Decimal
    end: Decimal
    ended_by: str
    placement: dict[str, int]


def violations(trace: str, jobs: str, terms: Terms) -> list[str]:
    """Return everything that is wrong, in words; nothing where all is well."""
    wanted = _jobs(trace)
    rows: dict[str, list[Row]] = defaultdict(list)
    for line in csv.DictReader(io.StringIO(jobs)):
        rows[line["job_id"]].append(_row(line))
    wrong = [f"{job}: is not in the trace" for job in rows if job not in wanted]
    for name, job in wanted.items():
        attempts = sorted(rows.get(name, ()), key=lambda row: row.number)
        wrong += [f"{name}: {what}" for what in _job(name, job, attempts, terms)]
    return wrong + _nodes([row for attempts in rows.values() for row in attempts], terms)


def mean_wait(trace: str, jobs: str) -> float:
    """Return the mean of completion - submission - duration, of jobs that were completed."""
    wanted = _jobs(trace)
    waits = []
    for line in csv.DictReader(io.StringIO(jobs)):
        if line["ended_by"] == "completed":
            job = wanted[line["job_id"]]
            submit, duration = Decimal(job["submit_s"]), Decimal(job["duration_s"])
            waits.append(Decimal(line["end_s"]) - submit - duration)
    return float(sum(waits) / len(waits)) if waits else 0.0


def _jobs(trace: str) -> dict[str, dict[str, str]]:
    """Return the rows that ask for GPUs, by job."""
    lines = csv.reader(io.StringIO(trace.removeprefix("\ufeff")))
    names = [name.strip() for name in next(lines)]
    rows = (dict(zip(names, map(str.strip, line), strict=True)) for line in lines if line)
    return {row["job_id"]: row for row in rows if Decimal(row["gpus"])}


def _row(line: dict[str, str]) -> Row:
    parts = [part.rpartition(":") for part in line["placement"].split(";")]
    return Row(
        int(line["attempt"]),
        Decimal(line["start_s"]),
        Decimal(line["end_s"]),
        line["ended_by"],
        {node: int(gpus) for node, _, gpus in parts},
    )


def _job(name, job, attempts, terms):
    """Yield what is wrong with the attempts of one job."""
    if not attempts:
        yield "never ran"
        return
    if [row.number for row in attempts] != list(range(1, len(attempts) + 1)):
        yield "its attempts are not numbered 1, 2, 3, ..."
    if any(row.ended_by != "preempted" for row in attempts[:-1]):
        yield "went on although it had ended"
    if attempts[-1].ended_by not in {"completed", "time_limit"}:
        yield "did not end"
    free_at = Decimal(job["submit_s"])
    for row in attempts:
        if row.start < free_at:
            yield f"attempt {row.number} starts before it is submitted, or still runs"
        if row.end < row.start:
            yield f"attempt {row.number} ends before it starts"
        free_at = row.end
    yield from _gang(job, attempts, terms)
    yield from _served(name, job, attempts, terms)


def _gang(job, attempts, terms):
    """Yield where an attempt did not hold exactly its gang, alike on each node."""
    gpus, most = int(Decimal(job["gpus"])), terms.gpus_per_node
    nodes = int(Decimal(job.get("nodes") or 0))
    if not nodes or gpus % nodes or gpus // nodes > most:
        nodes = math.ceil(gpus / most)
    expected = [math.ceil(gpus / nodes)] * nodes
    for row in attempts:
        if list(row.placement.values()) != expected:
            yield f"attempt {row.number} held {row.placement}, not {expected}"


def _served(name, job, attempts, terms):
    """Yield where the time that a job ran does not add up to its work."""
    duration = Decimal(job["duration_s"])
    limit = duration if terms.limits is None else terms.limits[name]
    kept = Decimal(0)
    for row in attempts:
        overhead = terms.restart if row.number > 1 else Decimal(0)
        ran = row.end - row.start
        if ran > limit + overhead:
            yield f"attempt {row.number} ran {ran} s, beyond its limit {limit}"
        worked = max(Decimal(0), ran - overhead)
        if row.ended_by == "completed" and kept + worked != duration:
            yield f"completed after {kept + worked} s of work, not {duration}"
        if row.ended_by == "time_limit" and ran != limit + overhead:
            yield f"attempt {row.number} ended by a limit of {limit} s after {ran} s"
        if kept + worked > duration:
            yield f"attempt {row.number} worked beyond {duration} s"
        if terms.every is not None:
            kept += worked // terms.every * terms.every


def _nodes(rows, terms):
    """Return nodes that gave out more than they have, or are too many."""
    changes = defaultdict(list)
    for row in rows:
        if row.end == row.start:
            continue  # A lease that was never put to use.
        for node, gpus in row.placement.items():
            # At one instant, what ends is free before what starts: (at, sign) sorts so.
            changes[node] += [(row.end, -gpus), (row.start, gpus)]
    wrong = []
    if len(changes) > terms.nodes:
        wrong.append(f"{len(changes)} nodes were used, of {terms.nodes}")
    for node, steps in changes.items():
        held = 0
        for at, change in sorted(steps):
            held += change
            if held > terms.gpus_per_node:
                wrong.append(f"{node}: {held} GPUs in use at {at}, of {terms.gpus_per_node}")
                break
    return wrong


def main() -> int:
    """Print what is wrong, or that nothing is, with the mean wait."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("jobs", type=Path)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--gpus-per-node", type=int, required=True)
    parser.add_argument("--restart-cost", type=Decimal, default=Decimal(0))
    parser.add_argument("--every", type=Decimal)
    said = parser.parse_args()
    packed = said.trace.read_bytes()
    trace = (gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed).decode()
    jobs = said.jobs.read_text()
    terms = Terms(said.nodes, said.gpus_per_node, said.restart_cost, said.every)
    wrong = violations(trace, jobs, terms)
    for what in wrong[:20]:
        print(what)
    print(f"{len(wrong)} violations; mean wait {mean_wait(trace, jobs):,.1f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
