"""What becomes of a lease whose GPUs do nothing (R18): warned, lent, requeued, ended.

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


class Step(IntEnum):
    """How far it has come with a run that is idle; each is taken once."""

    NONE = 0
    WARN = 1
    LEND = 2
    REQUEUE = 3
    END = 4


@dataclass(frozen=True, slots=True)
class Watched:
    """A running run: since when each of its GPUs does nothing (None: it works, or is unseen).

    `requeued` says that its job was requeued for idleness before. `taken` is the last step.
    `lendable`: its pool can lend, and on each of its nodes whoever works is told apart. Nothing
    before `idle_from` counts: its owner took its lease back then.
    """

    started_at: datetime
    idle_since: Sequence[datetime | None]
    priority: PriorityClass
    preemptible: bool = True
    background: bool = False
    requeued: bool = False
    taken: Step = Step.NONE
    lendable: bool = False
    idle_from: datetime | None = None


def idle_since(run: Watched, rules: TierRules) -> datetime | None:
    """Return since when all of a run's GPUs do nothing; None where one is not known to."""
    since = [at for at in run.idle_since if at is not None]
    if not since or len(since) < len(run.idle_since):
        return None
    at = max(*since, run.started_at + rules.idle_grace)
    # It loads data and compiles when it starts: only from then on is it watched.
    return at if run.idle_from is None else max(at, run.idle_from)


def idle_for(run: Watched, rules: TierRules, now: datetime) -> timedelta:
    """Return how long all of a run's GPUs have done nothing; zero where one is not known to."""
    since = idle_since(run, rules)
    return timedelta(0) if since is None else max(timedelta(0), now - since)


def next_step(run: Watched, rules: TierRules, now: datetime) -> Step:
    """Return the step that is due: the one taken before, where nothing new is.

    Work takes a run back to `NONE`. `debug` is for people who sit and think, and background
    work is anybody's to recall: neither is touched. What cannot be preempted is only warned:
    a guest takes memory, so for the seconds of its notice its host might find none, and that
    is not what such a job was promised.
    A step whose time the tier's rules leave at zero is never taken. A job is ended where it is
    idle again after it was requeued for it, or where the tier requeues none.
    """
    if run.taken >= Step.REQUEUE:
        return run.taken  # It is on its way out.
    idle = idle_for(run, rules, now)
    if not idle or run.priority is PriorityClass.DEBUG or run.background:
        return Step.NONE
    if run.preemptible:
        if _is_due(rules.idle_end, idle) and (run.requeued or not rules.idle_requeue):
            return Step.END
        if _is_due(rules.idle_requeue, idle) and not run.requeued:
            return Step.REQUEUE
        if _is_due(rules.idle_lend, idle) and (run.lendable or run.taken is Step.LEND):
            return Step.LEND
    warned = _is_due(rules.idle_warn, idle) or run.taken >= Step.WARN
    return Step.WARN if warned else Step.NONE


def _is_due(after: timedelta, idle: timedelta) -> bool:
    return timedelta(0) < after <= idle
