"""Which GPUs of which nodes: whole gangs on named nodes, never on sums (R5).

Nodes of a pool are numbered by (block, id), and every set of nodes is one integer with
a bit per number, so that "nodes with at least 4 GPUs free in this block" is an AND. A
gang goes to the smallest block that holds it, else to as few blocks as possible; on
equal blocks the fullest nodes that still fit are taken, so that whole nodes stay whole
(fragmentation strands GPUs: FGD, ATC'23).
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from scheduler.core.cells import NOBODY, Cells, Owners, Place
from scheduler.core.model import AccountName, Node, NodeId, RunId, Slot

FREE = datetime.min.replace(tzinfo=UTC)
"""The time from which a GPU is free that nobody holds."""

Times = tuple[tuple[datetime, int], ...]
"""When each healthy GPU of a node is free, and which, soonest first."""


class Holder(NamedTuple):
    """A run's hold on one node: which GPUs (a bit each), and when they are back by its limit.

    `pinned`: the account whose they are so that nobody may take them back before (R11).
    """

    mask: int
    until: datetime
    pinned: AccountName | None


class NodeState:
    """A node, and what is free on it. `rank` is its number in the pool.

    `pinned` tells how many healthy GPUs each account has on it that nobody may take back (R11).
    """

    __slots__ = ("_times", "free", "healthy", "holders", "node", "pinned", "place", "rank")

    def __init__(self, node: Node, holders: dict[RunId, Holder]) -> None:
        self.node = node
        self.holders = holders
        self.rank = -1
        self.healthy = sum(1 << gpu.index for gpu in node.gpus if gpu.healthy)
        self._times: Times | None = None
        self.place = Place(0, self.healthy.bit_count())
        self.free = 0
        self.pinned: Owners = NOBODY
        self.refresh()

    def refresh(self) -> None:
        """Work out anew what is free, from who holds what."""
        held, healthy = 0, self.healthy
        pinned: dict[AccountName, int] = {}
        for mask, _, whose in self.holders.values():
            held |= mask
            if whose is not None and mask & healthy:
                pinned[whose] = pinned.get(whose, 0) + (mask & healthy).bit_count()
        self.free = healthy & ~held
        self.pinned = pinned
        self._times = None

    def hold(self, more: Holder) -> None:
        """Do the same where one more holds GPUs than before: mostly of those that are free."""
        mask, _, whose = more
        if mask & ~self.free:  # some are not healthy, or others hold them still
            self.refresh()
            return
        self.free ^= mask
        if whose is not None and mask:
            self.pinned = {**self.pinned, whose: self.pinned.get(whose, 0) + mask.bit_count()}
        self._times = None

    @property
    def times(self) -> Times:
        """Return (when free, index) of each healthy GPU, soonest first."""
        if self._times is None:
            self._times = self._worked_out()
        return self._times

    def _worked_out(self) -> Times:
        if self.free == self.healthy:
            return _all_at(self.healthy, FREE)
        held = [(mask & self.healthy, until) for mask, until, _ in self.holders.values()]
        if len(held) == 1 and held[0][0] == self.healthy:
            return _all_at(*held[0])
        if sum([mask.bit_count() for mask, _ in held]) == (self.healthy & ~self.free).bit_count():
            rows = [row for mask, until in held for row in _all_at(mask, until)]
            return tuple(sorted([*_all_at(self.free, FREE), *rows]))
        # Where runs end for others, two hold the same GPUs.
        back = dict.fromkeys(bits(self.healthy), FREE)
        for mask, until in held:
            for gpu in bits(mask):
                back[gpu] = max(back[gpu], until)
        return tuple(sorted((when, gpu) for gpu, when in back.items()))

    def save(self) -> tuple[object, ...]:
        """Return what is free, to come back to it."""
        return self.free, self.pinned, self._times

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Come back to what was kept, with the same holders as then."""
        self.free, self.pinned, self._times = saved


