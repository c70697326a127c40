"""A policy as the planner looks things up in it, made once per revision.

It also answers what does not change while a job waits: which pools its shape may use,
in the order of spill-over, and which rule refuses each of the others (R13, by
`eligibility.py`). Each answer is a look-up after it was asked for once.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from scheduler.core import hardware
from scheduler.core.eligibility import Asked, Candidates, Eligibility, Fit
from scheduler.core.explain import Reason, Verdict, no_such_reservation
from scheduler.core.model import (
    Account,
    AccountName,
    Agreement,
    Pool,
    PoolId,
    Quota,
    ReservationId,
    Sector,
    Shape,
    Tier,
    User,
)
from scheduler.core.policy import Policy

__all__ = ["Candidates", "Fit", "PolicyIndex"]


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
        self._children: dict[AccountName | None, list[AccountName]] = {}
        for account in policy.accounts:
            self._children.setdefault(account.parent, []).append(account.name)
        self.eligibility = Eligibility(policy)
        self._places = {pool.id: place for place, pool in enumerate(self.eligibility.pools)}
        self._lent = self._agreements_by_pool()
        self._agreements: dict[tuple[AccountName, PoolId], tuple[Agreement, ...]] = {}
        self._refused: dict[tuple[AccountName, PoolId], Verdict] = {}
        self._strangers: dict[tuple[AccountName, int], tuple[Verdict, ...]] = {}
        self._factors = self._factors_by_pool()
        self._limit_classes: dict[timedelta, int] = {}
        self._owned, self._owned_tier = self._owners()
        self._inside: dict[AccountName, int] = {}
        self._own_tiers: dict[AccountName, Tier | None] = {}

    def _chain(self, name: AccountName) -> tuple[AccountName, ...]:
        chain, at = [name], self.accounts[name].parent
        while at is not None:
            chain.append(at)
            at = self.accounts[at].parent
        return tuple(chain)

    def _agreements_by_pool(self) -> dict[PoolId, list[Agreement]]:
        lent: dict[PoolId, list[Agreement]] = {}
        for agreement in sorted(self.policy.agreements, key=lambda a: a.id):
            for pool in agreement.pools:
                lent.setdefault(pool, []).append(agreement)
        return lent

    def _factors_by_pool(self) -> dict[PoolId, hardware.Factors]:
        models = {pool.gpu_model for pool in self.policy.pools}
        known = {model: hardware.Factors(self.policy.hardware, model) for model in models}
        return {pool.id: known[pool.gpu_model] for pool in self.policy.pools}

    def _owners(self) -> tuple[dict[AccountName, int], dict[AccountName, Tier]]:
        """Return the pools that each account owns, as a mask, and the lowest tier of them."""
        owned: dict[AccountName, int] = {}
        tiers: dict[AccountName, Tier] = {}
        for number, pool in enumerate(self.eligibility.pools):
            owned[pool.owner] = owned.get(pool.owner, 0) | 1 << number
            tiers.setdefault(pool.owner, pool.tier)  # the pools come lowest tier first
        return owned, tiers

    def children(self, name: AccountName) -> Sequence[AccountName]:
        """Return the accounts right below one."""
        return self._children.get(name, ())

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
        known = self._factors.get(pool)
        return known.at(at) if known else 0

    def agreements(
        self, account: AccountName, pool: PoolId, now: datetime
    ) -> tuple[Agreement, ...]:
        """Return the agreements valid now that let an outsider into the pool, by id (R1)."""
        known = self.signed(account, pool)
        # Most pairs have none: nothing to filter, in a place that every cycle passes often.
        return known and tuple(a for a in known if a.valid_from <= now < a.valid_to)

    def signed(self, account: AccountName, pool: PoolId) -> tuple[Agreement, ...]:
        """Return the agreements that let an outsider into the pool at some time, by id (R1)."""
        key = (account, pool)
        known = self._agreements.get(key)
        if known is None:
            lent = self._lent.get(pool, ())
            known = tuple(a for a in lent if self._may_borrow(account, a))
            self._agreements[key] = known
        return known

    def no_agreement(self, account: AccountName, pool: Pool) -> Verdict:
        """Return the verdict of an outsider without a valid agreement, one for all its jobs."""
        key = (account, pool.id)
        known = self._refused.get(key)
        if known is None:
            numbers = (("owner", pool.owner), ("account", account))
            known = Verdict(Reason.SECTOR_AGREEMENT, pool.id, numbers)
            self._refused[key] = known
        return known

    def strangers(
        self, account: AccountName, strange: int, pools: Iterable[Pool]
    ) -> tuple[Verdict, ...]:
        """Return the verdicts of those of some pools, a bit each, that have no agreement with it.

        Most pools have none where there are many. They come in the order of `pools`, which is one
        for all jobs of the account.
        """
        if not strange:
            return ()
        known = self._strangers.get((account, strange))
        if known is None:
            refused = (pool for pool in pools if strange >> self._places[pool.id] & 1)
            known = tuple(self.no_agreement(account, pool) for pool in refused)
            self._strangers[account, strange] = known
        return known

    def _may_borrow(self, account: AccountName, agreement: Agreement) -> bool:
        if isinstance(agreement.borrower, Sector):
            known = self.accounts.get(account)
            return known is not None and known.sector is agreement.borrower
        return agreement.borrower in self.chain(account)

    def own_tier(self, account: AccountName) -> Tier | None:
        """Return the tier of the pool that the nearest account upwards owns (R13)."""
        if account not in self._own_tiers:
            owners = (self._owned_tier.get(name) for name in self.chain(account))
            self._own_tiers[account] = next((tier for tier in owners if tier), None)
        return self._own_tiers[account]

    def limit_class(self, time_limit: timedelta) -> int:
        """Return which tiers take jobs of this limit, as bits by rank: alike jobs queue alike."""
        known = self._limit_classes.get(time_limit)
        if known is None:
            known = sum(
                1 << tier.rank
                for tier, rules in self.tier_rules.items()
                if time_limit <= rules.max_time_limit
            )
            self._limit_classes[time_limit] = known
        return known

    def fit(self, shape: Shape, pool: Pool) -> Fit | None:
        """Return the gang's size on the pool, or None where its hardware cannot hold it (R15)."""
        return self.eligibility.fit(shape, pool)

    def candidates(self, account: AccountName, shape: Shape, time_limit: timedelta) -> Candidates:
        """Return the pools a job may use and, for the others, the first rule against each."""
        known = self.accounts.get(account)
        sector = known.sector if known else None
        screen = self.eligibility.screen(Asked(shape, self.limit_class(time_limit), sector))
        if known is None:
            return screen.nothing()
        if shape.reservation is not None:
            refusal = self._not_of_account(account, shape.reservation)
            if refusal is not None:
                return screen.nothing(Verdict(Reason.NO_POOL, None, _whole(shape)), refusal)
        return screen.candidates(self._inside_mask(account))

    def _inside_mask(self, account: AccountName) -> int:
        known = self._inside.get(account)
        if known is None:
            known = 0
            for name in self.chain(account):
                known |= self._owned.get(name, 0)
            self._inside[account] = known
        return known

    def _not_of_account(self, account: AccountName, name: ReservationId) -> Verdict | None:
        """A reservation is for the jobs of its account and of all below it (R7)."""
        kept = self.eligibility.reservations.get(name)
        if kept is None or kept.account is None or kept.account in self.chain(account):
            return None
        return no_such_reservation(name, f"is for the jobs of {kept.account}", kept.pool)


def _whole(shape: Shape) -> tuple[tuple[str, int | str], ...]:
    return (("nodes", shape.nodes), ("gpus_per_node", shape.gpus_per_node))
