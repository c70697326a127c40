"""Who is next: the account with the least share at each level, then the leaf's own order (R2).

Jobs of one account that placement cannot tell apart wait in one queue (a `Kind`), so a
shape that cannot start is tried once per cycle, and what waits behind it in other shapes
is still reached. A cycle takes turns over kinds, never over jobs.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from heapq import heappop, heappush

from scheduler.core.index import Candidates, PolicyIndex
from scheduler.core.model import AccountName, Job, JobId, Pool, Shape

Entry = tuple[int, datetime, int, JobId]
"""A job's place in its queue: priority, then age, then submission."""


def entry(job: Job) -> Entry:
    """Return the job's place among those of its account (R2)."""
    return (job.priority.rank, job.submitted_at, job.sequence, job.id)


class Kind:
    """The waiting jobs of one account and shape whose time limits the same tiers allow.

    `guaranteed` are the pools where the shape could be in quota if all else were idle.
    """

    __slots__ = ("account", "candidates", "entries", "gpus", "guaranteed", "key", "shape")

    def __init__(
        self,
        account: AccountName,
        shape: Shape,
        candidates: Candidates,
        guaranteed: tuple[Pool, ...],
    ) -> None:
        self.guaranteed = guaranteed
        self.account = account
        self.shape = shape
        self.candidates = candidates
        self.gpus = shape.gpus
        self.entries: list[Entry] = []
        # What two kinds are told apart by where all else is equal, the same in every process.
        self.key = (
            shape.nodes,
            shape.gpus_per_node,
            tuple(sorted(shape.gpu_models)),
            shape.label,
            shape.tier_min.rank,
            shape.tier_max.rank,
            shape.preemptible,
            shape.background,
            tuple(pool.id for pool in candidates.pools),
        )

    def put(self, job: Job) -> None:
        """Let a job wait here."""
        insort(self.entries, entry(job))

    def drop(self, job: Job) -> None:
        """Take a job out."""
        place = entry(job)
        at = bisect_left(self.entries, place)
        if at < len(self.entries) and self.entries[at] == place:
            del self.entries[at]


class _Branch:
    """An account in the order of one cycle: what is below it, the next one on top."""

    __slots__ = ("branches", "kinds", "name", "parent", "queued", "used", "weight")

    def __init__(
        self, name: AccountName, parent: "_Branch | None", used: float, weight: int
    ) -> None:
        self.name = name
        self.parent = parent
        self.used = used
        self.weight = weight
        self.queued = False
        self.branches: list[tuple[float, AccountName, _Branch]] = []
        self.kinds: list[tuple[Entry, int, Kind]] = []


class Turns:
    """Hands out kinds in order; each comes back with what its start cost.

    `head` gives the place of a kind's first job that may still be tried, or None.
    """

    def __init__(
        self,
        index: PolicyIndex,
        usage: Mapping[AccountName, float],
        kinds: Iterable[Kind],
        head: Callable[[Kind], Entry | None],
    ) -> None:
        self._index = index
        self._usage = usage
        self._head = head
        self._branches: dict[AccountName, _Branch] = {}
        self._roots: list[tuple[float, AccountName, _Branch]] = []
        self._path: list[_Branch] = []
        self._numbers: dict[int, int] = {}
        for number, kind in enumerate(sorted(kinds, key=lambda k: (k.account, k.key))):
            self._numbers[id(kind)] = number
            self._put(kind)

    def _branch(self, name: AccountName) -> _Branch:
        known = self._branches.get(name)
        if known is None:
            chain = self._index.chain(name)
            parent = self._branch(chain[1]) if len(chain) > 1 else None
            used = self._usage.get(name, 0.0)
            known = _Branch(name, parent, used, self._index.weight(name))
            self._branches[name] = known
        return known

    def _put(self, kind: Kind) -> None:
        head = self._head(kind)
        if head is not None:
            leaf = self._branch(kind.account)
            heappush(leaf.kinds, (head, self._numbers[id(kind)], kind))
            self._queue(leaf)

    def _queue(self, branch: _Branch | None) -> None:
        while branch is not None and not branch.queued:
            branch.queued = True
            above = branch.parent.branches if branch.parent else self._roots
            heappush(above, (branch.used / branch.weight, branch.name, branch))
            branch = branch.parent

    def take(self) -> Kind | None:
        """Return the next kind, by least share down the tree; give it back before the next."""
        if not self._roots:
            return None
        self._path = [heappop(self._roots)[2]]
        while self._path[-1].branches:
            self._path.append(heappop(self._path[-1].branches)[2])
        for branch in self._path:
            branch.queued = False
        return heappop(self._path[-1].kinds)[2]

    def give_back(self, kind: Kind, h100e_seconds: float) -> None:
        """Charge a start's tentative usage up the tree, and queue what still has a head."""
        for branch in self._path:
            branch.used += h100e_seconds
        self._put(kind)
        for branch in reversed(self._path):
            if branch.kinds or branch.branches:
                self._queue(branch)
