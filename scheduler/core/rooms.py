"""Which pools have room for which gangs, so that a cycle looks only at work that might start.

Kinds of work that need the same nodes and GPUs in every pool form a class. Each class has
one integer, a bit per pool, that says where a gang of it fits at this moment; only pools
in which something has changed are looked at anew.
"""

from collections.abc import Iterable
from datetime import timedelta
from heapq import heappop, heappush

from scheduler.core.floor import Floor
from scheduler.core.index import Fit, PolicyIndex
from scheduler.core.model import Pool, PoolId, Shape


class FitClass:
    """Gangs that fit alike. `gpus` of the whole gang by pool bit; `room`: pools where it fits.

    It counts the time limits of all who wait, for the shortest of them: where that is too long
    to end before a planned start, nobody of the class can go first.
    """

    __slots__ = ("_counts", "_limits", "fits", "gpus", "least", "room")

    def __init__(self, fits: tuple[Fit, ...]) -> None:
        self.fits = fits
        self.gpus = tuple(fit.gpus for fit in fits)
        self.least = min(self.gpus, default=0)
        self.room = 0
        self._counts: dict[timedelta, int] = {}
        self._limits: list[timedelta] = []

    def count(self, limit: timedelta, sign: int) -> None:
        """Count a waiting job's time limit, or count it no longer (`sign` -1)."""
        known = self._counts.get(limit)
        if known is None:
            known = 0
            heappush(self._limits, limit)
        self._counts[limit] = known + sign

    @property
    def shortest(self) -> timedelta:
        """Return the shortest time limit of those who wait; the longest of all for nobody."""
        limits, counts = self._limits, self._counts
        while limits and not counts[limits[0]]:
            del counts[heappop(limits)]
        return limits[0] if limits else timedelta.max


class Rooms:
    """All classes of a world. Pools have a bit each, in the order of tiers and names (R13)."""

    def __init__(self, index: PolicyIndex, floor: Floor) -> None:
        self._index = index
        self._floor = floor
        self.pools = in_tier_order(index.pools.values())
        self.bits: dict[PoolId, int] = {pool.id: bit for bit, pool in enumerate(self.pools)}
        self._classes: dict[tuple[int, ...], FitClass] = {}
        # By bit and GPUs per node: on how many nodes there is room, as of the last look, and the
        # classes that ask for so many GPUs there, with the nodes that they need.
        self._needs: list[dict[int, _Needs]] = [{} for _ in self.pools]
        self._changed: set[int] = set()

    def of(self, shape: Shape) -> FitClass:
        """Return the class of a shape."""
        key: tuple[int, ...] = (shape.nodes, shape.gpus_per_node, shape.h100e)
        known = self._classes.get(key)
        if known is None:
            known = FitClass(
                tuple(self._index.eligibility.size(shape, pool) for pool in self.pools)
            )
            self._classes[key] = known
            for bit, fit in enumerate(known.fits):
                needs = self._needs[bit].setdefault(fit.gpus_per_node, _Needs())
                needs.classes.append((fit.nodes, known))
                self._look(bit, fit.gpus_per_node, needs)
        return known

    def classes(self) -> Iterable[FitClass]:
        """Return all classes that were asked for."""
        return self._classes.values()

    def touch(self, pool: PoolId) -> None:
        """Take note that something has changed in a pool."""
        bit = self.bits.get(pool)
        if bit is not None:
            self._changed.add(bit)

    def bring_forward(self) -> None:
        """Look anew at the pools that have changed."""
        for bit in self._changed:
            nodes = self._floor.pool(self.pools[bit].id)
            for gpus, needs in self._needs[bit].items():
                if nodes.fitting(gpus) != needs.fitting:
                    self._look(bit, gpus, needs)
        self._changed.clear()

    def _look(self, bit: int, gpus: int, needs: "_Needs") -> None:
        needs.fitting = self._floor.pool(self.pools[bit].id).fitting(gpus)
        one = 1 << bit
        for nodes, known in needs.classes:
            if needs.fitting >= nodes:
                known.room |= one
            else:
                known.room &= ~one


class _Needs:
    """The classes that ask for equally many GPUs of each node of a pool, and what is there."""

    __slots__ = ("classes", "fitting")

    def __init__(self) -> None:
        self.fitting = 0
        self.classes: list[tuple[int, FitClass]] = []


def in_tier_order(pools: Iterable[Pool]) -> tuple[Pool, ...]:
    """Return pools by tier and name: their places are their bits."""
    return tuple(sorted(pools, key=lambda pool: (pool.tier.rank, pool.id)))
