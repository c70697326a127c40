"""Whose turn it is: the account with the least share, level by level down the tree (R2).

A fleet has a thousand accounts, and a cycle reaches a few dozen: what is below an account is put
in order when the turn first comes to it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple, Self

from scheduler.core.index import PolicyIndex
from scheduler.core.model import AccountName


class Tree(NamedTuple):
    """Some accounts that have jobs, and for each account above them who of these is below it.

    `below[None]` are those that nobody is above.
    """

    accounts: Sequence[AccountName]
    below: Mapping[AccountName | None, Sequence[AccountName]]

    @classmethod
    def of(cls, index: PolicyIndex, accounts: Sequence[AccountName]) -> Self:
        """Return the part of the policy's tree that leads to some accounts."""
        below: dict[AccountName | None, list[AccountName]] = {None: []}
        known: set[AccountName] = set()
        for account in accounts:
            chain = index.chain(account)
            for name, above in zip(chain, (*chain[1:], None), strict=True):
                if name in known:
                    break
                known.add(name)
                below.setdefault(above, []).append(name)
        return cls(accounts, below)


class _Branch:
    """An account in the order of one pass: what is below it, the next one on top.

    `rows` is None until somebody looks there. `is_open`: it has something of its own to try.
    """

    __slots__ = ("is_open", "name", "parent", "queued", "rows", "used", "weight")

    def __init__(
        self, name: AccountName, parent: "_Branch | None", used: float, weight: int
    ) -> None:
        self.name = name
        self.parent = parent
        self.used = used
        self.weight = weight
        self.queued = True
        self.is_open = False
        self.rows: list[_Row] | None = None

    @property
    def row(self) -> "_Row":
        """Return its place beside the others: by share, then by name."""
        return (self.used / self.weight, self.name, self)


_Row = tuple[float, AccountName, _Branch]


class Turns:
    """Hands out accounts, least share first at every level; each comes back with what it took."""

    def __init__(self, index: PolicyIndex, usage: Mapping[AccountName, float], tree: Tree) -> None:
        self._index = index
        self._usage = usage
        self._tree = tree
        self._open = set(tree.accounts)
        self._roots = self._ordered(None)
        self._path: list[_Branch] = []

    def _ordered(self, above: _Branch | None) -> list[_Row]:
        """Return who is right below an account and has, or leads to, something to try."""
        rows = []
        for name in self._tree.below.get(above.name if above else None, ()):
            used, weight = self._usage.get(name, 0.0), self._index.weight(name)
            branch = _Branch(name, above, used, weight)
            branch.is_open = name in self._open
            rows.append(branch.row)
        heapify(rows)
        return rows

    def _below(self, branch: _Branch) -> list[_Row]:
        if branch.rows is None:
            branch.rows = self._ordered(branch)
        return branch.rows

    def take(self) -> AccountName | None:
        """Return the next account, by least share down the tree; give it back before the next."""
        if not self._roots:
            return None
        branch = heappop(self._roots)[2]
        self._path = [branch]
        # An account may hold a queue and have accounts below it, if the policy changed.
        while not branch.is_open and (rows := self._below(branch)):
            branch = heappop(rows)[2]
            self._path.append(branch)
        for branch in self._path:
            branch.queued = False
        return self._path[-1].name

    def give_back(self, h100e_seconds: float, is_open: bool) -> None:
        """Charge what it took up the tree, and queue it again where it has more to try."""
        leaf = self._path[-1]
        leaf.is_open = is_open
        if not is_open:
            self._open.discard(leaf.name)
        for branch in self._path:
            branch.used += h100e_seconds
        for branch in reversed(self._path):
            if branch.is_open or self._below(branch):
                self._queue(branch)

    def _queue(self, branch: _Branch | None) -> None:
        while branch is not None and not branch.queued:
            branch.queued = True
            heappush(self._below(branch.parent) if branch.parent else self._roots, branch.row)
            branch = branch.parent

    def narrow(self, worth: Callable[[Collection[AccountName]], Iterable[AccountName]]) -> None:
        """Go on with some of those only that still have something to try, between turns."""
        self._open = set(worth(self._open))
        self._tree = Tree.of(self._index, sorted(self._open))
        self._roots = self._narrowed(self._roots)

    def _narrowed(self, rows: list[_Row]) -> list[_Row]:
        kept = []
        for row in rows:
            branch = row[2]
            if branch.rows is not None:
                branch.rows = self._narrowed(branch.rows)
            branch.is_open = branch.name in self._open
            leads_on = branch.name in self._tree.below if branch.rows is None else branch.rows
            branch.queued = branch.is_open or bool(leads_on)
            if branch.queued:
                kept.append(row)
        heapify(kept)
        return kept
