"""Who may start at all: what a pass asks before it tries anybody.

A cycle at fleet scale has far more accounts and kinds than room, and nearly all of them cannot
start for reasons that take one look to see: no node is free, a planned start needs the free ones
before the shortest of them would end, the account's quota is used up. The answers here may say
yes where a try then fails, and never no where it would not.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from scheduler.core.model import AccountName, QuotaClass
from scheduler.core.ordering import Kind
from scheduler.core.rooms import FitClass
from scheduler.core.terms import terms
from scheduler.core.timeline import ALWAYS, Reservations
from scheduler.core.waiting import Places
from scheduler.core.world import World


class Cycle(Protocol):
    """What is looked at: see `cycle.py`."""

    world: World
    now: datetime
    reservations: Reservations
    promised: dict[AccountName, set[Kind]]


class _Shut:
    """The pools where planned starts leave a class nothing, as of so many changes."""

    __slots__ = ("pools", "seen")

    def __init__(self) -> None:
        self.pools = 0
        self.seen = 0


class Reach:
    """What may start in one pass of a cycle."""

    def __init__(self, cycle: Cycle, turn: QuotaClass) -> None:
        self._cycle = cycle
        self._turn = turn
        self._world = cycle.world
        self._shut: dict[FitClass, _Shut] = {}
        self._version = (-1, -1)
        self._open: dict[FitClass, int] = {}
        self._any = 0

    def pools(self, fits: FitClass) -> int:
        """Return the pools where the class's shortest job would end before planned starts."""
        shut = self._shut.get(fits)
        if shut is None:
            shut = self._shut[fits] = _Shut()
        changes = self._cycle.reservations.changes
        if shut.seen < len(changes):
            self._bring_forward(fits, shut)
        return fits.room & ~shut.pools

    def _bring_forward(self, fits: FitClass, shut: _Shut) -> None:
        changes = self._cycle.reservations.changes
        shortest, bits = fits.shortest, self._world.rooms.bits
        room = fits.room
        for pool in set(changes[shut.seen :]):
            bit = bits[pool]
            if room >> bit & 1 and self._until(fits, bit) - self._cycle.now < shortest:
                shut.pools |= 1 << bit
            else:
                shut.pools &= ~(1 << bit)
        shut.seen = len(changes)

    def _until(self, fits: FitClass, bit: int) -> datetime:
        plans = self._cycle.reservations.planned(self._world.rooms.pools[bit].id)
        return ALWAYS if plans is None else plans.open_until(fits.fits[bit], self._turn)

    def some(self, accounts: Iterable[AccountName]) -> set[AccountName]:
        """Return those of the accounts that may have anything to start now, or to take back."""
        # Asked of every account in every cycle: nearly all are refused by the first look.
        opened, some, found = self._opened(), self._any, set()
        if self._turn is QuotaClass.IN_QUOTA:
            some |= self._world.lent_out
        for account in accounts:
            reach = self._world.waiting.reach(account)
            if reach.in_reservation or account in self._cycle.promised:
                found.add(account)
                continue
            places = reach.places[self._turn]
            if places.union & some and self._is_any_open(account, places, opened):
                found.add(account)
        return found

    def _is_any_open(
        self, account: AccountName, places: Places, opened: Mapping[FitClass, int]
    ) -> bool:
        if self._turn is QuotaClass.IN_QUOTA:
            return self._is_below(account, places, opened)
        for fits, pools in places.pools:
            open_pools = pools & opened[fits]
            if open_pools and self._is_open(account, fits, open_pools):
                return True
        return False

    def _is_below(
        self, account: AccountName, places: Places, opened: Mapping[FitClass, int]
    ) -> bool:
        """Return whether a part of some nominal is left where nodes are free, or lent."""
        below, lent_out = self._world.below, self._world.lent_out
        if not places.union & below.pools(account, 1):
            return False
        for fits, pools in places.pools:
            left = pools & below.pools(account, fits.least)
            if left and left & (lent_out | opened[fits]):
                return True
        return False

    def _opened(self) -> Mapping[FitClass, int]:
        """Return the pools open to each class, as of the last start or planned start."""
        version = (self._world.version, len(self._cycle.reservations.changes))
        if version != self._version:
            self._version, self._any = version, 0
            for fits in self._world.rooms.classes():
                opened = self._open[fits] = self.pools(fits)
                self._any |= opened
        return self._open

    def _is_open(self, account: AccountName, fits: FitClass, pools: int) -> bool:
        """Return whether quota may allow a borrowed or background start in one of the pools."""
        while pools:
            low = pools & -pools
            pools ^= low
            bit = low.bit_length() - 1
            quota = self._world.quotas_by_bit[bit]
            inside = self._turn is QuotaClass.BORROWED and quota.path(account)
            room = quota.available(account) if inside else quota.common
            if room >= fits.gpus[bit]:
                return True
        return False

    def kind(self, kind: Kind) -> bool:
        """Return whether a job of the kind may start now, without anybody's GPUs taken."""
        pools = kind.within(self._turn) & kind.fits.room
        own = self._cycle.promised.get(kind.account, ())
        if kind in own or kind.shape.reservation is not None:
            # What is kept for its own job is no obstacle to it.
            return bool(pools)
        if self._turn is QuotaClass.IN_QUOTA:
            pools &= self._world.below.pools(kind.account, kind.fits.least)
        if not pools:
            return False
        pools &= self.pools(kind.fits)
        shortest = kind.queue.shortest
        while pools:
            low = pools & -pools
            pools ^= low
            bit = low.bit_length() - 1
            if terms(self._world, kind, bit, self._turn, self._cycle.now) is None:
                continue
            if self._until(kind.fits, bit) - self._cycle.now >= shortest:
                return True
        return False
