"""The rules once more, plain and slow, to hold the planner against: nothing here is shared
with it but the nouns.
"""

from collections import Counter
from itertools import chain, combinations

from scheduler.core.model import AccountName, Job, Pool, QuotaClass, Run, RunState
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Snapshot


class Sums:
    """What one pool's quota tree says about a set of runs (R1), worked out from scratch."""

    def __init__(self, policy: Policy, pool: Pool, runs: list[Run]) -> None:
        self.pool = pool
        self._parents = {a.name: a.parent for a in policy.accounts}
        self._rows = {q.account: q for q in policy.quotas if q.pool == pool.id}
        # Who sits on another's lease is in that one's sums (R18).
        self._runs = [r for r in runs if r.pool == pool.id and not r.draining and r.over is None]

    def path(self, account: AccountName) -> list[AccountName]:
        """From the account up to the owner; empty for an outsider."""
        names, at = [], account
        while at is not None:
            names.append(at)
            if at == self.pool.owner:
                return names
            at = self._parents[at]
        return []

    def nominal(self, account: AccountName) -> int:
        if account == self.pool.owner:
            return self.pool.capacity
        return self._rows[account].nominal if account in self._rows else 0

    def used(self, account: AccountName) -> int:
        return sum(r.gpus for r in self._charged() if account in self.path(r.account))

    def over(self, account: AccountName, gpus: int) -> bool:
        return any(self.used(a) + gpus > self.nominal(a) for a in self.path(account))

    def available(self, account: AccountName) -> int:
        return max(0, self._available(account))

    def _available(self, account: AccountName) -> int:
        if account == self.pool.owner or not self.path(account):
            return (
                self.pool.capacity - self._kept(self.pool.owner) - self._pressure(self.pool.owner)
            )
        row = self._rows.get(account)
        lend, borrow = (row.lend_max, row.borrow_max) if row else (0, 0)
        home = self._homepot(account)
        pressure = self._pressure(account)
        room = lend + borrow - max(0, pressure - home)
        above = self._available(self._parents[account])
        return max(0, home - pressure) + max(0, min(room, above))

    def problems(self) -> list[str]:
        """What no sequence of legal starts can bring about."""
        found = []
        if self._available(self.pool.owner) < 0:
            found.append(f"{self.pool.id} is oversubscribed")
        for name, row in self._rows.items():
            bubble = max(0, self._pressure(name) - self._homepot(name))
            if bubble > row.lend_max + row.borrow_max:
                found.append(f"{name} borrows {bubble} in {self.pool.id}")
        return found

    def _charged(self) -> list[Run]:
        return [
            r
            for r in self._runs
            if r.quota_class is not QuotaClass.BACKGROUND and self.path(r.account)
        ]

    def is_leaf(self, account: AccountName) -> bool:
        """Whether no account below it has a row of its own."""
        return not any(child in self._rows for child in self._children(account))

    def _children(self, account: AccountName) -> list[AccountName]:
        return [a for a, parent in self._parents.items() if parent == account]

    def _home(self, account: AccountName) -> int:
        row = self._rows.get(account)
        return row.nominal - row.lend_max if row else 0

    def _kept(self, account: AccountName) -> int:
        return sum(self._home(child) for child in self._children(account))

    def _homepot(self, account: AccountName) -> int:
        return self._home(account) - self._kept(account)

    def _pressure(self, account: AccountName) -> int:
        direct = sum(r.gpus for r in self._charged() if r.account == account)
        if account == self.pool.owner:
            direct += sum(r.gpus for r in self._runs if r not in self._charged())
        below = self._children(account)
        return direct + sum(
            max(0, self._pressure(c) - self._homepot(c)) for c in below if self.path(c)
        )


def problems(policy: Policy, snapshot: Snapshot) -> list[str]:
    """Everything that is held twice, or beyond a limit: GPUs, quotas, agreements, people."""
    runs = list(snapshot.runs.values())
    found = leased_twice(runs)
    for pool in policy.pools:
        found += Sums(policy, pool, runs).problems()
    for agreement in policy.agreements:
        lent = sum(r.gpus for r in runs if r.agreement == agreement.id and not r.draining)
        if lent > agreement.cap:
            found.append(f"{agreement.id} lends {lent}, its cap is {agreement.cap}")
    found += beyond_budget(policy, snapshot)
    for user in policy.users:
        held = sum(r.gpus for r in runs if r.user == user.name and not r.draining)
        if user.max_gpus is not None and held > user.max_gpus:
            found.append(f"{user.name} holds {held} GPUs, the limit is {user.max_gpus}")
    return found