class PoolNodes:
    """The nodes of one pool, found by how many GPUs are free and by block.

    `cells` counts what owners can have whole, by taking back what was lent (R11).
    """

    def __init__(self, cells: Cells | None = None) -> None:
        self._by_id: dict[NodeId, NodeState] = {}
        self.order: list[NodeState] = []
        self.unusable: list[NodeState] = []
        self.blocks: list[int] = []  # usable nodes of each block, a bit per rank
        # _at_least[n]: usable nodes with n or more GPUs free, a bit per rank.
        self._at_least: list[int] = []
        self.are_numbered = True
        # _ready[n]: (when n GPUs are free at once, rank), soonest first; and whose is out of date,
        # with the times that the lists still show.
        self._ready: dict[int, list[tuple[datetime, int]]] = {}
        self._outdated: dict[int, Times] = {}
        self.free = 0
        # Usable nodes by pinned GPUs, a bit per rank: without any, of each account, and those
        # that are bound to one account.
        self.untouched = 0
        self.pinned_by: dict[AccountName, int] = {}
        self.bound = 0
        self.cells = cells
        # What was kept to come back to: of nodes by rank, and of the pool.
        self._saved: dict[int, tuple[object, ...]] | None = None
        self._counts: tuple[Any, ...] = ()

    def put(self, state: NodeState) -> None:
        """Add a node, or replace it; numbers are given anew before the next look."""
        self._by_id[state.node.id] = state
        self.are_numbered = False

    def drop(self, node: NodeId) -> None:
        """Take a node out of the pool."""
        del self._by_id[node]
        self.are_numbered = False

    def number(self) -> None:
        """Number the nodes by (block, id), if nodes came or went since."""
        if self.are_numbered:
            return
        states = sorted(self._by_id.values(), key=lambda s: (s.node.block, s.node.id))
        self.order = [state for state in states if state.node.usable]
        self.unusable = [state for state in states if not state.node.usable]
        blocks: dict[str, int] = {}
        most = max((state.healthy.bit_count() for state in states), default=0)
        self._at_least = [0] * (most + 2)
        self.free = 0
        for rank, state in enumerate(self.order):
            state.rank = rank
            blocks[state.node.block] = blocks.get(state.node.block, 0) | 1 << rank
            self._count(rank, 0, state.free.bit_count())
        self.blocks = list(blocks.values())
        self._begin_cells(states, {block: number for number, block in enumerate(blocks)})
        self._ready.clear()
        self._outdated.clear()
        self.are_numbered = True

    def _count(self, rank: int, before: int, after: int) -> None:
        bit, at_least = 1 << rank, self._at_least
        self.free += after - before
        low, high = (before, after) if before < after else (after, before)
        for n in range(low + 1, high + 1):
            at_least[n] ^= bit

    def _begin_cells(self, states: Sequence[NodeState], numbers: Mapping[str, int]) -> None:
        """Count all cells anew. A block without usable nodes counts by its size as wired."""
        self.untouched = self.bound = 0
        self.pinned_by = {}
        if self.cells is None:
            return
        wired = Counter(state.node.block for state in states)
        down = (size for block, size in wired.items() if block not in numbers)
        self.cells.begin((*(wired[block] for block in numbers), *down))
        for state in self.order:
            state.place = Place(numbers[state.node.block], state.healthy.bit_count())
            self.cells.put(state.place)
            self.untouched |= 1 << state.rank
            if state.pinned:
                self._move(state, NOBODY)

    def _move(self, state: NodeState, before: Owners) -> None:
        """Take note of who has pinned GPUs on a node, and who had before."""
        if self.cells is None:
            return
        after, bit = state.pinned, 1 << state.rank
        is_bound = self.cells.move(state.place, before, after)
        self._count_pinned(state, before)
        if bool(before) != bool(after):
            self.untouched ^= bit
        self.bound = self.bound | bit if is_bound else self.bound & ~bit

    def _count_pinned(self, state: NodeState, before: Owners) -> None:
        after, bit, pinned_by = state.pinned, 1 << state.rank, self.pinned_by
        for account in after:
            if account not in before:
                pinned_by[account] = pinned_by.get(account, 0) ^ bit
        for account in before:
            if account not in after:
                pinned_by[account] = pinned_by.get(account, 0) ^ bit

    def refresh(self, state: NodeState, more: Holder | None = None) -> None:
        """Take note that a node's GPUs are held by others than before, or by one `more`."""
        if not (self.are_numbered and state.node.usable):
            state.refresh()
            return
        if self._ready and state.rank not in self._outdated:
            self._outdated[state.rank] = state.times
        free, pinned = state.free, state.pinned
        if more is None:
            state.refresh()
        else:
            state.hold(more)
        if state.pinned != pinned:
            self._move(state, pinned)
        if state.free != free:
            self._count(state.rank, free.bit_count(), state.free.bit_count())

    def save(self, state: NodeState) -> None:
        """Keep what is known of a node, and of the pool, if that was not kept since `restore`."""
        if self._saved is None:
            self._saved = {}
            known = (list(self._at_least), self.free, self.untouched, self.bound)
            self._counts = (*known, None if self.cells is None else self.cells.save())
        if state.rank not in self._saved:
            self._saved[state.rank] = state.save()

    def restore(self) -> None:
        """Come back to what was kept; the nodes' holders are the same as then."""
        if self._saved is None:
            return
        for rank, saved in self._saved.items():
            state = self.order[rank]
            if self._ready and rank not in self._outdated:
                self._outdated[rank] = state.times
            pinned = state.pinned
            state.restore(saved)
            self._count_pinned(state, pinned)
        self._at_least, self.free, self.untouched, self.bound, cells = self._counts
        if cells is not None:
            cells()
        self._saved = None

    def ready(self, gpus: int) -> Sequence[tuple[datetime, int]]:
        """Return (when so many GPUs are free at once, rank) of each node that has them, in order.

        Kept from one look to the next: only nodes that changed are worked out anew.
        """
        if self._outdated:
            changed = [(r, was, self.order[r].times) for r, was in self._outdated.items()]
            for n, known in self._ready.items():
                _bring_forward(n, known, changed)
            self._outdated.clear()
        if gpus not in self._ready:
            times = ((state.times, state.rank) for state in self.order)
            ready = ((when[gpus - 1][0], rank) for when, rank in times if len(when) >= gpus)
            self._ready[gpus] = sorted(ready)
        return self._ready[gpus]

    def with_room(self, gpus: int, blocked: Mapping[int, int]) -> int:
        """Return the nodes with so many GPUs free, not counting `blocked` ones (rank -> GPUs)."""
        if gpus >= len(self._at_least):
            return 0
        room = self._at_least[gpus]
        if blocked:
            order = self.order
            for rank, mask in blocked.items():
                if room >> rank & 1 and (order[rank].free & ~mask).bit_count() < gpus:
                    room ^= 1 << rank
        return room

    def fitting(self, gpus: int) -> int:
        """Return on how many nodes so many GPUs are free."""
        return self._at_least[gpus].bit_count() if gpus < len(self._at_least) else 0

    def has_room(self, nodes: int, gpus: int) -> bool:
        """Return whether the gang fits, with no thought of planned starts."""
        at_least = self._at_least
        return gpus < len(at_least) and at_least[gpus].bit_count() >= nodes

    def place(
        self, nodes: int, gpus: int, blocked: Mapping[int, int], among: int = -1
    ) -> tuple[Slot, ...] | None:
        """Return GPUs for a gang of `nodes` x `gpus`, all of it, or None.

        `among` are the ranks to look at, a bit each; all of them where it is left out.
        """
        room = self.with_room(gpus, blocked) & among
        if room.bit_count() < nodes:
            return None
        chosen = self._fullest(room, nodes, gpus) if nodes == 1 else self._gang(room, nodes, gpus)
        states = [self.order[rank] for rank in sorted(chosen)]
        if not blocked:
            return tuple([Slot(state.node.id, lowest(state.free, gpus)) for state in states])
        kept = blocked.get
        return tuple([Slot(s.node.id, lowest(s.free & ~kept(s.rank, 0), gpus)) for s in states])

    def _gang(self, room: int, nodes: int, gpus: int) -> list[int]:
        """Return ranks: the smallest block that holds the gang, else few and large blocks."""
        sizes = [((room & block).bit_count(), -n, block) for n, block in enumerate(self.blocks)]
        whole = [entry for entry in sizes if entry[0] >= nodes]
        if whole:
            block = min(whole, key=lambda entry: (entry[0], -entry[1]))[2]
            return self._fullest(room & block, nodes, gpus)
        chosen: list[int] = []
        for _, _, block in sorted(sizes, reverse=True):
            wanted = min(nodes - len(chosen), (room & block).bit_count())
            chosen += self._fullest(room & block, wanted, gpus)
            if len(chosen) == nodes:
                break
        return chosen

    def _fullest(self, room: int, nodes: int, gpus: int) -> list[int]:
        """Return the ranks of the nodes with the fewest GPUs free among `room`."""
        chosen: list[int] = []
        at_least = self._at_least
        for n in range(gpus, len(at_least) - 1):
            exactly = room & at_least[n] & ~at_least[n + 1]
            while exactly:
                low = exactly & -exactly
                chosen.append(low.bit_length() - 1)
                if len(chosen) == nodes:
                    return chosen
                exactly ^= low
        return chosen


