"""The runs of one pool that may lose their GPUs in a cycle (R8, R9, R10).

Most looks at a pool end with a sum or two: there is too little to take, or nobody's share may
move yet. Runs are priced and put in order only for a look that comes further than that.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from scheduler.core.index import Fit
from scheduler.core.leaving import Leaving
from scheduler.core.model import Job, PoolId, QuotaClass, Run, RunId
from scheduler.core.victims import cost, is_ripe
from scheduler.core.world import World

SEARCHES = 8
"""So many searches for moves by shares may fail in a pool until it is left alone for a cycle.

Whoever is first in line has looked by then, and moves by shares are rare by design (R9).
"""


class Asked(NamedTuple):
    """What a search is for: a job, its gang here, what it must leave alone, and its class."""

    job: Job
    fit: Fit
    blocked: Mapping[int, int]
    turn: QuotaClass


class Preemptable:
    """The runs of one pool that may lose their GPUs in this cycle, priced, cheapest first."""

    def __init__(
        self, world: World, pool: PoolId, now: datetime, spared: frozenset[int] = frozenset()
    ) -> None:
        self.world = world
        self.pool = pool
        self.now = now
        self.nodes = world.floor.pool(pool)  # numbered now, and not again in this cycle
        self._there = dict(world.recallable.get(pool, {}))
        self._lent = world.recallable_gpus.get(pool, 0)
        self._failed = 0
        self.leaving = Leaving(spared)
        for run in world.leaving.get(pool, {}).values():
            self.leaving.add(run, self._ranks_of(run))

    @cached_property
    def costs(self) -> dict[RunId, tuple[int, int, float, RunId]]:
        """Return what ending each run throws away (R9)."""
        factor, pool, now = self.world.index.factor, self.pool, self.now
        there = self._there.values()
        return {run.id: cost(run, factor(pool, run.leased_at), now) for run in there}

    @cached_property
    def runs(self) -> dict[RunId, Run]:
        """Return the runs that may lose their GPUs, cheapest first."""
        return {name: self._there[name] for name in sorted(self._there, key=self.costs.__getitem__)}

    @cached_property
    def ranks(self) -> dict[RunId, list[int]]:
        """Return the nodes that each run is on."""
        return {name: self._ranks_of(run) for name, run in self.runs.items()}

    @cached_property
    def on_node(self) -> dict[int, list[Run]]:
        """Return the runs on each node that has any, cheapest first."""
        there: dict[int, list[Run]] = {}
        for name, run in self.runs.items():
            for rank in self.ranks[name]:
                there.setdefault(rank, []).append(run)
        return there

    @cached_property
    def ripe(self) -> set[RunId]:
        """Return the runs that shares may move by now."""
        there = self._there.values()
        return {run.id for run in there if is_ripe(run, self.world, self.now)}

    @cached_property
    def movable(self) -> list[Run]:
        """Return the runs that may end for a borrower by now, cheapest first."""
        ripe, background = self.ripe, self._background
        return [run for name, run in self.runs.items() if name in ripe or name in background]

    @cached_property
    def _background(self) -> set[RunId]:
        there = self._there.values()
        return {run.id for run in there if run.quota_class is QuotaClass.BACKGROUND}

    def _ranks_of(self, run: Run) -> list[int]:
        nodes, found = self.world.floor.nodes, []
        for slot in run.slots:
            state = nodes.get(slot.node)
            if state is not None and state.node.pool == self.pool and state.node.usable:
                found.append(state.rank)
        return found

    def drop(self, run: Run) -> None:
        """Let a run leave that loses its GPUs."""
        ranks = self.ranks[run.id]
        for rank in ranks:
            self.on_node[rank].remove(run)
        del self.runs[run.id], self._there[run.id]
        self.movable[:] = [other for other in self.movable if other.id != run.id]
        self._lent -= run.gpus
        self._background.discard(run.id)
        self.ripe.discard(run.id)
        self.leaving.add(run, ranks)

    def failed(self) -> None:
        """Take note that a search for moves by shares found nothing."""
        self._failed += 1

    def is_worth_a_look(self, asked: Asked) -> bool:
        """Return whether anything could do, so that a hopeless search is not begun."""
        gpus = asked.fit.gpus
        if asked.turn is QuotaClass.IN_QUOTA:
            lent = self._lent + self.leaving.gpus
            return lent > 0 and self.nodes.free + lent >= gpus
        if not self._lent or self.nodes.free + self._lent < gpus:
            return False
        return self._failed < SEARCHES and bool(self._background or self.ripe)

    def worth_looking_at(self, gpus: int) -> int:
        """Return the nodes that may have so many GPUs for one gang, a bit per rank.

        On all others nobody ends, and too few are free.
        """
        found = self.nodes.with_room(gpus, {})
        for rank in (*self.on_node, *self.leaving.ranks):
            found |= 1 << rank
        return found