def beyond_budget(policy: Policy, snapshot: Snapshot, asks: Job | None = None) -> list[str]:
    """What runs below an account, and a job, may use up to their limits (R4); all on H100s.

    A run that was told to end has until then. Found by `make fuzz` when the oracle knew no better.
    """
    parents = {a.name: a.parent for a in policy.accounts}
    uses = [
        (r.account, r.gpus * (min(r.ends_by, r.stop_at or r.ends_by) - r.leased_at))
        for r in snapshot.runs.values()
        if r.quota_class is not QuotaClass.BACKGROUND
    ]
    if asks is not None:
        uses.append((asks.account, asks.shape.gpus * asks.time_limit))
    found = []
    for budget in policy.budgets:
        settled = snapshot.spent.get(budget.id)
        seconds = float(settled.h100e_seconds) if settled else 0.0
        for who, use in uses:
            at: AccountName | None = who
            while at is not None and at != budget.account:
                at = parents[at]
            seconds += use.total_seconds() if at is not None else 0
        if seconds > budget.h100e_hours * 3600:
            found.append(f"{budget.id} is committed to {seconds / 3600} hours")
    return found


def free_by_node(pool: Pool, snapshot: Snapshot, gone: frozenset[str] = frozenset()) -> list[int]:
    """How many GPUs are free on each usable node of the pool, with the runs in `gone` gone."""
    held = {
        (slot.node, gpu)
        for r in snapshot.runs.values()
        if r.id not in gone and r.over is None  # guests go with their hosts (R18)
        for slot in r.slots
        for gpu in slot.gpus
    }
    return [
        sum(1 for g in n.gpus if g.healthy and (n.id, g.index) not in held)
        for n in snapshot.nodes.values()
        if n.pool == pool.id and n.usable
    ]


def fits(job: Job, pool: Pool, snapshot: Snapshot, gone: frozenset[str] = frozenset()) -> bool:
    """Whether the whole gang finds its nodes."""
    enough = [n for n in free_by_node(pool, snapshot, gone) if n >= job.shape.gpus_per_node]
    return len(enough) >= job.shape.nodes


