"""What a simulation comes to, in the figures that schedulers are compared by.

Wait is completion - submission - duration: all the time that was not progress, work lost
to preemption and restarts included. JCT (job completion time) is completion - submission.
Percentiles are interpolated between ranks. Jobs that did not end count in `unfinished`
and nowhere else.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import fsum
from typing import Any, TextIO

from scheduler.sim.history import Attempt, Ended, EndedBy, History

BOUND = timedelta(seconds=10)
"""Jobs shorter than this count as if they ran so long in a slowdown.

Source: D. G. Feitelson et al., "Theory and Practice in Parallel Job Scheduling", JSSPP 1997.
"""

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Spread:
    """A sample of times in seconds; all zero for an empty one."""

    mean: float
    median: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Tenant:
    """How one tenant fared. `slowdown` is the mean bounded slowdown of its jobs."""

    name: str
    jobs: int
    wait_s: Spread
    slowdown: float
    gpu_hours: float


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one simulation. `gangs` are jobs of more than one node.

    `utilisation` is the part of all GPU time up to the last submission that runs held.
    `fairness` is the Jain index of the tenants' mean bounded slowdowns: 1 where all fare
    alike, 1/n where one bears it all. `holds` counts jobs that were told why they wait,
    `planned` those that were promised a start on named nodes. `recalls` are owners taking
    back what they lent, and `recall_s` is from that decision until their work began (R10).
    """

    jobs: int
    gang_jobs: int
    wait_s: Spread
    jct_s: Spread
    gang_wait_s: Spread
    gang_jct_s: Spread
    makespan_s: float
    utilisation: float
    fairness: float
    preemptions: int
    recalls: int
    recall_s: Spread
    lost_gpu_hours: float
    at_time_limit: int
    unfinished: int
    holds: int
    planned: int
    starts: int
    cycles: int
    decisions: int
    planner_cpu_s: float
    tenants: tuple[Tenant, ...]

    @property
    def decisions_per_cpu_s(self) -> float:
        """Return decisions per CPU-second of planning; 0 where nothing was measured."""
        return self.decisions / self.planner_cpu_s if self.planner_cpu_s else 0.0


def measure(history: History) -> Report:
    """Return the figures of a simulation."""
    ended = history.ended
    gangs = [each for each in ended if is_gang(each)]
    tenants = _tenants(ended)
    tally = history.tally
    return Report(
        jobs=len(ended) + len(history.unfinished),
        gang_jobs=len(gangs),
        wait_s=spread(each.wait for each in ended),
        jct_s=spread(each.jct for each in ended),
        gang_wait_s=spread(each.wait for each in gangs),
        gang_jct_s=spread(each.jct for each in gangs),
        makespan_s=makespan(ended).total_seconds(),
        utilisation=utilisation(history),
        fairness=jain([tenant.slowdown for tenant in tenants]),
        preemptions=sum(each.ended_by is EndedBy.PREEMPTED for each in history.attempts),
        recalls=len(history.recalls),
        recall_s=spread(one.took for one in history.recalls if one.took is not None),
        lost_gpu_hours=history.lost_gpu_seconds / _HOUR,
        at_time_limit=sum(each.progress < each.work.duration for each in ended),
        unfinished=len(history.unfinished),
        holds=len(tally.held),
        planned=len(tally.planned),
        starts=tally.starts,
        cycles=tally.cycles,
        decisions=tally.decisions,
        planner_cpu_s=tally.planner_cpu,
        tenants=tenants,
    )


def makespan(ended: Sequence[Ended]) -> timedelta:
    """Return the time from the first submission to the last end; zero for nothing."""
    if not ended:
        return timedelta(0)
    first = min(each.work.job.submitted_at for each in ended)
    return max(each.end_at for each in ended) - first


def is_gang(ended: Ended) -> bool:
    """Return whether the job takes more than one node."""
    return ended.work.job.shape.nodes > 1


