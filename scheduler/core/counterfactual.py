"""What smallest change would start a waiting job sooner? Asked of the planner, never guessed.

Each change is tried on a copy of the world: the job as it would be, everything else as it
is, planned ahead with run times as they are likely. Only what really starts it sooner is
told (scheduling.md §5). The order of the changes is from the smallest to the largest for
the person: other terms first, then less of the same, then another kind of job.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import zip_longest

from scheduler.core.forecast import Foresight, typical_starts
from scheduler.core.model import Job, JobId, PriorityClass, Shape, Tier
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Snapshot

STEPS = 60
"""How far each change is planned ahead; one step costs about a cycle."""

MOST = 12
"""How many changes are tried at most."""

_LEAST_GAIN = timedelta(minutes=1)
_LEAST_LIMIT = timedelta(minutes=1)


class Knob(StrEnum):
    """What about a job could be changed."""

    PREEMPTIBLE = "preemptible"
    MODEL = "gpu_models"
    TIER = "tier"
    TIME_LIMIT = "time_limit"
    NODES = "nodes"
    GPUS = "gpus_per_node"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Change:
    """A job as it might have been asked for; `before` and `after` say it in words."""

    knob: Knob
    before: str
    after: str
    job: Job


@dataclass(frozen=True, slots=True)
class Sooner:
    """A change that was planned, and when the job would start with it; `job` has it made."""

    knob: Knob
    before: str
    after: str
    starts_at: datetime
    job: Job | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Effort:
    """How many changes are tried, and how far ahead: (`changes` + 1) x `steps` cycles at most."""

    changes: int = MOST
    steps: int = STEPS


def sooner(
    foresight: Foresight,
    snapshot: Snapshot,
    job_id: JobId,
    now: datetime,
    effort: Effort | None = None,
) -> tuple[Sooner, ...]:
    """Return the changes that start the job sooner, by kind the smallest that does.

    Each kind has its first try before any has a second: few tries reach all kinds.
    """
    most, steps = (effort or Effort()).changes, (effort or Effort()).steps
    job = snapshot.jobs[job_id]
    as_it_is = _starts(foresight, snapshot, job, now, steps)
    found: dict[Knob, Sooner] = {}
    tried = 0
    for change in _in_turns(changes(job, foresight.policy)):
        if change.knob in found:
            continue
        if tried == most:
            break
        tried += 1
        starts_at = _starts(foresight, snapshot, change.job, now, steps)
        if starts_at is not None and (as_it_is is None or as_it_is - starts_at >= _LEAST_GAIN):
            found[change.knob] = Sooner(
                change.knob, change.before, change.after, starts_at, change.job
            )
    return tuple(found[knob] for knob in Knob if knob in found)


def _in_turns(all_changes: Iterator[Change]) -> Iterator[Change]:
    """Yield the first change of each kind, then the second of each, and so on."""
    kinds: dict[Knob, list[Change]] = {}
    for change in all_changes:
        kinds.setdefault(change.knob, []).append(change)
    for turn in zip_longest(*kinds.values()):
        yield from (change for change in turn if change is not None)


def _starts(
    foresight: Foresight, snapshot: Snapshot, job: Job, now: datetime, steps: int
) -> datetime | None:
    jobs: Mapping[JobId, Job] = {**snapshot.jobs, job.id: job}
    changed = replace(snapshot, jobs=jobs)
    return typical_starts(foresight, changed, now, (job.id,), steps).get(job.id)


def changes(job: Job, policy: Policy) -> Iterator[Change]:
    """Yield what could be asked for instead, the smallest change of each kind first."""
    yield from _terms(job)
    yield from _models(job, policy)
    yield from _tiers(job, policy)
    yield from _limits(job)
    yield from _sizes(job)
    if not job.shape.background:
        shape = replace(job.shape, background=True, preemptible=True)
        changed = replace(job, shape=shape, priority=PriorityClass.BACKGROUND)
        yield Change(Knob.BACKGROUND, job.priority.value, PriorityClass.BACKGROUND.value, changed)


def _terms(job: Job) -> Iterator[Change]:
    if not job.shape.preemptible:
        shape = replace(job.shape, preemptible=True)
        yield Change(Knob.PREEMPTIBLE, "no", "yes", replace(job, shape=shape))


def _models(job: Job, policy: Policy) -> Iterator[Change]:
    """Other GPUs that pools have: any where the job names some."""
    wanted = job.shape.gpu_models
    others = sorted({pool.gpu_model for pool in policy.pools} - wanted) if wanted else []
    for model in others:
        shape = replace(job.shape, gpu_models=frozenset({model}))
        yield Change(Knob.MODEL, " or ".join(sorted(wanted)), model, replace(job, shape=shape))


def _tiers(job: Job, policy: Policy) -> Iterator[Change]:
    """Tiers that exist and that the job leaves out, the nearest first."""
    shape = job.shape
    for tier in sorted({pool.tier for pool in policy.pools}, key=lambda tier: tier.rank):
        if tier.rank > shape.tier_max.rank:
            wider = replace(shape, tier_max=tier)
        elif tier.rank < shape.tier_min.rank:
            wider = replace(shape, tier_min=tier)
        else:
            continue
        yield Change(Knob.TIER, _span(shape), _span(wider), replace(job, shape=wider))


def _span(shape: Shape) -> str:
    low, high = shape.tier_min, shape.tier_max
    return Tier(low).value if low is high else f"{low.value} to {high.value}"


def _limits(job: Job) -> Iterator[Change]:
    """A shorter time limit lets a job go before planned starts: half of it, and an eighth."""
    for part in (2, 8):
        limit = timedelta(seconds=job.time_limit // timedelta(seconds=1) // part)
        if limit >= _LEAST_LIMIT:
            before, after = str(job.time_limit), str(limit)
            yield Change(Knob.TIME_LIMIT, before, after, replace(job, time_limit=limit))


def _sizes(job: Job) -> Iterator[Change]:
    """Halve the nodes again and again; then, of a single node, the GPUs."""
    shape = job.shape
    if shape.h100e:
        return  # it asked for an amount of compute, whatever the number of GPUs
    knob, count = (Knob.NODES, shape.nodes) if shape.nodes > 1 else (Knob.GPUS, shape.gpus_per_node)
    less = count // 2
    while less >= 1:
        fewer = (
            replace(shape, nodes=less) if knob is Knob.NODES else replace(shape, gpus_per_node=less)
        )
        yield Change(knob, str(count), str(less), replace(job, shape=fewer))
        less //= 2


_WORDS = {
    Knob.NODES: "{after} nodes instead of {before}",
    Knob.GPUS: "{after} GPUs per node instead of {before}",
    Knob.TIME_LIMIT: "A time limit of {after} instead of {before}",
    Knob.MODEL: "{after} instead of {before}",
    Knob.TIER: "Tiers {after} instead of {before}",
    Knob.PREEMPTIBLE: "Accepting recall (no --no-preempt)",
    Knob.BACKGROUND: "Priority background, which is not charged and is recalled first,",
}


def told(found: Sooner, now: datetime) -> str:
    """Return one plain sentence: what to change, and what it would do."""
    what = _WORDS[found.knob].format(before=found.before, after=found.after)
    if found.knob is Knob.NODES and found.after == "1":
        what = what.replace("1 nodes", "1 node")
    return f"{what} would start {about(found.starts_at - now)}."


def about(wait: timedelta) -> str:
    """Return a wait as people say it: `at once`, `in about 20 min`, `in about 3 h`."""
    minutes = wait / timedelta(minutes=1)
    if minutes < 1:
        return "at once" if minutes < 1 / 60 else "within a minute"
    if minutes < 120:  # noqa: PLR2004  # two hours are better told in minutes
        return f"in about {round(minutes)} min"
    hours = minutes / 60
    if hours < 48:  # noqa: PLR2004  # and two days in hours
        return f"in about {round(hours)} h"
    return f"in about {round(hours / 24)} days"
