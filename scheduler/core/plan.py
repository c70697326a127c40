"""The cycle on one screen: who starts, who ends for whom, who is promised a start, who waits.

Three passes, by class (R2): in-quota starts, with an owner's recall where needed; then
borrowed ones; then background work. In each, accounts take turns by least share, and a
kind of job that cannot start is tried once: its head is told why, the rest wait behind it.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from scheduler.core import verdicts
from scheduler.core.cycle import Cycle
from scheduler.core.decisions import Hold, Plan
from scheduler.core.explain import Verdict
from scheduler.core.model import AccountName, Job, JobId, QuotaClass, Shape
from scheduler.core.ordering import Entry, Kind, Turns
from scheduler.core.policy import Policy
from scheduler.core.world import World


def plan(world: World, policy: Policy, now: datetime) -> Plan:
    """Return what to do at `now`. The world is left as it was.

    Raises:
        ValueError: the world was built for another policy.
    """
    if policy is not world.policy and policy != world.policy:
        raise ValueError(
            f"the world was built for policy revision {world.policy.revision}, "
            f"not for {policy.revision}: build it anew"
        )
    cycle = Cycle(world, now)
    queue = _Queue(cycle, world.waiting())
    try:
        usage = world.usage_at(now)
        for turn in QuotaClass:
            queue.rewind()
            turns = Turns(world.index, usage, queue.of(turn), queue.head)
            while (kind := turns.take()) is not None:
                turns.give_back(kind, queue.serve(kind, turn))
        holds = tuple(queue.holds())
    finally:
        cycle.rollback()
    return Plan(
        now=now,
        policy_revision=policy.revision,
        starts=tuple(cycle.starts),
        preempts=tuple(cycle.preempts),
        reserves=tuple(cycle.reserves.values()),
        holds=holds,
    )


class _Queue:
    """Where each kind stands in this cycle: its next job to try, and who was told what."""

    def __init__(self, cycle: Cycle, kinds: list[Kind]) -> None:
        self._cycle = cycle
        self._kinds = kinds
        self._jobs = cycle.world.jobs
        self._at: dict[Kind, int] = {}
        self._limit: dict[Kind, timedelta] = {}
        self._blocked: dict[Kind, JobId] = {}
        self._full: set[tuple[Kind, str]] = set()
        # Jobs with a verdict of their own.
        self._own: dict[Kind, dict[JobId, tuple[Verdict, ...]]] = {}

    def of(self, turn: QuotaClass) -> list[Kind]:
        """Return the kinds that may start in this pass."""
        return [kind for kind in self._kinds if _takes_part(kind, turn)]

    def rewind(self) -> None:
        """Begin a pass: every kind is tried anew from its head."""
        self._at.clear()
        self._limit.clear()

    def head(self, kind: Kind) -> Entry | None:
        """Return the place of the next job to try; tell those passed over why."""
        limit = self._limit.get(kind)
        if limit is not None and not limit:
            return None
        at = self._at.get(kind, 0)
        entries = kind.entries
        while at < len(entries):
            job = self._jobs[entries[at][3]]
            if (limit is None or job.time_limit <= limit) and not self._passed_over(kind, job):
                break
            at += 1
        self._at[kind] = at
        return entries[at] if at < len(entries) else None

    def _passed_over(self, kind: Kind, job: Job) -> bool:
        """Return whether the job waits for a reason of its own, that no pool can change."""
        cycle = self._cycle
        if job.not_before is not None and job.not_before > cycle.now:
            self._tell(kind, job, verdicts.not_before(job.not_before))
            return True
        user = cycle.world.index.users.get(job.user)
        if user is None or user.max_gpus is None:
            return False
        if (kind, job.user) in self._full:
            return True
        used = cycle.world.held_by_user.get(job.user, 0)
        if used + kind.gpus <= user.max_gpus:
            return False
        # Only the person's first job of the kind is told by itself: there may be thousands.
        self._full.add((kind, job.user))
        self._tell(kind, job, verdicts.user_limit(job.user, user.max_gpus, used, kind.gpus))
        return True

    def _tell(self, kind: Kind, job: Job, told: tuple[Verdict, ...]) -> None:
        self._own.setdefault(kind, {})[job.id] = told

    def serve(self, kind: Kind, turn: QuotaClass) -> float:
        """Try the kind's next job; return the tentative usage of its start, 0 where it waits."""
        # Asked again: since it was queued, its user may have reached a limit elsewhere.
        head = self.head(kind)
        if head is None:
            return 0.0
        job = self._jobs[head[3]]
        start = self._cycle.try_start(kind, job, turn)
        if start is not None:
            return self._cycle.tentative_usage(start, kind.gpus)
        if kind not in self._limit:
            self._blocked[kind] = job.id
            self._reserve(kind, turn)
        # Shorter jobs of the kind may still fit before a planned start.
        self._limit[kind] = self._cycle.longest_limit(kind, job, turn)
        return 0.0

    def _reserve(self, kind: Kind, turn: QuotaClass) -> None:
        depth = self._cycle.world.policy.rules.reserve_depth
        at = self._at[kind]
        for _, _, _, job in kind.entries[at : at + depth]:
            self._cycle.reserve(kind, self._jobs[job], turn)

    def holds(self) -> Iterator[Hold]:
        """Yield one verdict for every job that still waits: its own, or its group's."""
        groups: dict[tuple[AccountName, Shape], list[Kind]] = {}
        for kind in sorted(self._kinds, key=lambda k: (k.account, k.key)):
            if kind.entries:
                groups.setdefault((kind.account, kind.shape), []).append(kind)
        for (account, shape), kinds in groups.items():
            first: tuple[Verdict, ...] = ()
            covered = 0
            for kind in kinds:
                for job_id, told in self._told(kind):
                    yield Hold(account, shape, told, job_id)
                    first = first or told
                    covered += 1
            if covered < sum(len(kind.entries) for kind in kinds):
                yield Hold(account, shape, verdicts.behind(first))

    def _told(self, kind: Kind) -> Iterator[tuple[JobId, tuple[Verdict, ...]]]:
        """Yield the kind's jobs with a verdict of their own: the blocked head first."""
        own = self._own.get(kind, {})
        head = self._blocked.get(kind)
        if head not in self._jobs and not own:
            head = kind.entries[0][3]  # no pass could take this kind: its first job is told why
        if head is not None and head in self._jobs:
            yield head, verdicts.verdicts(self._cycle, kind, self._jobs[head])
        yield from ((job, told) for job, told in own.items() if job != head)


def _takes_part(kind: Kind, turn: QuotaClass) -> bool:
    """Return whether jobs of this kind could start in this pass at all."""
    if kind.shape.background:
        return turn is QuotaClass.BACKGROUND
    if turn is QuotaClass.IN_QUOTA:
        return bool(kind.guaranteed)
    return turn is QuotaClass.BORROWED and kind.shape.preemptible
