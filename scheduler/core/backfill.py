"""Who may go before a planned start: jobs of a blocked kind that end before it (R6)."""

from datetime import datetime, timedelta
from typing import Protocol

from scheduler.core.model import Job, QuotaClass, Slot
from scheduler.core.ordering import Kind
from scheduler.core.terms import Purse, Terms
from scheduler.core.timeline import ALWAYS, Reservations
from scheduler.core.world import World


class Cycle(Protocol):
    """What is looked at: see `cycle.py`."""

    world: World
    now: datetime
    purse: Purse
    reservations: Reservations

    def granted(
        self, kind: Kind, bit: int, turn: QuotaClass, time_limit: timedelta
    ) -> Terms | None:
        """Return the terms of a start now."""

    def place(
        self, kind: Kind, bit: int, job: Job, until: tuple[datetime, QuotaClass]
    ) -> tuple[Slot, ...] | None:
        """Return GPUs for the gang that delay no planned start."""


def longest_limit(cycle: Cycle, kind: Kind, job: Job, turn: QuotaClass) -> timedelta:
    """Return the longest time limit with which this shape could start now, else zero.

    Asked after a job of the kind could not: it is shorter than that job's.
    """
    longest = timedelta(0)
    pools = kind.within(turn) & kind.fits.room
    while pools:
        low = pools & -pools
        pools ^= low
        limit = _limit_in(cycle, kind, low.bit_length() - 1, (job, turn))
        if longest < limit < job.time_limit:
            longest = limit
    return longest


def _limit_in(cycle: Cycle, kind: Kind, bit: int, asked: tuple[Job, QuotaClass]) -> timedelta:
    """Return the longest limit in one pool, before planned starts and within budgets."""
    job, turn = asked
    granted = cycle.granted(kind, bit, turn, timedelta(0))
    if granted is None:
        return timedelta(0)
    pool = cycle.world.rooms.pools[bit].id
    plans = cycle.reservations.planned(pool)
    until = cycle.reservations.quota_until(job, pool, kind.fits.gpus[bit])
    if plans is not None:
        until = min(until, plans.open_until(kind.fits.fits[bit], granted.quota_class))
    limit = (ALWAYS if until is ALWAYS else until) - cycle.now
    paid = cycle.purse.longest(kind, bit)
    if paid is not None:
        limit = min(limit, paid)
    if not timedelta(0) < limit < job.time_limit:
        return timedelta(0)
    # Cells may keep out what the planned starts would let in (R11).
    placed = cycle.place(kind, bit, job, (cycle.now + limit, granted.quota_class))
    return timedelta(0) if placed is None else limit
