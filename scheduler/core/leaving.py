"""Runs that end already for somebody else, maybe on more GPUs than those need (R8.4, R10).

A victim is a whole gang, so an owner's recall may free nodes that it has no use for. Another
owner need not wait until they are free, and then once more for a notice of its own: it is leased
them at once, and starts when the run has left.
"""

from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet

from scheduler.core.model import Run, RunId, Slot
from scheduler.core.placement import PoolNodes, mask_of

NONE: AbstractSet[RunId] = frozenset()


class Leaving:
    """The runs of one pool that end already, by node; `gpus` is all that they hold.

    Who ends on `spared` nodes makes room for a reservation or maintenance, not for an owner (R7).
    """

    def __init__(self, spared: frozenset[int] = frozenset()) -> None:
        self.gpus = 0
        self._spared = spared
        self._on: dict[int, set[RunId]] = {}

    def add(self, run: Run, ranks: Collection[int]) -> None:
        """Take note of a run that has begun to end on these nodes."""
        if not self._spared.isdisjoint(ranks):
            return
        self.gpus += run.gpus
        for rank in ranks:
            self._on.setdefault(rank, set()).add(run.id)

    @property
    def ranks(self) -> Collection[int]:
        """Return the nodes on which somebody ends."""
        return self._on

    def on(self, rank: int) -> AbstractSet[RunId]:
        """Return the runs that end on a node."""
        return self._on.get(rank, NONE)

    def holding(self, nodes: PoolNodes, ranks: Iterable[int], slots: Sequence[Slot]) -> set[RunId]:
        """Return the runs that must have left before others start on GPUs of these nodes."""
        return {
            name
            for rank, slot in zip(ranks, slots, strict=True)
            for name in self.on(rank)
            if nodes.order[rank].holders[name].mask & mask_of(slot.gpus)
        }
