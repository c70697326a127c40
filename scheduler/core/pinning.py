"""Where work may go that nobody may take back, so that all guaranteed cells stay (R11).

It splits the smallest cell: first nodes that the account has such work on already, then those
that are nobody's cell any more, then free nodes in its own blocks, then those that no other
account is to find free in its block. Only then any, as far as there are cells to spare.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from scheduler.core.floor import Floor
from scheduler.core.index import Fit
from scheduler.core.model import AccountName, Slot
from scheduler.core.placement import PoolNodes

_ATTEMPTS = 4
"""So many nodes of a set are tried for work on one node: the next may split a smaller cell."""


def keeps_cells(
    floor: Floor,
    nodes: PoolNodes,
    account: AccountName,
    slots: Sequence[Slot],
    last_try: bool = False,
) -> bool:
    """Return whether such a start leaves every account, also this one, its cells.

    Where there are too few already, since nodes are broken or the policy divides blocks that
    are not there, that size holds nobody back: whoever comes first is served. So it is with
    one's own, where one account's work is spread over more cells than it is guaranteed.
    """
    cells = nodes.cells
    if cells is None or not cells.sizes:
        return True
    sizes = cells.binding(account, len(slots), last_try)
    before, take_back = cells.short_of(account, sizes), cells.save()
    for slot in slots:
        state = floor.nodes[slot.node]
        more = state.pinned.get(account, 0) + len(slot.gpus)
        cells.move(state.place, state.pinned, {**state.pinned, account: more})
    after = cells.short_of(account, sizes)
    take_back()
    return all(was or not now for was, now in zip(before, after, strict=True))


def place(
    floor: Floor,
    nodes: PoolNodes,
    account: AccountName,
    asked: tuple[Fit, Mapping[int, int]],
    cells_bind: bool,
) -> tuple[Slot, ...] | None:
    """Return free GPUs for a gang, but those `blocked`, so that all cells stay, or None.

    Without `cells_bind` only the order is kept in which nodes are looked at.
    """
    fit, blocked = asked
    for among in candidates(nodes, account, fit, nodes.with_room(fit.gpus_per_node, blocked)):
        left = among
        for _ in range(_ATTEMPTS if fit.nodes == 1 else 1):
            slots = nodes.place(fit.nodes, fit.gpus_per_node, blocked, left)
            if slots is None:
                break
            if not cells_bind or keeps_cells(floor, nodes, account, slots, among == -1):
                return slots
            left &= ~(1 << floor.nodes[slots[0].node].rank)
    return None


def candidates(nodes: PoolNodes, account: AccountName, fit: Fit, room: int = -1) -> Iterator[int]:
    """Yield sets of nodes to look at, one after the other, a bit per rank; `room` may serve."""
    mine = nodes.pinned_by.get(account, 0)
    if fit.nodes == 1:
        if mine:
            yield mine
        yield ~(mine | nodes.untouched | nodes.bound)
    free = nodes.untouched
    if nodes.cells is not None and nodes.cells.have_blocks:
        own = 0
        for number in nodes.cells.blocks_of(account):
            own |= nodes.blocks[number]
        yield mine | free & own
        # Worked out late, for mostly the account's own blocks have room.
        free &= ~_kept(nodes, nodes.cells.kept_in_blocks(account))
        yield mine | free
    yield mine | nodes.untouched
    if fit.nodes > 1 and mine:
        # As few nodes more as it needs beside those that it is on.
        yield mine | _first(free & room, fit.nodes - (mine & room).bit_count())
    yield -1


def _first(ranks: int, count: int) -> int:
    found = 0
    for _ in range(min(count, ranks.bit_count())):
        low = ranks & -ranks
        ranks ^= low
        found |= low
    return found


def _kept(nodes: PoolNodes, kept: Iterable[int]) -> int:
    """Return the free nodes that others are to find in their blocks: the last ones of each."""
    found = 0
    for block, count in zip(nodes.blocks, kept, strict=False):
        free = nodes.untouched & block
        if count >= free.bit_count():
            found |= free
            continue
        for _ in range(count):
            last = 1 << free.bit_length() - 1
            free ^= last
            found |= last
    return found
