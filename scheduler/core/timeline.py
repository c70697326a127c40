"""What is planned for later: reservations, and what may start before them (R6, EASY).

A planned start names GPUs from then on. A later job may use them only if its time limit
ends before; the limits of running jobs say when GPUs come back, so busy nodes count as
candidates. In-quota starts bind everyone, borrowed ones bind only borrowers and background
work: no borrower delays an owner (R10). Advance reservations are held the same way (R7).

Quota is planned too, within one account: a job that waits for its account's own nominal
is not overtaken by smaller jobs of that account that would still hold it then.

Source: EASY backfill (Lifka, 1995); scheduling.md R6.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import NamedTuple

from scheduler.core.index import Fit
from scheduler.core.model import AccountName, Job, JobId, PoolId, QuotaClass, Slot
from scheduler.core.placement import PoolNodes, Times, mask_of

ALWAYS = datetime.max.replace(tzinfo=UTC)
"""Until when GPUs may be held that no planned start needs."""

OVERDUE = timedelta(minutes=1)
"""A run past its limit is being ended; its GPUs are expected back after this."""

NOTHING: Mapping[int, int] = {}

_Ready = list[tuple[datetime, int]]

Chosen = tuple[tuple[int, tuple[int, ...]], ...]
"""Which (rank, GPUs) a gang gets."""


class Reserved(NamedTuple):
    """A planned start: GPUs by node rank, from `start_at` until its own limit.

    `moves` is the account that will find room elsewhere too, by its cells, should an owner need
    this place (R11); None where the start is promised on these very nodes.
    """

    job: JobId
    quota_class: QuotaClass
    start_at: datetime
    end_at: datetime
    masks: Mapping[int, int]
    moves: AccountName | None = None


class QuotaHold:
    """From `start_at` to `end_at`, an account may use only `slack` GPUs more than runs now hold."""

    __slots__ = ("end_at", "job", "slack", "start_at")

    def __init__(self, job: JobId, start_at: datetime, end_at: datetime, slack: int) -> None:
        self.job = job
        self.start_at = start_at
        self.end_at = end_at
        self.slack = slack


class PoolPlans:
    """The planned starts of one pool, and when its nodes are back after them."""

    __slots__ = (
        "_blocked",
        "_kept",
        "_later",
        "_lists",
        "_nodes",
        "_until",
        "held",
        "idle",
        "starts",
        "taken",
    )

    def __init__(self, nodes: PoolNodes) -> None:
        self._nodes = nodes
        self.held: list[Reserved] = []
        self.starts: list[datetime] = []
        self.idle = 0  # GPUs that are free now and kept for later
        self._kept: dict[int, int] = {}  # which, by rank
        # By rank: what is planned there; its GPUs' times then; and by gang size, whose turn.
        self.taken: dict[int, list[Reserved]] = {}
        self._later: dict[int, tuple[Times, Times]] = {}
        self._lists: dict[int, _Ready] = {}
        self._blocked: dict[tuple[QuotaClass, int], Mapping[int, int]] = {}
        # Until when a gang may hold what is free now, by its nodes, GPUs on each, and class.
        self._until: dict[tuple[int, int, QuotaClass], datetime] = {}

    def add(self, reserved: Reserved) -> None:
        """Plan a start."""
        place = (reserved.start_at, reserved.job)
        at = bisect_left(self.held, place, key=lambda r: (r.start_at, r.job))
        self.held.insert(at, reserved)
        self.starts.insert(at, reserved.start_at)
        self._blocked.clear()
        self._until.clear()
        order, kept = self._nodes.order, self._kept
        for rank, mask in reserved.masks.items():
            state = order[rank]
            before = self.later(rank)
            after = _after(before, mask, reserved.end_at)
            held = self.taken.get(rank)
            if held is None:
                self.taken[rank] = [reserved]
            else:
                held.append(reserved)
            self._later[rank] = (state.times, after)
            for gpus, ready in self._lists.items():
                _move(ready, gpus, rank, (before, after))
            now = state.free & mask
            if now:
                known = kept.get(rank, 0)
                self.idle += (now & ~known).bit_count()
                kept[rank] = known | now

    def more_idle(self, rank: int, mask: int) -> int:
        """Return how many GPUs more would stand idle on a node if these were kept for later."""
        return (self._nodes.order[rank].free & mask & ~self._kept.get(rank, 0)).bit_count()

    def forget(self, job: JobId) -> None:
        """Give up a job's planned start, since it has started elsewhere."""
        kept = [reserved for reserved in self.held if reserved.job != job]
        if len(kept) == len(self.held):
            return
        self.held, self.starts, self.idle = [], [], 0
        self.taken.clear()
        self._kept.clear()
        self._later.clear()
        self.touch()
        self._blocked.clear()
        for reserved in kept:
            self.add(reserved)

    def touch(self) -> None:
        """Take note that what is free now has changed."""
        self._lists.clear()
        self._until.clear()

    def blocked(self, end_at: datetime, quota_class: QuotaClass, job: JobId) -> Mapping[int, int]:
        """Return the GPUs, by node rank, that a start ending at `end_at` must leave alone."""
        before = bisect_left(self.starts, end_at)
        if not before:
            return NOTHING
        if any(r.job == job for r in self.held[:before]):
            return _merged(
                r for r in self.held[:before] if r.quota_class <= quota_class and r.job != job
            )
        return self._kept_from(before, quota_class)

    def firm(self, end_at: datetime, job: Job) -> Mapping[int, int]:
        """Return what also an owner's start in its cells must leave alone: `blocked`, less moves.

        What is planned for the account's own jobs does not move for one that came later.
        """
        before = self.held[: bisect_left(self.starts, end_at)]
        return _merged(
            r
            for r in before
            if r.quota_class is QuotaClass.IN_QUOTA
            and r.job != job.id
            and (r.moves is None or r.moves == job.account)
        )

    def moved_by(self, slots: Mapping[int, int], end_at: datetime) -> list[JobId]:
        """Return the jobs whose planned starts a run on these GPUs by rank is in the way of."""
        before = self.held[: bisect_left(self.starts, end_at)]
        return [
            r.job
            for r in before
            if r.moves is not None and any(slots.get(k, 0) & mask for k, mask in r.masks.items())
        ]

    def _kept_from(self, count: int, quota_class: QuotaClass) -> Mapping[int, int]:
        """Return the GPUs that the first so many planned starts keep from a class, by rank."""
        key = (quota_class, count)
        known = self._blocked.get(key)
        if known is None:
            known = _merged(r for r in self.held[:count] if r.quota_class <= quota_class)
            self._blocked[key] = known
        return known

    def open_until(self, fit: Fit, quota_class: QuotaClass) -> datetime:
        """Return until when a gang may hold GPUs that are free now, at most.

        `ALWAYS` where no planned start needs them; asked only where the gang has room. A gang
        that would end earlier has no less room, so the answer is found by halving.
        """
        key = (fit.nodes, fit.gpus_per_node, quota_class)
        known = self._until.get(key)
        if known is None:
            low, high = 0, len(self.starts)
            while low < high:
                middle = (low + high + 1) // 2
                blocked = self._kept_from(middle, quota_class)
                if self._nodes.with_room(fit.gpus_per_node, blocked).bit_count() >= fit.nodes:
                    low = middle
                else:
                    high = middle - 1
            known = self._until[key] = self.starts[low] if low < len(self.starts) else ALWAYS
        return known

    def later(self, rank: int) -> Times:
        """Return when each GPU of a node is free, after the planned starts that hold it."""
        before = self._nodes.order[rank].times
        taken = self.taken.get(rank)
        if not taken:
            return before
        known = self._later.get(rank)
        # A start changes what is free now: the times kept are of the node as it was then.
        if known is None or known[0] is not before:
            after = before
            for reserved in taken:
                after = _after(after, reserved.masks[rank], reserved.end_at)
            known = self._later[rank] = (before, after)
        return known[1]

    def ready(self, gpus: int) -> Sequence[tuple[datetime, int]]:
        """Return (when so many GPUs are free at once, rank) of every node, soonest first."""
        known = self._lists.get(gpus)
        if known is None:
            known = self._lists[gpus] = list(self._nodes.ready(gpus))
            for rank in self.taken:
                _move(known, gpus, rank, (self._nodes.order[rank].times, self.later(rank)))
        return known

    def choose(self, fit: Fit, start_at: datetime) -> Chosen:
        """Return which (rank, GPUs) a gang gets that starts then: nodes that come back last.

        The others serve what may start before.
        """
        ready = self.ready(fit.gpus_per_node)
        fitting = ready[: bisect_right(ready, start_at, key=_WHEN)]
        oldest = fitting[-fit.nodes][0]
        after = fitting[bisect_right(fitting, oldest, key=_WHEN) :]
        first = bisect_left(fitting, oldest, key=_WHEN)
        ranks = sorted(
            rank for _, rank in (*after, *fitting[first : first + fit.nodes - len(after)])
        )
        return tuple(
            (rank, _first(self.later(rank), start_at, fit.gpus_per_node)) for rank in ranks
        )


