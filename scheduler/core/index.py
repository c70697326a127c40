"""A policy as the planner looks things up in it, made once per revision.

It also answers what does not change while a job waits: which pools its shape may use,
in the order of spill-over, and which rule refuses each of the others (R13).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.core import hardware
from scheduler.core.explain import Reason, Verdict
from scheduler.core.model import (
    Account,
    AccountName,
    Agreement,
    Pool,
    PoolId,
    Quota,
    Sector,
    Shape,
    Tier,
    User,
)
from scheduler.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Fit:
    """A gang on the nodes of one pool."""

    nodes: int
    gpus_per_node: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pools that a kind of job may use, in tier order, and the rule that refuses each other."""

    pools: tuple[Pool, ...]
    refusals: tuple[Verdict, ...]


class PolicyIndex:
    """Look-ups of one policy; nothing here changes after it was made, but for its caches."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.accounts: dict[AccountName, Account] = {a.name: a for a in policy.accounts}
        self.pools: dict[PoolId, Pool] = {p.id: p for p in policy.pools}
        self.users: dict[str, User] = {u.name: u for u in policy.users}
        self.tier_rules = dict(policy.tiers)
        self.quotas: dict[tuple[AccountName, PoolId], Quota] = {
            (q.account, q.pool): q for q in policy.quotas
        }
        self.chains: dict[AccountName, tuple[AccountName, ...]] = {
            name: self._chain(name) for name in self.accounts
        }
        self._agreements: dict[tuple[AccountName, PoolId], tuple[Agreement, ...]] = {}

    def _chain(self, name: AccountName) -> tuple[AccountName, ...]:
        chain, at = [name], self.accounts[name].parent
        while at is not None:
            chain.append(at)
            at = self.accounts[at].parent
        return tuple(chain)

    def chain(self, name: AccountName) -> tuple[AccountName, ...]:
        """Return the account and all above it, upwards; only itself where the policy lost it."""
        return self.chains.get(name, (name,))

    def is_inside(self, account: AccountName, pool: Pool) -> bool:
        """Return whether the account is the pool's owner or below it."""
        return pool.owner in self.chain(account)

    def weight(self, name: AccountName) -> int:
        """Return an account's weight among its siblings; 1 where the policy lost it."""
        account = self.accounts.get(name)
        return account.weight if account else 1

    def factor(self, pool: PoolId, at: datetime) -> int:
        """Return the H100e thousandths of a pool's GPUs, by the row valid at that time (R15)."""
        known = self.pools.get(pool)
        if known is None:
            return 0
        try:
            return hardware.factor(self.policy.hardware, known.gpu_model, at)
        except KeyError:
            return hardware.H100E

    def agreements(
        self, account: AccountName, pool: PoolId, now: datetime
    ) -> tuple[Agreement, ...]:
        """Return the agreements valid now that let an outsider into the pool, by id (R1)."""
        key = (account, pool)
        known = self._agreements.get(key)
        if known is None:
            known = tuple(
                agreement
                for agreement in sorted(self.policy.agreements, key=lambda a: a.id)
                if pool in agreement.pools and self._may_borrow(account, agreement)
            )
            self._agreements[key] = known
        # Most pairs have none: nothing to filter, in a place that every cycle passes often.
        return known and tuple(a for a in known if a.valid_from <= now < a.valid_to)

    def _may_borrow(self, account: AccountName, agreement: Agreement) -> bool:
        if isinstance(agreement.borrower, Sector):
            known = self.accounts.get(account)
            return known is not None and known.sector is agreement.borrower
        return agreement.borrower in self.chain(account)

    def own_tier(self, account: AccountName) -> Tier | None:
        """Return the tier of the pool that the nearest account upwards owns (R13)."""
        for name in self.chain(account):
            owned = [pool.tier for pool in self.policy.pools if pool.owner == name]
            if owned:
                return min(owned, key=lambda tier: tier.rank)
        return None

    def limit_class(self, time_limit: timedelta) -> int:
        """Return which tiers take jobs of this limit, as bits by rank: alike jobs queue alike."""
        return sum(
            1 << tier.rank
            for tier, rules in self.tier_rules.items()
            if time_limit <= rules.max_time_limit
        )

    def fit(self, shape: Shape, pool: Pool) -> Fit | None:
        """Return the gang that the shape is on the pool's nodes."""
        del pool
        return Fit(shape.nodes, shape.gpus_per_node)

    def candidates(self, account: AccountName, shape: Shape, time_limit: timedelta) -> Candidates:
        """Return the pools a job may use and, for the others, the first rule against each."""
        allowed: list[Pool] = []
        refusals: list[Verdict] = []
        for pool in sorted(self.policy.pools, key=lambda p: (p.tier.rank, p.id)):
            refusal = self._refusal(shape, time_limit, pool)
            if refusal is None:
                allowed.append(pool)
            else:
                refusals.append(refusal)
        if not allowed or account not in self.accounts:
            numbers = (("nodes", shape.nodes), ("gpus_per_node", shape.gpus_per_node))
            return Candidates((), (Verdict(Reason.NO_POOL, None, numbers), *refusals))
        allowed.sort(key=lambda p: (p.tier.rank, not self.is_inside(account, p), p.id))
        return Candidates(tuple(allowed), tuple(refusals))

    def _refusal(self, shape: Shape, time_limit: timedelta, pool: Pool) -> Verdict | None:
        """Name the rule that keeps every such job out of the pool for as long as both stay."""
        if not shape.tier_min.rank <= pool.tier.rank <= shape.tier_max.rank:
            numbers: tuple[tuple[str, int | str], ...] = (
                ("tier", pool.tier.value),
                ("lowest", shape.tier_min.value),
                ("highest", shape.tier_max.value),
            )
            return Verdict(Reason.TIER, pool.id, numbers)
        if shape.label not in pool.labels:
            numbers = (("label", shape.label), ("accredited", ", ".join(sorted(pool.labels))))
            return Verdict(Reason.LABEL, pool.id, numbers)
        if not _hardware_fits(shape, pool):
            numbers = (
                ("model", pool.gpu_model),
                ("has", pool.gpus_per_node),
                ("pool_nodes", pool.node_count),
                ("models", " or ".join(sorted(shape.gpu_models)) or "any GPU"),
                ("asked", shape.gpus_per_node),
                ("nodes", shape.nodes),
            )
            return Verdict(Reason.HARDWARE, pool.id, numbers)
        rules = self.tier_rules.get(pool.tier)
        if rules is None or time_limit > rules.max_time_limit:
            longest = rules.max_time_limit if rules else timedelta(0)
            numbers = (
                ("longest", int(longest.total_seconds())),
                ("asked", int(time_limit.total_seconds())),
            )
            return Verdict(Reason.TIME_LIMIT, pool.id, numbers)
        return None


def _hardware_fits(shape: Shape, pool: Pool) -> bool:
    """A gang needs that many different nodes of one pool, each with enough GPUs (R5, R15)."""
    return (
        (not shape.gpu_models or pool.gpu_model in shape.gpu_models)
        and shape.gpus_per_node <= pool.gpus_per_node
        and shape.nodes <= pool.node_count
    )
