"""What is planned for later: reservations, and what may start before them (R6, EASY).

A planned start names GPUs from then on. A later job may use them only if its time limit
ends before; the limits of running jobs say when GPUs come back, so busy nodes count as
candidates. In-quota starts bind everyone, borrowed ones bind only borrowers and background
work: no borrower delays an owner (R10). Advance reservations are held the same way (R7).

Quota is planned too, within one account: a job that waits for its account's own nominal
is not overtaken by smaller jobs of that account that would still hold it then.

Source: EASY backfill (Lifka, 1995); scheduling.md R6.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from scheduler.core.index import Fit
from scheduler.core.model import AccountName, JobId, PoolId, QuotaClass, Slot
from scheduler.core.placement import PoolNodes, mask_of

OVERDUE = timedelta(minutes=1)
"""A run past its limit is being ended; its GPUs are expected back after this."""

NOTHING: Mapping[int, int] = {}

_Times = tuple[tuple[datetime, int], ...]
_Ready = list[tuple[datetime, int]]

Chosen = tuple[tuple[int, tuple[int, ...]], ...]
"""Which (rank, GPUs) a gang gets."""


class Reserved(NamedTuple):
    """A planned start: GPUs by node rank, from `start_at` until its own limit."""

    job: JobId
    quota_class: QuotaClass
    start_at: datetime
    end_at: datetime
    masks: Mapping[int, int]


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
        self._later: dict[int, tuple[_Times, _Times]] = {}
        self._lists: dict[int, _Ready] = {}
        self._blocked: dict[tuple[QuotaClass, int], Mapping[int, int]] = {}

    def add(self, reserved: Reserved) -> None:
        """Plan a start."""
        place = (reserved.start_at, reserved.job)
        at = bisect_left(self.held, place, key=lambda r: (r.start_at, r.job))
        self.held.insert(at, reserved)
        self.starts.insert(at, reserved.start_at)
        self._blocked.clear()
        order, kept = self._nodes.order, self._kept
        for rank, mask in reserved.masks.items():
            state = order[rank]
            before = self.later(rank)
            held = self.taken.get(rank)
            if held is None:
                self.taken[rank] = [reserved]
            else:
                held.append(reserved)
            self._later[rank] = (state.times, _after(before, mask, reserved.end_at))
            now = state.free & mask
            if now:
                known = kept.get(rank, 0)
                self.idle += (now & ~known).bit_count()
                kept[rank] = known | now
        for gpus, ready in self._lists.items():
            self._lists[gpus] = self._without(ready, reserved.masks, gpus)

    def _without(self, ready: _Ready, masks: Mapping[int, int], gpus: int) -> _Ready:
        """Return when nodes are ready, with those anew on which something was planned."""
        later = ((self._later[rank][1], rank) for rank in masks)
        own = [(times[gpus - 1][0], rank) for times, rank in later if len(times) >= gpus]
        return sorted([entry for entry in ready if entry[1] not in masks] + own)

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

    def blocked(self, end_at: datetime, quota_class: QuotaClass, job: JobId) -> Mapping[int, int]:
        """Return the GPUs, by node rank, that a start ending at `end_at` must leave alone."""
        before = bisect_left(self.starts, end_at)
        if not before:
            return NOTHING
        if any(r.job == job for r in self.held[:before]):
            return _merged(
                r for r in self.held[:before] if r.quota_class <= quota_class and r.job != job
            )
        key = (quota_class, before)
        known = self._blocked.get(key)
        if known is None:
            known = _merged(r for r in self.held[:before] if r.quota_class <= quota_class)
            self._blocked[key] = known
        return known

    def later(self, rank: int) -> _Times:
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
            known = list(self._nodes.ready(gpus))
            if self.taken:
                later = ((self.later(rank), rank) for rank in self.taken)
                own = [(times[gpus - 1][0], rank) for times, rank in later if len(times) >= gpus]
                known = sorted([entry for entry in known if entry[1] not in self.taken] + own)
            self._lists[gpus] = known
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
        self._quota: dict[tuple[AccountName, PoolId], list[QuotaHold]] = {}
        self._times: list[datetime] | None = None
        self._jobs: dict[JobId, PoolId] = {}

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
        self._times = None

    def hold_quota(self, account: AccountName, pool: PoolId, hold: QuotaHold) -> None:
        """Keep an account's quota for a job of its own that was there first."""
        self._quota.setdefault((account, pool), []).append(hold)
        self._times = None

    def forget(self, job: JobId) -> None:
        """Give up a job's planned start, since it has started elsewhere."""
        pool = self._jobs.pop(job, None)
        if pool is not None:
            self._pools[pool].forget(job)
            self._times = None

    def forget_quota(self, account: AccountName, job: JobId) -> None:
        """Keep no quota any more for a job that has started."""
        for (owner, _), holds in self._quota.items():
            if owner == account:
                holds[:] = [hold for hold in holds if hold.job != job]
        self._times = None

    def open_quota(
        self, account: AccountName, pool: PoolId, end_at: datetime, job: JobId
    ) -> int | None:
        """Return how many GPUs a start may take that ends then; None: as many as quota allows."""
        holds = self._quota.get((account, pool))
        if not holds:
            return None
        slacks = [h.slack for h in holds if h.start_at < end_at and h.job != job]
        return min(slacks, default=None)

    def quota_back_at(self, account: AccountName, pool: PoolId, gpus: int) -> datetime:
        """Return when the planned starts of the account's own jobs leave so many GPUs again."""
        holds = self._quota.get((account, pool), ())
        return max((h.end_at for h in holds if h.slack < gpus), default=self._now)

    def started(self, account: AccountName, pool: PoolId, end_at: datetime, gpus: int) -> None:
        """Count a start against the quota holds that it outlasts."""
        plans = self._pools.get(pool)
        if plans is not None:
            plans.touch()
        for hold in self._quota.get((account, pool), ()):
            if hold.start_at < end_at:
                hold.slack -= gpus

    def times(self, end_at: datetime) -> list[datetime]:
        """Return the planned starts before `end_at`, soonest first, each once."""
        if self._times is None:
            nodes = {when for plans in self._pools.values() for when in plans.starts}
            quota = {h.start_at for holds in self._quota.values() for h in holds}
            self._times = sorted(nodes | quota)
        return self._times[: bisect_left(self._times, end_at)]

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


