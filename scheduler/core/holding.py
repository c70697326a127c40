"""Planned starts: which blocked jobs are promised one, when, and on which named nodes (R6, R12).

The first blocked jobs of each shape get one, and the oldest that have waited too long. Limits
of running jobs say when nodes come back, so busy nodes count as candidates.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from scheduler.core.decisions import Reserve
from scheduler.core.model import AccountName, Job, JobId, Pool, PoolId, QuotaClass, Shape, Slot
from scheduler.core.ordering import Kind, in_order
from scheduler.core.placement import bits, mask_of
from scheduler.core.policy import Backfill, Rules
from scheduler.core.terms import Purse, may_borrow
from scheduler.core.timeline import (
    OVERDUE,
    QuotaHold,
    Reservations,
    Reserved,
    masks_of,
    slots_of,
)
from scheduler.core.world import EVERYBODY, World


class Cycle(Protocol):
    """What planned starts look at and add to: see `cycle.py`."""

    world: World
    now: datetime
    rules: Rules
    purse: Purse
    reservations: Reservations
    reserves: dict[JobId, Reserve]
    wanted: "Wanted"
    waits: "Waits"
    promised: dict[AccountName, set[Kind]]
    kept_out: set[tuple[Kind, int]]

    def own_tier_start(self, kind: Kind, pool: Pool) -> datetime | None:
        """Return the start on its own tier that keeps the job out of a higher pool, if any."""

    def is_aged(self, job: Job) -> bool:
        """Return whether the job has waited so long that it is to get a planned start (R12)."""

    def aged_at(self, job: Job) -> datetime:
        """Return when the job has waited so long: no account's cells keep it out any more."""


_TRIES = 8
"""So many blocked jobs of a shape are looked at in a pass for each that may get a planned start.

Where the first cannot, later ones mostly cannot either, and each look is at every pool.
"""


class Wanted:
    """The shapes of which a blocked job would still be promised a start (R6)."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._held: Counter[Shape] = Counter()
        self._failed: Counter[Shape] = Counter()
        self._waiting: Mapping[Shape, int] = {}
        self._all: frozenset[Shape] = frozenset()
        self.shapes: set[Shape] = set()

    def _is_planned_for(self, shape: Shape) -> bool:
        if shape.background or shape.reservation is not None:
            return False
        if self._rules.backfill is Backfill.HOLDS:
            return shape.nodes >= self._rules.reserve_nodes and self._rules.reserve_depth > 0
        return self._rules.backfill is Backfill.EASY

    def begin(self, waiting: Mapping[Shape, int]) -> None:
        """Begin a pass over these shapes: what could not be planned before may be in this one."""
        self._failed.clear()
        self.shapes.clear()
        self._waiting = waiting
        self._all = frozenset(shape for shape in waiting if self._is_planned_for(shape))
        for shape in self._all:
            self._look(shape)

    def is_any(self) -> bool:
        """Return whether anybody who waits is still to be looked at."""
        return any(shape in self._waiting for shape in self.shapes)

    def hold(self, shape: Shape, sign: int) -> None:
        """Count a planned start, or one that was given up (`sign` -1)."""
        self._held[shape] += sign
        for other in self._all if self._rules.backfill is Backfill.EASY else (shape,):
            self._look(other)

    def fail(self, shape: Shape) -> None:
        """Count a blocked job that nothing could be planned for."""
        self._failed[shape] += 1
        self._look(shape)

    def _look(self, shape: Shape) -> None:
        rules = self._rules
        if rules.backfill is Backfill.EASY:
            wanted = not self._held.total()
        else:
            depth = rules.reserve_depth
            wanted = self._held[shape] < depth and self._failed[shape] < depth * _TRIES
        if wanted and shape in self._all:
            self.shapes.add(shape)
        else:
            self.shapes.discard(shape)


class Waits:
    """The jobs that wait for their account's quota and are promised nothing else, in order."""

    def __init__(self) -> None:
        self._of: dict[AccountName, list[tuple[Kind, JobId]]] = {}
        self._seen: dict[tuple[AccountName, int], int] = {}

    def add(self, kind: Kind, job: JobId) -> None:
        """Let a job wait for quota."""
        self._of.setdefault(kind.account, []).append((kind, job))

    def unseen(self, account: AccountName, bit: int) -> Sequence[tuple[Kind, JobId]]:
        """Return those that have come since the last look at a pool."""
        waits = self._of.get(account)
        if waits is None:
            return ()
        seen = self._seen.get((account, bit), 0)
        self._seen[account, bit] = len(waits)
        return waits[seen:] if seen < len(waits) else ()


