"""Who may use how much of one pool: the quota tree (R1).

Each account below the pool's owner is a level. What a level keeps for itself
(`home = nominal - lend_max`) is spent first; what goes beyond it bubbles up and
competes for what the levels above can give. Background work and outsiders are
served by the owner alone, from what nobody keeps at home.

Source: Kueue's hierarchical cohorts (pkg/cache, the resource_node algebra), restated
with integers; scheduling.md R1.
"""

from collections.abc import Iterator
from itertools import pairwise

from scheduler.core.cells import Cells
from scheduler.core.index import PolicyIndex
from scheduler.core.model import AccountName, Pool, PoolId, QuotaClass, Run


class Level:
    """One account in one pool. `used` is its subtree's, `pressure` what it asks of its homepot."""

    __slots__ = (
        "borrow_max",
        "home",
        "homepot",
        "is_leaf",
        "left",
        "lend_max",
        "name",
        "nominal",
        "pressure",
        "used",
        "weight",
    )

    def __init__(self, name: AccountName, nominal: int, lend_max: int, borrow_max: int) -> None:
        self.name = name
        self.nominal = nominal
        self.lend_max = lend_max
        self.borrow_max = borrow_max
        self.home = nominal - lend_max
        self.homepot = self.home
        self.used = 0
        self.pressure = 0
        self.left = 0  # of the nominal, as a power of two: see `Below`
        self.weight = 1
        self.is_leaf = True  # no account below it has a row of its own

    @property
    def share(self) -> float:
        """Return what it uses now per unit of weight: who may preempt whom (R8.1)."""
        return self.used / self.weight


class Below:
    """Where accounts use less than their nominals: for each, the pools by how much is left.

    Amounts are told apart by powers of two, so that most starts and ends change nothing here.
    """

    def __init__(self) -> None:
        self._pools: dict[AccountName, list[int]] = {}

    def set(self, account: AccountName, bit: int, sizes: tuple[int, int]) -> None:
        """Take note of what is left in a pool: its length in bits, before and now."""
        known = self._pools.setdefault(account, [])
        low, high = sorted(sizes)
        known.extend([0] * (high + 1 - len(known)))
        for size in range(low + 1, high + 1):
            known[size] ^= bit

    def pools(self, account: AccountName, gpus: int) -> int:
        """Return the pools where so many may be left, a bit each; surely not in any other."""
        known, size = self._pools.get(account), gpus.bit_length()
        return known[size] if known is not None and size < len(known) else 0


