"""All nodes of all pools, and who holds their GPUs; a cycle tries starts on it and undoes them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from scheduler.core.cells import Cells
from scheduler.core.model import Node, NodeId, PoolId, QuotaClass, Run, RunId
from scheduler.core.placement import Holder, NodeState, PoolNodes, mask_of


class Floor:
    """All nodes of all pools, and who holds their GPUs."""

    def __init__(self, cells: Mapping[PoolId, Cells]) -> None:
        self._cells = cells
        self.pools: dict[PoolId, PoolNodes] = {}
        self.nodes: dict[NodeId, NodeState] = {}
        # The same without who holds them: copied whole for every look at the world.
        self.reported: dict[NodeId, Node] = {}
        # Kept by node id: a run may hold GPUs of a node that has not reported yet.
        self._holders: dict[NodeId, dict[RunId, Holder]] = {}
        self._is_marked = self._is_undoing = False

    def pool(self, pool: PoolId) -> PoolNodes:
        """Return a pool's nodes, numbered."""
        nodes = self.pools.get(pool)
        if nodes is None or not nodes.are_numbered:
            nodes = self._pool(pool)
            nodes.number()
        return nodes

    def _pool(self, pool: PoolId) -> PoolNodes:
        known = self.pools.get(pool)
        if known is None:
            known = self.pools[pool] = PoolNodes(self._cells.get(pool))
        return known

    def put_node(self, node: Node) -> None:
        """Add a node or replace what is known about it."""
        self.drop_node(node.id)
        state = NodeState(node, self._holders.setdefault(node.id, {}))
        self.nodes[node.id], self.reported[node.id] = state, node
        self._pool(node.pool).put(state)

    def drop_node(self, node: NodeId) -> None:
        """Forget a node; what runs hold on it is kept, should it come back."""
        state = self.nodes.pop(node, None)
        if state is not None:
            del self.reported[node]
            self.pools[state.node.pool].drop(node)

    def hold(self, run: Run) -> None:
        """Let a run hold its GPUs until its limit, or until it was told to stop."""
        until = run.ends_by if run.stop_at is None else min(run.ends_by, run.stop_at)
        stays = run.quota_class is QuotaClass.IN_QUOTA and not run.draining
        pinned = run.account if stays else None
        gpus: tuple[int, ...] = ()
        held = Holder(0, until, pinned)
        for slot in run.slots:
            if slot.gpus != gpus:  # mostly a gang has the same of every node
                gpus = slot.gpus
                held = Holder(mask_of(gpus), until, pinned)
            state = self.nodes.get(slot.node)
            if state is None:
                self._holders.setdefault(slot.node, {})[run.id] = held
                continue
            is_new = run.id not in state.holders
            state.holders[run.id] = held
            self._look(state, held if is_new else None)

    def release(self, run: Run) -> None:
        """Take back the GPUs that a run holds."""
        for slot in run.slots:
            holders = self._holders[slot.node]
            holders.pop(run.id, None)
            if not holders and slot.node not in self.nodes:
                del self._holders[slot.node]
            self._refresh(slot.node)

    def take_back(self, run: Run) -> None:
        """Take the GPUs of a run that a cycle tried off its nodes; the rest comes with `undo`."""
        for slot in run.slots:
            del self._holders[slot.node][run.id]

    def _refresh(self, node: NodeId) -> None:
        state = self.nodes.get(node)
        if state is not None:
            self._look(state)

    def _look(self, state: NodeState, more: Holder | None = None) -> None:
        """Take note of what holds a node: what did before and one more, or all of it anew."""
        usable = state.node.usable
        if usable and self._is_undoing:
            return
        nodes = self.pools[state.node.pool]
        if usable and self._is_marked:
            nodes.save(state)
        nodes.refresh(state, more)

    def mark(self) -> None:
        """Take note of the state, to come back to it after trying starts (see `undo`)."""
        for nodes in self.pools.values():
            nodes.number()
        self._is_marked = True

    @contextmanager
    def undo(self) -> Iterator[None]:
        """Come back to the marked state, once all runs hold again what they held then."""
        self._is_undoing = True
        try:
            yield
        finally:
            self._is_undoing = self._is_marked = False
            for nodes in self.pools.values():
                nodes.restore()

    def state(self) -> Iterator[tuple[NodeId, int, tuple[tuple[datetime, int], ...]]]:
        """Yield what is free on every node, and when the rest will be: for comparing worlds."""
        for name in sorted(self.nodes):
            yield (name, self.nodes[name].free, self.nodes[name].times)