class _Option(NamedTuple):
    """A start that can be foreseen; they are in the order of their values."""

    start_at: datetime
    rank: int  # of the pool's tier
    name: PoolId
    pool: Pool


def opens(cycle: Cycle, kind: Kind, pool: Pool) -> datetime | None:
    """Return when nodes and the account's own nominal open by all limits; None: not foreseen."""
    bit = cycle.world.rooms.bits[pool.id]
    fit = kind.fits.fits[bit]
    quota = quota_opens(cycle, kind, bit)
    if quota is None:
        return None
    nodes = cycle.world.floor.pool(pool.id)
    return cycle.reservations.earliest(pool.id, nodes, fit, quota)


def quota_opens(cycle: Cycle, kind: Kind, bit: int) -> datetime | None:
    """Return when the account's own nominal has room by the limits of its runs (now: it has).

    Levels above cannot stand in the way for long: whoever is over there is recalled.
    """
    pool, gpus = cycle.world.rooms.pools[bit].id, kind.fits.gpus[bit]
    path = cycle.world.quotas[pool].path(kind.account)
    if not path or kind.shape.background or gpus > path[0].nominal:
        return cycle.now
    held_until = cycle.reservations.quota_back_at(kind.account, pool, gpus)
    excess = path[0].used + gpus - path[0].nominal
    if excess <= 0:
        return held_until
    back = cycle.world.returns(kind.account, pool).when(excess)
    # A run past its limit is being ended: its GPUs are not back yet, but soon.
    return None if back is None else max(back, cycle.now + OVERDUE, held_until)


def wants(cycle: Cycle, kind: Kind) -> bool:
    """Return whether a blocked job of this kind would still be promised a start."""
    return kind.shape in cycle.wanted.shapes


def promise(cycle: Cycle, kind: Kind, job: JobId, turn: QuotaClass) -> None:
    """Plan a start for a blocked job, if its shape is to get one; else only keep its quota."""
    if wants(cycle, kind):
        reserve(cycle, kind, cycle.world.jobs[job], turn)
        return
    keeps_quota = turn is QuotaClass.IN_QUOTA and cycle.rules.backfill is Backfill.HOLDS
    if keeps_quota and job not in cycle.reserves:
        cycle.waits.add(kind, job)


def reserve(cycle: Cycle, kind: Kind, job: Job, turn: QuotaClass, aged: bool = False) -> None:
    """Plan a start for a blocked job, on named nodes.

    Who is `aged`, and the one head of EASY, has it also where its account must end runs of its own.
    """
    aged = aged or cycle.rules.backfill is Backfill.EASY
    if turn is QuotaClass.BACKGROUND or job.id in cycle.reserves:
        return
    for option in _options(cycle, kind, job, turn, aged):
        if _reserve_nodes(cycle, kind, job, (option, turn)):
            if aged and turn is not QuotaClass.IN_QUOTA:
                _hold_limit(cycle, kind, job, option)
            return
    cycle.wanted.fail(kind.shape)


def look_ahead(cycle: Cycle, account: AccountName, bit: int) -> None:
    """Keep the quota of a pool for those ahead in the account who wait for it there (R6).

    Asked when somebody of the account might start in the pool, since it matters only then.
    """
    for kind, name in cycle.waits.unseen(account, bit):
        if kind.guaranteed >> bit & 1:
            _hold_if_soonest(cycle, kind, name, bit)


def _hold_if_soonest(cycle: Cycle, kind: Kind, name: JobId, bit: int) -> None:
    """Keep the account's quota for a job where it opens first."""
    at = quota_opens(cycle, kind, bit)
    if at is None or at <= cycle.now:
        return
    place = (at, kind.order[bit])
    for other in bits(kind.guaranteed & ~(1 << bit)):
        elsewhere = quota_opens(cycle, kind, other)
        if elsewhere is not None and (elsewhere, kind.order[other]) < place:
            return
    job = cycle.world.jobs.get(name)
    if job is not None:
        _hold_quota(cycle, kind, job, (cycle.world.rooms.pools[bit].id, at))


