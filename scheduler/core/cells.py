"""Guaranteed cells: an owner can have whole nodes and blocks back, not only the sum of GPUs (R11).

A guarantee of n GPUs is one of n // c cells of each size c: half a node, a node, a block. Work
that nobody may take back (in-quota runs) *pins* GPUs. A cell in which an account has pinned work
is bound to it as long as nobody else has pinned work there; a cell without any is free. For
every size there stay at least as many free cells as accounts may still claim, which is
what they are guaranteed less what is bound to them. Ends of runs never break that, so only starts
are asked. Borrowed and background work pins nothing: it is recalled when a cell is needed.

A block cell is as many nodes under one leaf switch as most of the pool's blocks have (of equally
many blocks, the smaller size), as wired, whether or not they are up. A larger block holds as
many such cells as fit into it. Which cells there are is counted in whole healthy nodes, so a broken
node costs its block's cell. A pool whose nodes are all in one block has no block cells.

Source: HiveD (Zhao et al., OSDI 2020), restated with counts per cell size; scheduling.md R11.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from scheduler.core.model import AccountName, Pool

Owners = Mapping[AccountName, int]
"""Who has pinned work in a place, and in how many of its units (GPUs of a node, nodes of a block).
"""

NOBODY: Owners = {}

Split = tuple[int, dict[AccountName, int]]
"""The free cells of a place, and how many are bound to whom."""

_Saved = tuple[int, int, dict[AccountName, int], dict[AccountName, int] | None]


class Place(NamedTuple):
    """A node as cells see it: the number of its block, and its healthy GPUs."""

    block: int
    healthy: int


class Size:
    """All cells of one size: how many are free, and how many each account may still claim."""

    __slots__ = ("_before", "_left", "claimed", "free", "nominal", "units")

    def __init__(self, units: int, gpus: int, nominals: Mapping[AccountName, int]) -> None:
        self.units = units  # GPUs of a node or nodes of a block that make a cell
        cells = {account: nominal // gpus for account, nominal in nominals.items()}
        self.nominal = {account: count for account, count in cells.items() if count}
        self._before: dict[AccountName, int] | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all places."""
        self.free = 0
        # What is guaranteed less what is bound, which may be more than that.
        self._left: dict[AccountName, int] = dict(self.nominal)
        self.claimed = sum(self.nominal.values())

    def left(self, account: AccountName) -> int:
        """Return how many cells the account may still claim."""
        return max(0, self._left.get(account, 0))

    def split(self, capacity: int, owners: Owners) -> Split:
        """Return the free cells of a place with so many units, and who is bound to how many.

        Whose work is beside others' in one cell is bound to nothing, nor who is guaranteed none.
        """
        spare = capacity - sum(owners.values())
        bound = {}
        for account in sorted(owners) if len(owners) > 1 else owners:
            used = owners[account]
            cells = -(-used // self.units)
            padding = cells * self.units - used
            if account not in self.nominal:
                continue
            if padding <= spare:
                bound[account] = cells
                spare -= padding
            elif used >= self.units:
                bound[account] = used // self.units  # what is beyond is in no whole cell
        return max(0, spare // self.units), bound

    def add(self, capacity: int) -> None:
        """Count one more place, in which nothing is pinned."""
        self.free += capacity // self.units

    def take(self, capacity: int, owner: tuple[AccountName, int], places: int) -> None:
        """Let one account have so many units of free places; below zero, they are free again.

        The same as `recount`, but faster: nearly all moves are like this.
        """
        (account, used), units = owner, self.units
        left = self._left.get(account)
        if left is not None:
            cells = -(-used // units)
            if cells * units > capacity:
                cells = used // units
            if cells:
                self._bind(account, left, places * cells)
                used = max(used, cells * units)
        still_free = (capacity - used) // units if used < capacity else 0
        self.free += places * (still_free - capacity // units)

    def recount(self, before: Split, after: Split) -> None:
        """Count a place anew that was split otherwise before."""
        self.free += after[0] - before[0]
        if before[1] == after[1]:
            return
        for account in (before[1] | after[1]) if before[1] else after[1]:
            cells = after[1].get(account, 0) - before[1].get(account, 0)
            self._bind(account, self._left[account], cells)

    def _bind(self, account: AccountName, left: int, cells: int) -> None:
        if self._before is not None and account not in self._before:
            self._before[account] = left
        now = self._left[account] = left - cells
        self.claimed += max(0, now) - max(0, left)

    def save(self) -> _Saved:
        """Return the counts, to come back to them; of accounts, those that change.

        Whoever saves while others have saved comes back first.
        """
        outer, self._before = self._before, {}
        return self.free, self.claimed, self._before, outer

    def restore(self, saved: _Saved) -> None:
        """Come back to counts that were kept."""
        self.free, self.claimed, before, self._before = saved
        self._left.update(before)


class Cells:
    """The cells of one pool, brought forward node by node as pinned work comes and goes."""

    def __init__(self, pool: Pool, nominals: Mapping[AccountName, int]) -> None:
        self._whole = pool.gpus_per_node
        self._nominals = {account: gpus for account, gpus in nominals.items() if gpus}
        self._having_nodes = {a for a, gpus in nominals.items() if gpus >= self._whole}
        halves = {self._whole // 2, self._whole} if self._nominals else set()
        sizes = [Size(c, c, self._nominals) for c in sorted(halves) if c > 1]
        self.are_divided = bool(sizes)  # whether accounts are guaranteed parts of its nodes at all
        # A size of which nobody is guaranteed a cell keeps nobody out, and is not counted.
        self._sizes = [size for size in sizes if size.nominal]
        self._blocks: Size | None = None
        self._with_blocks = self._sizes
        # By number of block: its whole nodes that are free or bound to one account, and whose.
        self._capacity: list[int] = []
        self._owners: list[dict[AccountName, int]] = []
        # What `split` answers of each, since it was last asked.
        self._splits: dict[int, Split] = {}
        # What has moved since anybody asked, counted then: a gang's nodes are mostly alike, and in
        # one block. Nodes that one account has taken, by their GPUs and its; and blocks as counted.
        self._taken: dict[tuple[int, tuple[AccountName, int]], int] = {}
        self._moved: dict[int, Split] = {}
        # The same of blocks that have changed since `save`, as they were.
        self._changed: dict[int, tuple[int, dict[AccountName, int]]] | None = None

    @property
    def sizes(self) -> list[Size]:
        """Return all sizes in which anything is guaranteed."""
        self._bring_forward()
        return self._with_blocks

    @property
    def have_blocks(self) -> bool:
        """Return whether anybody is guaranteed a block."""
        return self._blocks is not None

    @property
    def are_claimed(self) -> bool:
        """Return whether any account is guaranteed a cell that it does not use."""
        return any(size.claimed for size in self.sizes)

    def save(self) -> Callable[[], None]:
        """Return what brings all counts back to those of now; of blocks, those that change."""
        sizes = [(size, size.save()) for size in self.sizes]
        changed: dict[int, tuple[int, dict[AccountName, int]]] = {}
        outer, self._changed = self._changed, changed

        def restore() -> None:
            self._taken.clear()
            self._moved.clear()
            for size, saved in sizes:
                size.restore(saved)
            for block, (capacity, owners) in changed.items():
                self._capacity[block], self._owners[block] = capacity, owners
                self._splits.pop(block, None)
            self._changed = outer

        return restore

    def begin(self, blocks: Iterable[int]) -> None:
        """Forget all nodes; `blocks` are the sizes of the pool's blocks, in nodes as wired."""
        wired = tuple(blocks)
        often = Counter(wired)
        nodes = min(often, key=lambda size: (-often[size], size), default=0)
        self._blocks = None
        if len(wired) > 1 and nodes > 1:
            gpus = nodes * self._whole
            if any(nominal >= gpus for nominal in self._nominals.values()):
                self._blocks = Size(nodes, gpus, self._nominals)
        self._with_blocks = self._sizes if self._blocks is None else [*self._sizes, self._blocks]
        for size in self._sizes:
            size.clear()
        self._capacity = [0] * len(wired)
        self._owners = [{} for _ in wired]
        self._splits.clear()
        self._taken.clear()
        self._moved.clear()

    def put(self, place: Place) -> None:
        """Count a node on which nothing is pinned."""
        for size in self._sizes:
            size.add(place.healthy)
        if self._blocks is not None and place.healthy >= self._whole:
            self._count_block(place.block, 1, None, None)

    def move(self, place: Place, before: Owners, after: Owners) -> bool:
        """Count the pinned work on a node anew; return whether it is bound to one account now."""
        if not self._sizes:
            return False
        block, healthy = place
        owners, sign = (before, -1) if not after else (after, 1)
        if len(owners) == 1 and not (before and after):
            key = (healthy, next(iter(owners.items())))
            self._taken[key] = self._taken.get(key, 0) + sign
        else:
            for size in self._sizes:
                size.recount(size.split(healthy, before), size.split(healthy, after))
        now = self._bound_to(place, after) if after else None
        if self._blocks is not None and healthy >= self._whole:
            was = self._bound_to(place, before) if before else None
            # In its block counts a node that is free or bound to one account.
            counted = (was is not None or not before), (now is not None or not after)
            if was != now or counted[0] != counted[1]:
                self._count_block(block, counted[1] - counted[0], was, now)
        return now is not None

    def _bound_to(self, place: Place, owners: Owners) -> AccountName | None:
        """Return the account that a node with this pinned work is bound to, if any."""
        if len(owners) != 1:
            return None
        ((account, used),) = owners.items()
        is_whole = used >= self._whole or place.healthy >= self._whole
        return account if is_whole and account in self._having_nodes else None

    def _count_block(
        self, block: int, capacity: int, was: AccountName | None, now: AccountName | None
    ) -> None:
        """Note a block to be counted in which one node is bound to another, or counts anew."""
        size, owners = self._blocks, self._owners[block]
        if size is None:
            return
        if self._changed is not None and block not in self._changed:
            self._changed[block] = (self._capacity[block], dict(owners))
        if block not in self._moved:
            self._moved[block] = self._split(size, block)
        self._splits.pop(block, None)
        self._capacity[block] += capacity
        if was is not None:
            owners[was] -= 1
            if not owners[was]:
                del owners[was]
        if now is not None:
            owners[now] = owners.get(now, 0) + 1

    def _bring_forward(self) -> None:
        """Count what has moved."""
        for (healthy, owner), places in self._taken.items():
            for size in self._sizes:
                size.take(healthy, owner, places)
        self._taken.clear()
        if self._blocks is not None:
            for block, before in self._moved.items():
                self._blocks.recount(before, self._split(self._blocks, block))
        self._moved.clear()

    def short_of(self, account: AccountName, sizes: Iterable[Size]) -> list[bool]:
        """Return where free cells are lacking: by size for others, then for all with this one.

        An account may take its own blocks apart, as on a machine of its own, but not its nodes:
        there it would not have any more of them.
        """
        self._bring_forward()
        others = [size.free < size.claimed - size.left(account) for size in sizes]
        return others + [size.free < size.claimed for size in self._sizes]

    def binding(self, account: AccountName, nodes: int, last_try: bool) -> list[Size]:
        """Return the sizes that hold a start back: at last not blocks, if its nodes are guaranteed.

        A block that another may want whole does not keep an account out of its own last nodes.
        """
        self._bring_forward()
        guaranteed = bool(self._sizes) and self._sizes[-1].left(account) >= nodes
        return self._sizes if last_try and guaranteed else self.sizes

    def blocks_of(self, account: AccountName) -> list[int]:
        """Return the numbers of the blocks where an account has whole nodes bound to it."""
        if self._blocks is None:
            return []
        return [number for number, owners in enumerate(self._owners) if account in owners]

    def _split(self, size: Size, block: int) -> Split:
        known = self._splits.get(block)
        if known is None:
            known = size.split(self._capacity[block], self._owners[block])
            self._splits[block] = known
        return known

    def kept_in_blocks(self, account: AccountName) -> list[int]:
        """Return how many free nodes of each block others are to find there: [] without blocks.

        Those of the cells that are bound to them, and of as many free cells as they may still
        claim, in the blocks that come last.
        """
        size = self._blocks
        if size is None:
            return []
        self._bring_forward()
        kept, due = [0] * len(self._owners), dict(size.nominal)
        bound = [
            (-owners[who], number, who, count)
            for number, owners in enumerate(self._owners)
            if owners
            for who, count in self._split(size, number)[1].items()
            if who != account
        ]
        for used, number, who, count in sorted(bound):
            if due[who] > 0:
                kept[number] += max(0, count * size.units + used)
                due[who] -= count
        claimed = size.claimed - size.left(account)
        if not claimed:
            return kept
        last_first = range(len(kept) - 1, -1, -1)
        others = [number for number in last_first if account not in self._owners[number]]
        for number in (*others, *(n for n in last_first if account in self._owners[n])):
            if not claimed:
                break
            free = min(claimed, self._split(size, number)[0])
            kept[number] += free * size.units
            claimed -= free
        return kept

    def most_claimed_by(self, account: AccountName) -> AccountName:
        """Return the other account that may still claim the most of the largest cells.

        The account itself where nobody else claims any: it would have fewer than it is guaranteed.
        """
        sizes = tuple(reversed(self.sizes))
        left = {name: [size.left(name) for size in sizes] for name in self._nominals}
        others = (name for name in left if name != account and any(left[name]))
        return max(others, key=lambda name: (left[name], name), default=account)