class PoolQuota:
    """The levels of one pool, and what each has in use.

    `below` is of all pools of a world, and this one keeps `bit` in it: see `Below`.
    """

    def __init__(self, index: PolicyIndex, pool: Pool, bit: int, below: "Below") -> None:
        self.pool = pool
        self._bit = 1 << bit
        self._below = below
        self._index = index
        self._levels: dict[AccountName, Level] = {}
        self._paths: dict[AccountName, tuple[Level, ...]] = {}
        self._available: dict[AccountName, int] = {}
        self._most: dict[AccountName, int] = {}
        self._rich: dict[AccountName, float] = {}
        self.owner = Level(pool.owner, pool.capacity, pool.capacity, 0)
        self._levels[pool.owner] = self.owner
        for (account, pool_id), row in index.quotas.items():
            if pool_id == pool.id and account != pool.owner:
                self._levels[account] = Level(account, row.nominal, row.lend_max, row.borrow_max)
        self._mark()
        leaves = (level for level in self._levels.values() if level.is_leaf)
        self.cells = Cells(pool, {level.name: level.nominal for level in leaves})
        # What children keep at home is not the parent's to give; the owner gives the rest.
        self.kept = 0
        for name, level in self._levels.items():
            parent = index.accounts[name].parent
            if name == pool.owner or parent is None:
                continue
            if parent == pool.owner:
                self.kept += level.home
            elif parent in self._levels:
                self._levels[parent].homepot -= level.home

    def _mark(self) -> None:
        """Weigh the levels, and note which have others below them."""
        for name, level in self._levels.items():
            level.weight = self._index.weight(name)
            for above in self._index.chain(name)[1:]:
                if above in self._levels:
                    self._levels[above].is_leaf = False
            self._compare(level, level.nominal.bit_length())

    def path(self, account: AccountName) -> tuple[Level, ...]:
        """Return the levels from the account up to the owner; empty for an outsider."""
        known = self._paths.get(account)
        if known is None:
            chain = self._index.chain(account)
            known = ()
            if self.pool.owner in chain:
                names = chain[: chain.index(self.pool.owner) + 1]
                known = tuple(self._level(name) for name in names)
            self._paths[account] = known
        return known

    def _level(self, name: AccountName) -> Level:
        """Return the level; an account without a row has and borrows nothing."""
        known = self._levels.get(name)
        if known is None:
            known = self._levels[name] = Level(name, 0, 0, 0)
            known.weight = self._index.weight(name)
        return known

    def charge(self, account: AccountName, quota_class: QuotaClass, gpus: int) -> None:
        """Count GPUs (negative: no longer) at the account, or at the owner alone."""
        self._available.clear()
        self._rich.clear()
        path = () if quota_class is QuotaClass.BACKGROUND else self.path(account)
        if not path:
            self.owner.pressure += gpus
            return
        for level in path:
            level.used += gpus
            left = level.nominal - level.used
            size = left.bit_length() if left > 0 else 0
            if size != level.left:
                self._compare(level, size)
        # What a level asks of those above it changes by what its own part does not take up.
        carry = gpus
        for level in path[:-1]:
            before = max(0, level.pressure - level.homepot)
            level.pressure += carry
            carry = max(0, level.pressure - level.homepot) - before
        self.owner.pressure += carry

    def _compare(self, level: Level, size: int) -> None:
        """Bring forward what is left of a level's nominal: its length in bits."""
        self._below.set(level.name, self._bit, (level.left, size))
        level.left = size

    def charge_run(self, run: Run, sign: int) -> None:
        """Count a run's GPUs, or count them no longer (`sign` -1)."""
        self.charge(run.account, run.quota_class, sign * run.gpus)

    @property
    def common(self) -> int:
        """Return what the owner can still give: capacity - homes - use. Outsiders live on it."""
        return self.pool.capacity - self.kept - self.owner.pressure

    def available(self, account: AccountName) -> int:
        """Return the GPUs that the account could start now, in quota or borrowed."""
        known = self._available.get(account)
        if known is not None:
            return known
        self._available[account] = max(0, self._open_to(account, self.common))
        return self._available[account]

    def may_come_free(self, account: AccountName) -> int:
        """Return the GPUs that the account may start once others' runs have ended (R6).

        What the account and those above it use and may borrow counts; what others use does not.
        """
        return max(0, self._open_to(account, self.pool.capacity - self.kept))

    def _open_to(self, account: AccountName, open_above: int) -> int:
        for level in reversed(self.path(account)[:-1]):
            # What is left of its own part, or below zero: what it takes from those above.
            at_home = level.homepot - level.pressure
            room = level.lend_max + level.borrow_max
            if at_home < 0:
                room, at_home = room + at_home, 0
            open_above = at_home + max(0, min(room, open_above))
        return open_above

    def beyond(self, account: AccountName, gpus: int) -> Level | None:
        """Return the first level that `gpus` more would bring over its nominal; None: in quota."""
        for level in self.path(account):
            if level.used + gpus > level.nominal:
                return level
        return None

    def can_be_in_quota(self, account: AccountName, gpus: int) -> bool:
        """Return whether so many GPUs could ever be in quota, everything else idle."""
        most = self._most.get(account)
        if most is None:
            most = min((level.nominal for level in self.path(account)), default=0)
            self._most[account] = most
        return gpus <= most

    def is_wide(self, account: AccountName, nodes: int) -> bool:
        """Return whether a gang spreads over more nodes than the account is guaranteed whole.

        Such a gang is no part of what it is guaranteed: alone on so many nodes it would not fit.
        """
        path = self.path(account)
        return bool(path) and nodes > max(1, path[0].nominal // self.pool.gpus_per_node)

    def is_over(self, victim: AccountName, preemptor: AccountName) -> bool:
        """Return whether the victim's own branch is over nominal, below where the two part (R8.2).

        Levels that both share do not count: there, the preemptor is as much over as the victim.
        """
        shared = self.path(preemptor)
        for level in self.path(victim):
            if level in shared:
                return False
            if level.used > level.nominal:
                return True
        return False

    def parting(self, one: AccountName, other: AccountName) -> tuple[Level, Level] | None:
        """Return the two levels right below where both accounts' paths meet, if they part.

        None for an outsider, or where one account is above the other.
        """
        ours, theirs = self.path(one), self.path(other)
        mine = _below(ours, theirs)
        yours = _below(theirs, ours)
        return None if mine is None or yours is None else (mine, yours)

    def is_richer_than(self, account: AccountName, gpus: int) -> bool:
        """Return whether a branch over its nominal has the larger share, beside the account's.

        Looked for at every level of the account's path, with `gpus` more for the account (R8.1).
        """
        path = self.path(account)
        return any(
            (mine.used + gpus) / mine.weight < self._richest(above)
            for mine, above in pairwise(path)
        )

    def _richest(self, parent: Level) -> float:
        """Return the largest share right below a level, of those over their nominal."""
        known = self._rich.get(parent.name)
        if known is None:
            levels = (self._levels.get(name) for name in self._index.children(parent.name))
            over = (level.share for level in levels if level and level.used > level.nominal)
            known = self._rich[parent.name] = max(over, default=0.0)
        return known

    def state(self) -> Iterator[tuple[PoolId, AccountName, int, int]]:
        """Yield what is in use, by account: for comparing worlds."""
        for name in sorted(self._levels):
            level = self._levels[name]
            if level.used or level.pressure:
                yield (self.pool.id, name, level.used, level.pressure)


def _below(path: tuple[Level, ...], other: tuple[Level, ...]) -> Level | None:
    """Return the highest level of a path that is not on the other one."""
    if not path or not other:
        return None
    own = [level for level in path if level not in other]
    return own[-1] if own else None