def _options(cycle: Cycle, kind: Kind, job: Job, turn: QuotaClass, aged: bool) -> Iterator[_Option]:
    """Yield the starts that can be foreseen, soonest first: in quota some day, or as runs end.

    Quota says from when on at the soonest. Pools are looked at in that order, and no more of
    them than needed: mostly the first start that is found can be promised.
    """
    found: list[_Option] = []
    for since, bit in sorted(_quota_says(cycle, kind, job, turn, aged)):
        while found and found[0].start_at < since:
            yield heappop(found)
        pool = cycle.world.rooms.pools[bit]
        nodes = cycle.world.floor.pool(pool.id)
        start_at = cycle.reservations.earliest(pool.id, nodes, kind.fits.fits[bit], since)
        if start_at is not None and turn is not QuotaClass.IN_QUOTA:
            start_at = _common_opens(cycle, kind, bit, start_at)
        start_at = _cells_open(cycle, kind, job, (bit, turn), start_at)
        if start_at is not None:
            heappush(found, _Option(start_at, pool.tier.rank, pool.id, pool))
    while found:
        yield heappop(found)


def _quota_says(
    cycle: Cycle, kind: Kind, job: Job, turn: QuotaClass, aged: bool
) -> Iterator[tuple[datetime, int]]:
    """Yield from when on the account may start the job in a pool, for each pool where it ever may.

    A borrower is promised what its own limits and agreements allow, once its account's own runs
    have ended where it is aged. An owner who wants its GPUs back by then is not bound by it (R10).
    """
    mask = kind.guaranteed if turn is QuotaClass.IN_QUOTA else kind.mask
    for bit in in_order(kind, mask):
        if cycle.own_tier_start(kind, cycle.world.rooms.pools[bit]) is not None:
            continue
        limit_at: datetime | None = cycle.now
        if turn is not QuotaClass.IN_QUOTA and not may_borrow(cycle.world, kind, bit, cycle.now):
            limit_at = _limit_opens(cycle, kind, bit) if aged else None
        if limit_at is None or cycle.purse.short(kind, bit, job.time_limit) is not None:
            continue
        quota_at = quota_opens(cycle, kind, bit)
        if quota_at is not None:
            yield max(quota_at, limit_at), bit


def _cells_open(
    cycle: Cycle,
    kind: Kind,
    job: Job,
    where: tuple[int, QuotaClass],
    start_at: datetime | None,
) -> datetime | None:
    """Return when also the cells of accounts keep the job out no more: at last by its age (R11)."""
    bit, turn = where
    aged_at = cycle.aged_at(job)
    if start_at is None or cycle.now >= aged_at or turn is not QuotaClass.IN_QUOTA:
        return start_at
    quota = cycle.world.quotas[cycle.world.rooms.pools[bit].id]
    if kind.shape.preemptible and quota.is_wide(kind.account, kind.fits.fits[bit].nodes):
        return None  # it is not guaranteed that: what it is promised is a borrower's start
    # Nodes are free now. A promise of those would be one for the next minute, each minute.
    return max(start_at, aged_at) if (kind, bit) in cycle.kept_out else start_at


def _limit_opens(cycle: Cycle, kind: Kind, bit: int) -> datetime | None:
    """Return when the account may borrow as much again, by the limits of its own runs (R12)."""
    pool, gpus = cycle.world.rooms.pools[bit].id, kind.fits.gpus[bit]
    quota = cycle.world.quotas[pool]
    if not kind.shape.preemptible or not quota.path(kind.account):
        return None
    lacking = gpus - quota.may_come_free(kind.account)
    back = cycle.world.returns(kind.account, pool).when(lacking) if lacking > 0 else cycle.now
    return None if back is None else max(back, cycle.now + OVERDUE)


