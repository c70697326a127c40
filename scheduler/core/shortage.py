"""What quota says to an account's jobs that stay behind: one answer for all of one size (R1).

A job of a large fleet is told of two hundred pools, and an account has several kinds of jobs of
each size. What stands in a verdict of a pool but for the GPUs that are asked for is the same
for all sizes that fail at the same level.
"""

from collections.abc import Mapping
from typing import NamedTuple

from scheduler.core.explain import Numbers, Reason, Verdict
from scheduler.core.model import AccountName
from scheduler.core.ordering import Kind, in_order
from scheduler.core.quota import Level
from scheduler.core.rooms import FitClass
from scheduler.core.world import World


class Told(NamedTuple):
    """The refusals of one size by pool bit, None where quota would do.

    `all_pools` are the same in the order of spill-over, where quota refuses any job everywhere.
    """

    by_bit: Mapping[int, Verdict | None]
    all_pools: tuple[Verdict, ...] | None


class Shortage:
    """What quota refuses one account, as things stand."""

    def __init__(self, world: World, account: AccountName) -> None:
        self._world = world
        self._account = account
        self._told: dict[tuple[FitClass, int], Told] = {}
        # What is told of a level in a pool, as (level, available, numbers).
        self._levels: dict[tuple[int, AccountName], tuple[int, Numbers]] = {}

    def told(self, kind: Kind) -> Told:
        """Return the refusals in all pools that a kind of the account may use, where it has a part.

        Refused is who would go beyond a level's nominal and what it may borrow, or beyond its
        nominal alone: then only a job that refuses recall.
        """
        key = (kind.fits, kind.mask)
        known = self._told.get(key)
        if known is None:
            gpus = kind.fits.gpus
            by_bit = {bit: self._short(bit, gpus[bit]) for bit in in_order(kind, kind.mask)}
            rows = tuple([row for row in by_bit.values() if row and row.reason is Reason.QUOTA])
            known = Told(by_bit, rows if len(rows) == len(by_bit) else None)
            self._told[key] = known
        return known

    def _short(self, bit: int, gpus: int) -> Verdict | None:
        quota = self._world.quotas_by_bit[bit]
        over = quota.beyond(self._account, gpus)
        if over is None:
            return None
        available, numbers = self._of_level(bit, over)
        if available >= gpus:
            return Verdict(Reason.NOT_PREEMPTIBLE, quota.pool.id, numbers[:3])
        return Verdict(Reason.QUOTA, quota.pool.id, (*numbers, ("asked", gpus)))

    def _of_level(self, bit: int, over: Level) -> tuple[int, Numbers]:
        """Return what is open to the account, and what is told of the level that refuses it."""
        known = self._levels.get((bit, over.name))
        if known is None:
            available = self._world.quotas_by_bit[bit].available(self._account)
            numbers: Numbers = (
                ("level", over.name),
                ("used", over.used),
                ("nominal", over.nominal),
                ("borrow_max", over.borrow_max),
                ("available", available),
            )
            known = self._levels[bit, over.name] = (available, numbers)
        return known