class Reservations:
    """The planned starts of one cycle, in all pools."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._pools: dict[PoolId, PoolPlans] = {}
        self._quota: dict[AccountName, dict[PoolId, list[QuotaHold]]] = {}
        self._jobs: dict[JobId, PoolId] = {}
        self._waiting: set[JobId] = set()  # jobs that quota is kept for
        # Pools with planned starts in which something has changed, in the order of the changes.
        self.changes: list[PoolId] = []

    def planned(self, pool: PoolId) -> PoolPlans | None:
        """Return what is planned in a pool, None where nothing was."""
        return self._pools.get(pool)

    def pool(self, pool: PoolId, nodes: PoolNodes) -> PoolPlans:
        """Return what is planned in a pool."""
        known = self._pools.get(pool)
        if known is None:
            known = self._pools[pool] = PoolPlans(nodes)
        return known

    def add(self, pool: PoolId, nodes: PoolNodes, reserved: Reserved) -> None:
        """Plan a start."""
        self.pool(pool, nodes).add(reserved)
        self._jobs[reserved.job] = pool
        self.changes.append(pool)

    def hold_quota(self, account: AccountName, pool: PoolId, hold: QuotaHold) -> None:
        """Keep an account's quota for a job of its own that was there first."""
        self._quota.setdefault(account, {}).setdefault(pool, []).append(hold)
        self._waiting.add(hold.job)

    def _holds(self, account: AccountName, pool: PoolId) -> list[QuotaHold] | None:
        of_account = self._quota.get(account)
        return None if of_account is None else of_account.get(pool)

    def forget(self, job: JobId) -> None:
        """Give up a job's planned start, since it has started elsewhere."""
        pool = self._jobs.pop(job, None)
        if pool is not None:
            self._pools[pool].forget(job)
            self.changes.append(pool)

    def forget_quota(self, account: AccountName, job: JobId) -> None:
        """Keep no quota any more for a job that has started."""
        if job not in self._waiting:
            return
        self._waiting.remove(job)
        for holds in self._quota.get(account, {}).values():
            holds[:] = [hold for hold in holds if hold.job != job]

    def open_quota(
        self, account: AccountName, pool: PoolId, end_at: datetime, job: JobId
    ) -> int | None:
        """Return how many GPUs a start may take that ends then; None: as many as quota allows."""
        holds = self._holds(account, pool)
        if not holds:
            return None
        slacks = [h.slack for h in holds if h.start_at < end_at and h.job != job]
        return min(slacks, default=None)

    def quota_back_at(self, account: AccountName, pool: PoolId, gpus: int) -> datetime:
        """Return when the planned starts of the account's own jobs leave so many GPUs again."""
        holds = self._holds(account, pool)
        if not holds:
            return self._now
        return max((h.end_at for h in holds if h.slack < gpus), default=self._now)

    def quota_until(self, job: Job, pool: PoolId, gpus: int) -> datetime:
        """Return until when a job may hold so many GPUs of its account's quota, at most."""
        holds = self._holds(job.account, pool) or ()
        starts = (h.start_at for h in holds if h.slack < gpus and h.job != job.id)
        return min(starts, default=ALWAYS)

    def started(self, account: AccountName, pool: PoolId, end_at: datetime, gpus: int) -> None:
        """Count a start against the quota holds that it outlasts."""
        plans = self._pools.get(pool)
        if plans is not None:
            plans.touch()
            self.changes.append(pool)
        for hold in self._holds(account, pool) or ():
            if hold.start_at < end_at:
                hold.slack -= gpus

    def first_start(self, account: AccountName, pool: PoolId, end_at: datetime) -> datetime | None:
        """Return the first planned start before `end_at` that may keep an account's job out."""
        plans = self._pools.get(pool)
        nodes = plans.starts[:1] if plans is not None else []
        quota = [h.start_at for h in self._holds(account, pool) or ()]
        return min((when for when in (*nodes, *quota) if when < end_at), default=None)

    def earliest(
        self, pool: PoolId, nodes: PoolNodes, fit: Fit, quota_opens: datetime
    ) -> datetime | None:
        """Return when the gang can start by all limits, or None."""
        plans = self._pools.get(pool)
        ready = nodes.ready(fit.gpus_per_node) if plans is None else plans.ready(fit.gpus_per_node)
        if len(ready) < fit.nodes:
            return None
        start_at = max(ready[fit.nodes - 1][0], quota_opens)
        return start_at if start_at > self._now else self._now + OVERDUE


