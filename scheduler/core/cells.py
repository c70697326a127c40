"""Guaranteed cells: an owner can have whole nodes back, and not only the sum of their GPUs (R11).

A guarantee of n GPUs is one of whole nodes and half nodes. Work that nobody may take back
(in-quota runs) is placed so that for every size there stay at least as many cells without
such work as accounts may still claim; borrowed and background work is recalled when needed
and so breaks nothing.

Source: HiveD (Zhao et al., OSDI 2020), restated with counts per cell size; scheduling.md R11.
"""

from collections.abc import Iterable, Mapping

from scheduler.core.model import NodeId, Pool, Slot


def cell_sizes(pool: Pool) -> tuple[int, ...]:
    """Return the sizes above one GPU in which guarantees are kept: half a node, a node."""
    whole = pool.gpus_per_node
    return tuple(size for size in {whole // 2, whole} if size > 1)


def stay_reachable(
    cells: Mapping[int, int], claimed: Mapping[int, int], nodes: Iterable[tuple[int, int]]
) -> bool:
    """Return whether a start that nobody may take back leaves all others their cells.

    Where there are too few cells already, since nodes are broken, whoever comes first is served.

    Args:
        cells: how many cells are without pinned work now, by size.
        claimed: how many cells all other accounts may still claim, by size.
        nodes: for each node of the start, its GPUs without pinned work, before and after.
    """
    if any(there < claimed.get(size, 0) for size, there in cells.items()):
        return True
    taken = tuple(nodes)
    return all(
        there - sum(before // size - after // size for before, after in taken)
        >= claimed.get(size, 0)
        for size, there in cells.items()
    )


class Claims:
    """The cells of one account that it may still claim: its nominal's, less those it is in.

    An account that spreads its own work over its cells has fewer left, as it would on a
    machine of its own.
    """

    __slots__ = ("_nominal", "_on_node", "_sizes", "_touched", "left")

    def __init__(self, sizes: Iterable[int], nominal: int) -> None:
        self._sizes = tuple(sizes)
        self._nominal = nominal
        self._on_node: dict[NodeId, int] = {}
        self._touched = dict.fromkeys(self._sizes, 0)
        self.left = {size: nominal // size for size in self._sizes}

    def pin(self, slots: Iterable[Slot], sign: int) -> None:
        """Count pinned work of the account on nodes, or count it no longer (`sign` -1)."""
        for slot in slots:
            before = self._on_node.get(slot.node, 0)
            after = before + sign * len(slot.gpus)
            if after:
                self._on_node[slot.node] = after
            else:
                self._on_node.pop(slot.node, None)
            for size in self._sizes:
                self._touched[size] += -(-after // size) + (-before // size)
        for size in self._sizes:
            self.left[size] = max(0, self._nominal // size - self._touched[size])
