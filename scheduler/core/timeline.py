"""What is planned for later: reservations, and what may start before them (R6, EASY).

A reservation names GPUs from its start on. A later job may use them only if its time
limit ends before; the limits of running jobs say when GPUs come back, so busy nodes
count as candidates. In-quota reservations bind everyone, borrowed ones bind only
borrowers and background work: no borrower delays an owner (R10).

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

from scheduler.core.model import AccountName, JobId, PoolId, QuotaClass, Shape, Slot
from scheduler.core.placement import PoolNodes, bits, mask_of

OVERDUE = timedelta(minutes=1)
"""A run past its limit is being ended; its GPUs are expected back after this."""

NOTHING: Mapping[int, int] = {}

_Times = tuple[tuple[datetime, int], ...]


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


class Reservations:
    """The planned starts of one cycle."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._by_pool: dict[PoolId, list[Reserved]] = {}
        self._quota: dict[tuple[AccountName, PoolId], list[QuotaHold]] = {}
        self._blocked: dict[tuple[PoolId, QuotaClass, int], Mapping[int, int]] = {}
        # By pool and node: what is planned there, and when its GPUs are free after that.
        self._taken: dict[PoolId, dict[int, list[Reserved]]] = {}
        self._times_after: dict[tuple[PoolId, int], tuple[_Times, _Times]] = {}
        self._times: list[datetime] | None = None
        self._jobs: set[JobId] = set()

    def add(self, pool: PoolId, reserved: Reserved) -> None:
        """Plan a start."""
        held = self._by_pool.setdefault(pool, [])
        held.append(reserved)
        held.sort(key=lambda r: (r.start_at, r.job))
        for rank in reserved.masks:
            self._taken.setdefault(pool, {}).setdefault(rank, []).append(reserved)
            self._times_after.pop((pool, rank), None)
        self._changed(reserved.job)

    def hold_quota(self, account: AccountName, pool: PoolId, hold: QuotaHold) -> None:
        """Keep an account's quota for a job of its own that was there first."""
        self._quota.setdefault((account, pool), []).append(hold)
        self._changed(hold.job)

    def _changed(self, job: JobId) -> None:
        self._jobs.add(job)
        self._blocked.clear()
        self._times = None

    def forget(self, job: JobId) -> None:
        """Give up a job's planned start, since it has started elsewhere."""
        if job not in self._jobs:
            return
        self._times_after.clear()
        for pool, held in self._by_pool.items():
            held[:] = [reserved for reserved in held if reserved.job != job]
            taken: dict[int, list[Reserved]] = {}
            for reserved in held:
                for rank in reserved.masks:
                    taken.setdefault(rank, []).append(reserved)
            self._taken[pool] = taken
        for holds in self._quota.values():
            holds[:] = [hold for hold in holds if hold.job != job]
        self._changed(job)

    def blocked(
        self, pool: PoolId, end_at: datetime, quota_class: QuotaClass, job: JobId
    ) -> Mapping[int, int]:
        """Return the GPUs, by node rank, that a start ending at `end_at` must leave alone."""
        held = self._by_pool.get(pool)
        if not held:
            return NOTHING
        before = sum(1 for r in held if r.start_at < end_at)
        binding = [r for r in held[:before] if r.quota_class <= quota_class]
        if any(r.job == job for r in binding):
            return _merged(r for r in binding if r.job != job)
        key = (pool, quota_class, before)
        if key not in self._blocked:
            self._blocked[key] = _merged(binding)
        return self._blocked[key]

    def open_quota(
        self, account: AccountName, pool: PoolId, end_at: datetime, job: JobId
    ) -> int | None:
        """Return how many GPUs a start may take that ends then; None: as many as quota allows."""
        holds = self._quota.get((account, pool), ())
        slacks = [h.slack for h in holds if h.start_at < end_at and h.job != job]
        return min(slacks, default=None)

    def quota_back_at(self, account: AccountName, pool: PoolId, gpus: int) -> datetime:
        """Return when the planned starts of the account's own jobs leave so many GPUs again."""
        holds = self._quota.get((account, pool), ())
        return max((h.end_at for h in holds if h.slack < gpus), default=self._now)

    def started(self, account: AccountName, pool: PoolId, end_at: datetime, gpus: int) -> None:
        """Count a start against the holds that it outlasts."""
        for hold in self._quota.get((account, pool), ()):
            if hold.start_at < end_at:
                hold.slack -= gpus

    def times(self, end_at: datetime) -> list[datetime]:
        """Return the planned starts before `end_at`, soonest first, each once."""
        if self._times is None:
            nodes = {r.start_at for held in self._by_pool.values() for r in held}
            quota = {h.start_at for holds in self._quota.values() for h in holds}
            self._times = sorted(nodes | quota)
        return self._times[: bisect_left(self._times, end_at)]

    def earliest(
        self, pool: PoolId, nodes: PoolNodes, shape: Shape, quota_opens: datetime
    ) -> tuple[datetime, tuple[tuple[int, tuple[int, ...]], ...]] | None:
        """Return when the gang can start by all limits, and on which (rank, GPUs), or None."""
        taken = self._taken.get(pool, {})
        gpus = shape.gpus_per_node
        back = nodes.ready(gpus)
        if taken:
            later = [(self._later(pool, nodes, rank), rank) for rank in sorted(taken)]
            own = [(times[gpus - 1][0], rank) for times, rank in later if len(times) >= gpus]
            back = sorted([entry for entry in back if entry[1] not in taken] + own)
        if len(back) < shape.nodes:
            return None
        start_at = max(back[shape.nodes - 1][0], quota_opens)
        if start_at <= self._now:
            start_at = self._now + OVERDUE
        chosen = sorted(_last(back, start_at, shape.nodes))
        return start_at, tuple(
            (rank, _first(self._later(pool, nodes, rank), start_at, gpus)) for rank in chosen
        )

    def _later(self, pool: PoolId, nodes: PoolNodes, rank: int) -> _Times:
        """Return when each GPU of a node is free, after the planned starts that hold it."""
        taken = self._taken.get(pool, {}).get(rank)
        if not taken:
            return nodes.order[rank].times
        known = self._times_after.get((pool, rank))
        # A start changes what is free now: the times kept are of the node as it was then.
        if known is None or known[0] is not nodes.order[rank].times:
            before = nodes.order[rank].times
            known = (before, _after(before, rank, taken))
            self._times_after[pool, rank] = known
        return known[1]


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