def slots_of(nodes: PoolNodes, chosen: Chosen) -> tuple[Slot, ...]:
    """Return (rank, GPUs) pairs as slots on named nodes."""
    return tuple(Slot(nodes.order[rank].node.id, gpus) for rank, gpus in chosen)


def masks_of(chosen: Chosen) -> Mapping[int, int]:
    """Return (rank, GPUs) pairs as bits by rank."""
    return {rank: mask_of(gpus) for rank, gpus in chosen}


def _merged(held: Iterable[Reserved]) -> Mapping[int, int]:
    masks: dict[int, int] = {}
    for reserved in held:
        for rank, mask in reserved.masks.items():
            masks[rank] = masks.get(rank, 0) | mask
    return masks


def _after(times: Times, mask: int, end_at: datetime) -> Times:
    """Return when a node's GPUs are free, if those in `mask` are held until then."""
    if mask.bit_count() == len(times) and end_at >= times[-1][0]:
        return tuple([(end_at, gpu) for gpu in sorted([gpu for _, gpu in times])])
    return tuple(
        sorted([(max(when, end_at) if mask >> gpu & 1 else when, gpu) for when, gpu in times])
    )


def _move(ready: _Ready, gpus: int, rank: int, times: tuple[Times, Times]) -> None:
    """Take note in a list of when nodes are ready that one is at other times than before."""
    before, after = times
    if len(after) >= gpus and before[gpus - 1][0] != after[gpus - 1][0]:
        del ready[bisect_left(ready, (before[gpus - 1][0], rank))]
        insort(ready, (after[gpus - 1][0], rank))


def _first(times: Times, start_at: datetime, gpus: int) -> tuple[int, ...]:
    if len(times) == gpus:
        return tuple(sorted([gpu for _, gpu in times]))  # the whole node
    return tuple(sorted([gpu for when, gpu in times if when <= start_at])[:gpus])


_WHEN = itemgetter(0)
