"""What becomes of a lease whose GPUs do nothing (R18): its owner is warned, then it is requeued.

Idle is a window and never a moment: a run is idle since the last of its GPUs began to do
nothing, and only where every one of them was measured all that time. What nobody measured
is not idle, and neither is a gang of which one GPU works. A single sample of work begins
the window anew, which is all the hysteresis that the steps need.

Source: scheduling.md R18; notes/nvml_prometheus.md §2.4 (Princeton's job_defense_shield).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from scheduler.core.model import PriorityClass
from scheduler.core.policy import TierRules

GRACE = timedelta(minutes=10)
"""A run loads data and compiles when it starts: only from then on is it watched."""


class Step(IntEnum):
    """How far it has come with a run that is idle; each is taken once."""

    NONE = 0
    WARN = 1
    REQUEUE = 2
    END = 3


@dataclass(frozen=True, slots=True)
class Watched:
    """A running run: since when each of its GPUs does nothing (None: it works, or is unseen).

    `requeued` says that its job was requeued for idleness before. `taken` is the last step.
    """

    started_at: datetime
    idle_since: Sequence[datetime | None]
    priority: PriorityClass
    preemptible: bool = True
    background: bool = False
    requeued: bool = False
    taken: Step = Step.NONE


def idle_for(run: Watched, now: datetime) -> timedelta:
    """Return how long all of a run's GPUs have done nothing; zero where one is not known to."""
    since = [at for at in run.idle_since if at is not None]
    if not since or len(since) < len(run.idle_since):
        return timedelta(0)
    return max(timedelta(0), now - max(*since, run.started_at + GRACE))


def next_step(run: Watched, rules: TierRules, now: datetime) -> Step:
    """Return the step that is due: the one taken before, where nothing new is.

    Work takes a run back to `NONE`. `debug` is for people who sit and think, and background
    work is anybody's to recall: neither is touched. What cannot be preempted is only warned.
    A step whose time the tier's rules leave at zero is never taken. A job is ended where it is
    idle again after it was requeued for it, or where the tier requeues none.
    """
    if run.taken >= Step.REQUEUE:
        return run.taken  # It is on its way out.
    idle = idle_for(run, now)
    if not idle:
        return Step.NONE
    if run.priority is PriorityClass.DEBUG or run.background:
        return Step.NONE
    if run.preemptible:
        if _is_due(rules.idle_end, idle) and (run.requeued or not rules.idle_requeue):
            return Step.END
        if _is_due(rules.idle_requeue, idle) and not run.requeued:
            return Step.REQUEUE
    warned = _is_due(rules.idle_warn, idle) or run.taken is Step.WARN
    return Step.WARN if warned else Step.NONE


def _is_due(after: timedelta, idle: timedelta) -> bool:
    return timedelta(0) < after <= idle