class Returns:
    """When the GPUs that runs hold are back by their limits, from (end, GPUs) of each."""

    __slots__ = ("_ends", "_sums")

    def __init__(self, ends: Iterable[tuple[datetime, int]]) -> None:
        ordered = sorted(ends)
        self._ends = [when for when, _ in ordered]
        self._sums = list(accumulate(gpus for _, gpus in ordered))

    def when(self, gpus: int) -> datetime | None:
        """Return when so many are back; None: never."""
        at = bisect_left(self._sums, gpus)
        return self._ends[at] if at < len(self._ends) else None

    def by(self, when: datetime) -> int:
        """Return how many are back by then."""
        at = bisect_right(self._ends, when)
        return self._sums[at - 1] if at else 0


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


def _after(times: _Times, mask: int, end_at: datetime) -> _Times:
    """Return when a node's GPUs are free, if those in `mask` are held until then."""
    if mask.bit_count() == len(times) and end_at >= times[-1][0]:
        return tuple([(end_at, gpu) for gpu in sorted([gpu for _, gpu in times])])
    return tuple(
        sorted([(max(when, end_at) if mask >> gpu & 1 else when, gpu) for when, gpu in times])
    )


def _first(times: _Times, start_at: datetime, gpus: int) -> tuple[int, ...]:
    if len(times) == gpus:
        return tuple(sorted([gpu for _, gpu in times]))  # the whole node
    return tuple(sorted([gpu for when, gpu in times if when <= start_at])[:gpus])


_WHEN = itemgetter(0)
