"""Planned starts: which blocked jobs are promised one, when, and on which named nodes (R6, R12).

The first blocked jobs of each shape get one, and the oldest that have waited too long. Limits
of running jobs say when nodes come back, so busy nodes count as candidates.
"""

from datetime import datetime
from typing import NamedTuple, Protocol

from scheduler.core.decisions import Reserve
from scheduler.core.model import Job, JobId, Pool, PoolId, QuotaClass, Shape
from scheduler.core.ordering import Kind, in_order
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
    held_of_shape: dict[Shape, int]

    def own_tier_start(self, kind: Kind, pool: Pool) -> datetime | None:
        """Return the start on its own tier that keeps the job out of a higher pool, if any."""

    def is_aged(self, job: Job) -> bool:
        """Return whether the job has waited so long that it is to get a planned start (R12)."""


class _Option(NamedTuple):
    start_at: datetime
    rank: int
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
    rules = cycle.rules
    if kind.shape.background or kind.shape.reservation is not None:
        return False
    if rules.backfill is Backfill.HOLDS:
        if kind.shape.nodes < rules.reserve_nodes:
            return False
        return cycle.held_of_shape.get(kind.shape, 0) < rules.reserve_depth
    return rules.backfill is Backfill.EASY and not cycle.reserves


def reserve(cycle: Cycle, kind: Kind, job: Job, turn: QuotaClass, aged: bool = False) -> None:
    """Plan a start for a blocked job, on named nodes; of many alike, only keep its quota."""
    if turn is QuotaClass.BACKGROUND or job.id in cycle.reserves:
        return
    if aged or wants(cycle, kind):
        for option in _options(cycle, kind, job, turn, aged):
            if _reserve_nodes(cycle, kind, job, (option, turn)):
                if aged and turn is not QuotaClass.IN_QUOTA:
                    _hold_limit(cycle, kind, job, option)
                return
    elif turn is QuotaClass.IN_QUOTA and cycle.rules.backfill is Backfill.HOLDS:
        _hold_soonest_quota(cycle, kind, job)


def _hold_soonest_quota(cycle: Cycle, kind: Kind, job: Job) -> None:
    """Keep the account's quota for a job that is promised nothing else, where it opens first."""
    bits = in_order(kind.order, kind.guaranteed)
    times = [(at, bit) for bit in bits if (at := quota_opens(cycle, kind, bit)) is not None]
    at, bit = min(times, key=lambda option: option[0], default=(cycle.now, -1))
    if at > cycle.now:
        _hold_quota(cycle, kind, job, (cycle.world.rooms.pools[bit].id, at))


def _options(cycle: Cycle, kind: Kind, job: Job, turn: QuotaClass, aged: bool) -> list[_Option]:
    """Return the starts that can be foreseen: in quota some day, or borrowed as runs end.

    A borrower is promised what its own limits and agreements allow, once its account's own runs
    have ended where it is aged. An owner who wants its GPUs back by then is not bound by it (R10).
    """
    mask = kind.guaranteed if turn is QuotaClass.IN_QUOTA else kind.mask
    found = []
    for rank, pool in enumerate(kind.candidates.pools):
        bit = cycle.world.rooms.bits[pool.id]
        if not mask >> bit & 1 or cycle.own_tier_start(kind, pool) is not None:
            continue
        limit_at: datetime | None = cycle.now
        if turn is not QuotaClass.IN_QUOTA and not may_borrow(cycle.world, kind, bit, cycle.now):
            limit_at = _limit_opens(cycle, kind, bit) if aged else None
        if limit_at is None:
            continue
        if cycle.purse.short(kind, bit, job.time_limit) is not None:
            continue
        start_at = opens(cycle, kind, pool)
        if start_at is not None and turn is not QuotaClass.IN_QUOTA:
            start_at = _common_opens(cycle, kind, bit, start_at)
        if start_at is not None:
            found.append(_Option(max(start_at, limit_at), rank, pool))
    return sorted(found, key=lambda o: (o.start_at, o.pool.tier.rank, o.pool.id))


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
    reserved = Reserved(job.id, turn, start_at, start_at + job.time_limit, masks)
    cycle.reservations.add(pool.id, nodes, reserved)
    cycle.reserves[job.id] = Reserve(job.id, pool.id, slots, start_at)
    cycle.held_of_shape[kind.shape] = cycle.held_of_shape.get(kind.shape, 0) + 1
    if turn is QuotaClass.IN_QUOTA:
        _hold_quota(cycle, kind, job, (pool.id, start_at))
    return True


def given_up(cycle: Cycle, job: Job) -> None:
    """Give up the planned start of a job that has started."""
    cycle.held_of_shape[job.shape] -= 1
    cycle.reservations.forget(job.id)
    cycle.reservations.forget_quota(job.account, job.id)


def _hold_quota(cycle: Cycle, kind: Kind, job: Job, at: tuple[PoolId, datetime]) -> None:
    pool, start_at = at
    gpus = kind.fits.gpus[cycle.world.rooms.bits[pool]]
    level = cycle.world.quotas[pool].path(kind.account)[0]
    back = cycle.world.returns(kind.account, pool).by(start_at)
    slack = level.nominal - (level.used - back) - gpus
    hold = QuotaHold(job.id, start_at, start_at + job.time_limit, max(0, slack))
    cycle.reservations.hold_quota(kind.account, pool, hold)