def _bring_forward(
    n: int, known: list[tuple[datetime, int]], changed: Iterable[tuple[int, Times, Times]]
) -> None:
    """Keep a list of when `n` GPUs are free, of nodes that are free at other times than before."""
    for rank, before, now in changed:
        if len(before) >= n:
            old = (before[n - 1][0], rank)
            if len(now) >= n and now[n - 1][0] == old[0]:
                continue
            del known[bisect_left(known, old)]
        if len(now) >= n:
            insort(known, (now[n - 1][0], rank))


@lru_cache(maxsize=256)
def _indexes(mask: int) -> tuple[int, ...]:
    return tuple(bits(mask))


@lru_cache(maxsize=8192)
def _all_at(mask: int, when: datetime) -> Times:
    """Return the times of a node whose GPUs are all free at once: those of a gang are alike."""
    return tuple([(when, gpu) for gpu in _indexes(mask)])


@lru_cache(maxsize=8192)
def mask_of(gpus: tuple[int, ...]) -> int:
    """Return GPU indexes as bits."""
    mask = 0
    for gpu in gpus:
        mask |= 1 << gpu
    return mask


def bits(mask: int) -> Iterator[int]:
    """Yield the indexes of the bits that are set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@lru_cache(maxsize=8192)
def lowest(mask: int, count: int) -> tuple[int, ...]:
    """Return the first `count` GPU indexes of a mask."""
    chosen = []
    for gpu in bits(mask):
        chosen.append(gpu)
        if len(chosen) == count:
            break
    return tuple(chosen)


def sum_of(slots: Sequence[Slot]) -> int:
    """Return the GPUs of all slots."""
    return sum([len(slot.gpus) for slot in slots])