def spread(times: Iterable[timedelta]) -> Spread:
    """Return mean and percentiles in seconds."""
    seconds = sorted(time.total_seconds() for time in times)
    if not seconds:
        return Spread(0.0, 0.0, 0.0, 0.0)
    mean = fsum(seconds) / len(seconds)
    return Spread(mean, *(_percentile(seconds, part) for part in (0.5, 0.95, 0.99)))


def _percentile(ordered: Sequence[float], part: float) -> float:
    at = part * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


def slowdown(ended: Ended) -> float:
    """Return the bounded slowdown: how many times its run time a job took, at least 1."""
    return max(1.0, (ended.wait + ended.progress) / max(ended.progress, BOUND))


def jain(values: Sequence[float]) -> float:
    """Return the Jain index of fairness, from 1/n to 1; 1 for nothing.

    Source: R. Jain, D. Chiu, W. Hawe, DEC-TR-301, 1984.
    """
    squares = fsum(value * value for value in values)
    return fsum(values) ** 2 / (len(values) * squares) if squares else 1.0


def _tenants(ended: Sequence[Ended]) -> tuple[Tenant, ...]:
    by_name: dict[str, list[Ended]] = {}
    for each in ended:
        by_name.setdefault(each.work.job.account, []).append(each)
    return tuple(_tenant(name, jobs) for name, jobs in sorted(by_name.items()))


def _tenant(name: str, jobs: Sequence[Ended]) -> Tenant:
    seconds = fsum(each.work.job.shape.gpus * each.progress.total_seconds() for each in jobs)
    return Tenant(
        name=name,
        jobs=len(jobs),
        wait_s=spread(each.wait for each in jobs),
        slowdown=fsum(slowdown(each) for each in jobs) / len(jobs),
        gpu_hours=seconds / _HOUR,
    )


def last_submission(history: History) -> datetime:
    """Return when the last job came; afterwards a cluster only empties."""
    ended = (each.work for each in history.ended)
    works = (*ended, *history.unfinished)
    return max((work.job.submitted_at for work in works), default=history.begins_at)


def utilisation(history: History) -> float:
    """Return the part of the GPU time until the last submission that runs held; 0 for no time."""
    end = last_submission(history)
    whole = history.gpus * (end - history.begins_at).total_seconds()
    return fsum(_held(attempt, end) for attempt in history.attempts) / whole if whole else 0.0


def _held(attempt: Attempt, until: datetime) -> float:
    seconds = (min(attempt.end_at, until) - attempt.start_at).total_seconds()
    return max(0.0, seconds) * sum(len(slot.gpus) for slot in attempt.slots)


def figures(report: Report) -> dict[str, Any]:
    """Return the report as plain JSON values; times in seconds."""
    plain = {name: getattr(report, name) for name in report.__slots__}
    for name in ("wait_s", "jct_s", "gang_wait_s", "gang_jct_s", "recall_s"):
        plain[name] = _plain(plain[name])
    plain["decisions_per_cpu_s"] = report.decisions_per_cpu_s
    plain["tenants"] = [
        {
            "tenant": tenant.name,
            "jobs": tenant.jobs,
            "wait_s": _plain(tenant.wait_s),
            "mean_bounded_slowdown": tenant.slowdown,
            "gpu_hours": tenant.gpu_hours,
        }
        for tenant in report.tenants
    ]
    return plain


def _plain(spread: Spread) -> dict[str, float]:
    return {name: getattr(spread, name) for name in spread.__slots__}


def write_attempts(history: History, file: TextIO) -> None:
    """Write `--jobs`: a header, then a row per attempt in the order in which they ended."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("job_id", "attempt", "start_s", "end_s", "ended_by", "placement"))
    for each in history.attempts:
        start, end = (_seconds(at - history.begins_at) for at in (each.start_at, each.end_at))
        placement = ";".join(f"{slot.node}:{len(slot.gpus)}" for slot in each.slots)
        writer.writerow((each.job, each.number, start, end, each.ended_by.value, placement))


def _seconds(time: timedelta) -> str:
    """Return exact seconds: whole, or with as many digits of a microsecond as there are."""
    whole, part = divmod(time, timedelta(seconds=1))
    digits = f"{part.microseconds:06}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