def is_wide(policy: Policy, pool: Pool, job: AccountName, nodes: int) -> bool:
    """Whether a gang spreads over more nodes than its account is guaranteed whole (R11)."""
    own = Sums(policy, pool, []).nominal(job)
    return nodes > max(1, own // pool.gpus_per_node)


def is_legal_victim(policy: Policy, pool: Pool, runs: list[Run], victim: Run, by: Job) -> bool:
    """R8.2 for an owner's recall, given the runs that are still there."""
    if victim.quota_class is QuotaClass.IN_QUOTA or victim.pool != pool.id or victim.draining:
        return False
    sums = Sums(policy, pool, runs)
    path = sums.path(victim.account)
    if victim.quota_class is QuotaClass.BACKGROUND or not path:
        return True
    if is_wide(policy, pool, victim.account, len(victim.slots)):
        return True  # it borrows cells that its account is not guaranteed
    shared = sums.path(by.account)
    return any(sums.used(a) > sums.nominal(a) for a in path if a not in shared)


def legal_recall(policy: Policy, pool: Pool, snapshot: Snapshot, job: Job) -> frozenset[str] | None:
    """Any legal set of victims (also none) with which the job starts in quota here, or None."""
    sums = Sums(policy, pool, [])
    if not sums.path(job.account) or job.shape.background:
        return None
    if beyond_budget(policy, snapshot, job):
        return None
    runs = list(snapshot.runs.values())
    now = Sums(policy, pool, runs)
    # Whoever borrows beyond its nominal itself has lent nothing that it could take back.
    beyond = now.used(job.account) + job.shape.gpus > now.nominal(job.account)
    mine = [
        r
        for r in runs
        if r.pool == pool.id
        and r.quota_class is not QuotaClass.IN_QUOTA
        and not r.draining
        and r.over is None
        and r.state is not RunState.STOPPING
        and not (beyond and r.account == job.account and r.quota_class is QuotaClass.BORROWED)
    ]
    subsets = chain.from_iterable(combinations(mine, n) for n in range(len(mine) + 1))
    for victims in subsets:
        gone = frozenset(v.id for v in victims)
        left = [r for r in runs if r.id not in gone]
        after = Sums(policy, pool, left)
        if (
            fits(job, pool, snapshot, gone)
            and not after.over(job.account, job.shape.gpus)
            and after.available(job.account) >= job.shape.gpus
            and all(is_legal_victim(policy, pool, [*left, v], v, job) for v in victims)
        ):
            return gone
    return None


class Cells:
    """What an account is guaranteed in a pool, in groups of GPUs of one node (R11), from scratch.

    A guarantee of n GPUs is one of so many whole nodes, else half nodes, else single GPUs. Its own
    work that nobody may take back is in some of them already.
    """

    def __init__(self, policy: Policy, pool: Pool, snapshot: Snapshot) -> None:
        self.pool = pool
        self._sums = Sums(policy, pool, list(snapshot.runs.values()))
        self._policy = policy
        self._snapshot = snapshot

    def fits(self, job: Job) -> bool:
        """Whether the job is in quota, and its account has cells left that hold its gang."""
        who, gpus = job.account, job.shape.gpus
        if job.shape.background or not self._sums.path(who):
            return False
        # Levels above hold what their branches are owed; who takes more of it is recalled.
        if self._sums.used(who) + gpus > self._sums.nominal(who):
            return False
        # The parts of a gang are on different nodes, which only whole ones are sure to be.
        alone = job.shape.nodes == 1
        size = self._smallest(job.shape.gpus_per_node if alone else self.pool.gpus_per_node)
        return size is not None and self._left(who, size) >= job.shape.nodes

    def _smallest(self, gpus: int) -> int | None:
        whole = self.pool.gpus_per_node
        return min((size for size in {1, whole // 2, whole} if size >= gpus), default=None)

    def _left(self, who: AccountName, size: int) -> int:
        touched = sum(-(-owners[who] // size) for owners in self._pinned())
        return self._sums.nominal(who) // size - touched

    def _pinned(self) -> list[Counter[AccountName]]:
        """What accounts hold that nobody may take back, by node."""
        found: dict[str, Counter[AccountName]] = {}
        for run in self._snapshot.runs.values():
            pins = run.quota_class is QuotaClass.IN_QUOTA and not run.draining
            if run.pool == self.pool.id and pins:
                for slot in run.slots:
                    found.setdefault(slot.node, Counter())[run.account] += len(slot.gpus)
        return list(found.values())

    def overlap(self) -> bool:
        """Whether not everybody can have all that they are guaranteed, whoever ends for them.

        Who holds most of its guarantee beside others may still claim a whole node, and it is the
        one in which others are guaranteed single GPUs.
        """
        pinned, needed = self._pinned(), 0
        for quota in self._policy.quotas:
            if quota.pool != self.pool.id or not self._sums.is_leaf(quota.account):
                continue
            who, whole = quota.account, self.pool.gpus_per_node
            held = sum(owners[who] for owners in pinned)
            alone = sum(owners[who] for owners in pinned if len(owners) == 1)
            cells = quota.nominal // whole * whole
            needed += max(0, quota.nominal - held, cells - alone)
        taken = sum(owners.total() for owners in pinned)
        return needed > self.pool.capacity - taken


def broken_nodes(pool: Pool, snapshot: Snapshot) -> set[str]:
    """The nodes that take no work: what was placed before they broke may be in anybody's cells."""
    return {n.id for n in snapshot.nodes.values() if n.pool == pool.id and not n.usable}


def leased_twice(runs: list[Run]) -> list[str]:
    """What holds a GPU that another holds: in the first layer, and on lent leases (R18)."""
    layers = Counter(
        (slot.node, gpu, run.over is not None)
        for run in runs
        if not run.draining
        for slot in run.slots
        for gpu in slot.gpus
    )
    found = [f"{where} is leased {n} times" for where, n in layers.items() if n > 1]
    hosts = {run.id: run for run in runs}
    for guest in runs:
        host = hosts.get(guest.over) if guest.over else None
        if guest.over is None:
            continue
        if guest.quota_class is not QuotaClass.BACKGROUND:
            found.append(f"{guest.id} sits on a lent lease and is {guest.quota_class.name}")
        if host is None or host.over is not None or not gpus_of(guest) <= gpus_of(host):
            found.append(f"{guest.id} sits on GPUs that are not of {guest.over}")
        elif host.draining and not guest.draining and guest.state is not RunState.STOPPING:
            found.append(f"{guest.id} stays where {host.id} makes way for others")
    return found


def gpus_of(run: Run) -> set[tuple[str, int]]:
    return {(slot.node, gpu) for slot in run.slots for gpu in slot.gpus}