def slots_of(nodes: PoolNodes, chosen: tuple[tuple[int, tuple[int, ...]], ...]) -> tuple[Slot, ...]:
    """Return (rank, GPUs) pairs as slots on named nodes."""
    return tuple(Slot(nodes.order[rank].node.id, gpus) for rank, gpus in chosen)


def masks_of(chosen: tuple[tuple[int, tuple[int, ...]], ...]) -> Mapping[int, int]:
    """Return (rank, GPUs) pairs as bits by rank."""
    return {rank: mask_of(gpus) for rank, gpus in chosen}


def _merged(held: Iterable[Reserved]) -> Mapping[int, int]:
    masks: dict[int, int] = {}
    for reserved in held:
        for rank, mask in reserved.masks.items():
            masks[rank] = masks.get(rank, 0) | mask
    return masks


def _after(times: _Times, rank: int, taken: Iterable[Reserved]) -> _Times:
    back: dict[int, datetime] = {gpu: when for when, gpu in times}
    for reserved in taken:
        for gpu in bits(reserved.masks[rank]):
            if gpu in back:
                back[gpu] = max(back[gpu], reserved.end_at)
    return tuple(sorted((when, gpu) for gpu, when in back.items()))


def _first(times: _Times, start_at: datetime, gpus: int) -> tuple[int, ...]:
    return tuple(sorted(gpu for when, gpu in times if when <= start_at)[:gpus])


def _last(back: Sequence[tuple[datetime, int]], start_at: datetime, nodes: int) -> list[int]:
    """Of all nodes back by then, take those that come back last: the others serve backfill."""
    fitting = back[: bisect_right(back, start_at, key=_WHEN)]
    oldest = fitting[-nodes][0]
    after = fitting[bisect_right(fitting, oldest, key=_WHEN) :]
    first = bisect_left(fitting, oldest, key=_WHEN)
    return [rank for _, rank in (*after, *fitting[first : first + nodes - len(after)])]


_WHEN = itemgetter(0)
