"""What differs between two simulations of one trace, as the series that are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from scheduler.sim.history import Ended, History
from scheduler.sim.report import Report, last_submission, spread

SIZES = ((1, 1), (2, 4), (5, 8), (9, 32), (33, 128), (129, 1 << 30))
"""Classes of GPUs per job, from and to."""

STEPS = 240
"""Into how many equal parts the time until the last submission is divided."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """One side: the policy's name, what happened, and the figures."""

    name: str
    history: History
    report: Report


@dataclass(frozen=True, slots=True)
class Bars:
    """Mean waits in seconds of both sides, by label."""

    labels: tuple[str, ...]
    first: tuple[float, ...]
    second: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """The part of the GPUs in use, on both sides, in each step; `days` are the steps' starts."""

    days: tuple[float, ...]
    first: tuple[float, ...]
    second: tuple[float, ...]


def waits_by_size(first: Simulated, second: Simulated) -> Bars:
    """Return mean waits by GPUs per job, of the classes that occur."""
    sides = [_by_size(side.history.ended) for side in (first, second)]
    present = [size for size in SIZES if any(size in side for side in sides)]
    return Bars(
        tuple(_label(size) for size in present),
        *(tuple(_mean(side.get(size, ())) for size in present) for side in sides),
    )


def waits_by_tenant(first: Simulated, second: Simulated, most: int = 20) -> Bars:
    """Return mean waits of the tenants with the most GPU time."""
    means = [{t.name: t.wait_s.mean for t in side.report.tenants} for side in (first, second)]
    largest = sorted(first.report.tenants, key=lambda t: (-t.gpu_hours, t.name))[:most]
    names = tuple(tenant.name for tenant in largest)
    return Bars(names, *(tuple(side.get(name, 0.0) for name in names) for side in means))


def utilisation_over_time(first: Simulated, second: Simulated) -> Lines:
    """Return the part of the GPUs that runs held, step by step until the last submission."""
    whole = last_submission(first.history) - first.history.begins_at
    step = max(whole / STEPS, timedelta(microseconds=1))
    days = tuple(n * step / timedelta(days=1) for n in range(STEPS))
    return Lines(days, *(_held(side.history, step) for side in (first, second)))


def _held(history: History, step: timedelta) -> tuple[float, ...]:
    """Spread each attempt's GPU time over the steps that it touches.

    What it holds in whole steps is noted at its two ends and added up once, so a long run
    costs no more than a short one.
    """
    level = [0.0] * (STEPS + 1)
    for attempt in history.attempts:
        gpus = sum(len(slot.gpus) for slot in attempt.slots)
        for at, sign in ((attempt.start_at, gpus), (attempt.end_at, -gpus)):
            place = (at - history.begins_at) / step
            whole = int(place)
            if whole < STEPS:
                level[whole] += sign * (whole + 1 - place)
                level[whole + 1] += sign * (place - whole)
    held, total = [], 0.0
    for change in level[:STEPS]:
        total += change
        held.append(total / history.gpus)
    return tuple(held)


def _by_size(ended: Sequence[Ended]) -> dict[tuple[int, int], list[timedelta]]:
    waits: dict[tuple[int, int], list[timedelta]] = {}
    for each in ended:
        gpus = each.work.job.shape.gpus
        size = next(size for size in SIZES if size[0] <= gpus <= size[1])
        waits.setdefault(size, []).append(each.wait)
    return waits


def _label(size: tuple[int, int]) -> str:
    low, high = size
    if size == SIZES[-1]:
        return f"{low}+"
    return str(low) if low == high else f"{low}-{high}"


def _mean(waits: Sequence[timedelta]) -> float:
    return spread(waits).mean