def _hold_limit(cycle: Cycle, kind: Kind, job: Job, option: _Option) -> None:
    """Keep what the account may borrow for its aged job: its small ones would refill it (R12)."""
    pool, start_at = option.pool.id, option.start_at
    quota = cycle.world.quotas[pool]
    if not quota.path(kind.account):
        return
    back = cycle.world.returns(kind.account, pool).by(start_at)
    gpus = kind.fits.gpus[cycle.world.rooms.bits[pool]]
    slack = quota.may_come_free(kind.account) + back - gpus
    hold = QuotaHold(job.id, start_at, start_at + job.time_limit, max(0, slack))
    cycle.reservations.hold_quota(kind.account, pool, hold)


def _common_opens(cycle: Cycle, kind: Kind, bit: int, nodes_at: datetime) -> datetime | None:
    """Return when also what the owner can give away has room again, by all limits (R1)."""
    pool = cycle.world.rooms.pools[bit].id
    lacking = kind.fits.gpus[bit] - cycle.world.quotas[pool].common
    if lacking <= 0:
        return nodes_at
    back = cycle.world.returns(EVERYBODY, pool).when(lacking)
    return None if back is None else max(back, nodes_at)


def _reserve_nodes(cycle: Cycle, kind: Kind, job: Job, found: tuple[_Option, QuotaClass]) -> bool:
    """Name the nodes; False where too much of the pool would stand idle for planned starts."""
    option, turn = found
    pool, start_at = option.pool, option.start_at
    fit = kind.fits.fits[cycle.world.rooms.bits[pool.id]]
    nodes = cycle.world.floor.pool(pool.id)
    plans = cycle.reservations.pool(pool.id, nodes)
    chosen = plans.choose(fit, start_at)
    masks = masks_of(chosen)
    idle = sum(plans.more_idle(rank, mask) for rank, mask in masks.items())
    most = pool.capacity * cycle.rules.hold_share // 100
    if idle and plans.held and plans.idle + idle > most:
        return False
    slots = slots_of(nodes, chosen)
    moves = job.account if turn is QuotaClass.IN_QUOTA and not cycle.is_aged(job) else None
    reserved = Reserved(job.id, turn, start_at, start_at + job.time_limit, masks, moves)
    cycle.reservations.add(pool.id, nodes, reserved)
    cycle.reserves[job.id] = Reserve(job.id, pool.id, slots, start_at)
    cycle.wanted.hold(kind.shape, 1)
    cycle.promised.setdefault(kind.account, set()).add(kind)
    if turn is QuotaClass.IN_QUOTA:
        _hold_quota(cycle, kind, job, (pool.id, start_at))
    return True


def given_up(cycle: Cycle, job: Job) -> None:
    """Give up the planned start of a job that has started."""
    cycle.wanted.hold(job.shape, -1)
    cycle.reservations.forget(job.id)


def make_way(cycle: Cycle, pool: PoolId, slots: Iterable[Slot], until: datetime) -> None:
    """Plan the starts anew whose nodes an owner has been leased `until` then (R11)."""
    plans = cycle.reservations.planned(pool)
    if plans is None:
        return
    floor = cycle.world.floor
    taken = {floor.nodes[slot.node].rank: mask_of(slot.gpus) for slot in slots}
    jobs = [cycle.world.jobs[name] for name in plans.moved_by(taken, until)]
    for job in jobs:
        del cycle.reserves[job.id]
        given_up(cycle, job)
        cycle.reservations.forget_quota(job.account, job.id)
    for job in jobs:
        kind = cycle.world.waiting.kind_of(job.id)
        promise(cycle, kind, job.id, QuotaClass.IN_QUOTA)


def _hold_quota(cycle: Cycle, kind: Kind, job: Job, at: tuple[PoolId, datetime]) -> None:
    pool, start_at = at
    gpus = kind.fits.gpus[cycle.world.rooms.bits[pool]]
    level = cycle.world.quotas[pool].path(kind.account)[0]
    back = cycle.world.returns(kind.account, pool).by(start_at)
    slack = level.nominal - (level.used - back) - gpus
    hold = QuotaHold(job.id, start_at, start_at + job.time_limit, max(0, slack))
    cycle.reservations.hold_quota(kind.account, pool, hold)
