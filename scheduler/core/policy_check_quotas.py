"""Quotas and agreements that contradict each other: divided twice, or lent by nobody (R1)."""

from collections import Counter
from collections.abc import Iterator, Mapping

from scheduler.core.model import Account, AccountName, Agreement, Pool, PoolId, Quota, Sector
from scheduler.core.policy import Policy
from scheduler.core.policy_found import Found, Path, ancestors, not_backwards, not_too_long

_Rows = Mapping[tuple[AccountName, PoolId], Quota]


def quotas(policy: Policy) -> Iterator[Found]:
    """Rows one by one: what they name, and lend_max <= nominal."""
    accounts = {a.name: a for a in policy.accounts}
    pools = {p.id: p for p in policy.pools}
    rows = Counter((q.account, q.pool) for q in policy.quotas)
    seen: set[tuple[AccountName, PoolId]] = set()
    for index, quota in enumerate(policy.quotas):
        at = ("quotas", index)
        key = (quota.account, quota.pool)
        if rows[key] > 1 and key in seen:
            yield Found(at, f"'{quota.account}' has a quota in '{quota.pool}' already")
        seen.add(key)
        if quota.lend_max > quota.nominal:
            yield Found((*at, "lend_max"), f"{quota.lend_max} is more than nominal {quota.nominal}")
        if quota.account not in accounts:
            yield Found((*at, "account"), f"no account is named '{quota.account}'")
        elif quota.pool not in pools:
            yield Found((*at, "pool"), f"no pool is named '{quota.pool}'")
        else:
            yield from _under_owner(at, quota, pools[quota.pool], accounts)


def _under_owner(
    at: Path, quota: Quota, pool: Pool, accounts: Mapping[AccountName, Account]
) -> Iterator[Found]:
    chain = ancestors(accounts, quota.account)
    if quota.account == pool.owner:
        yield Found(
            (*at, "account"),
            f"'{pool.owner}' owns '{pool.id}' and has its whole capacity; leave the row out",
        )
    elif pool.owner in accounts and pool.owner not in chain:
        yield Found(
            (*at, "account"),
            f"'{quota.account}' is not below '{pool.owner}', who owns '{pool.id}'; "
            "outsiders need an agreement",
        )


def sums(policy: Policy) -> Iterator[Found]:
    """Children's nominals, and what they keep at home, fit into their parent's."""
    by_key = {(q.account, q.pool): q for q in policy.quotas}
    accounts = {a.name: a for a in policy.accounts}
    pools = {p.id: p for p in policy.pools}
    given: Counter[tuple[AccountName, PoolId]] = Counter()
    kept: Counter[tuple[AccountName, PoolId]] = Counter()
    for index, quota in enumerate(policy.quotas):
        account, pool = accounts.get(quota.account), pools.get(quota.pool)
        if account is None or pool is None or account.parent is None:
            continue
        if quota.account == pool.owner or pool.owner not in accounts:
            continue
        parent = (account.parent, quota.pool)
        given[parent] += quota.nominal
        kept[parent] += quota.nominal - quota.lend_max
        nominal, home = _of_parent(account.parent, pool, by_key)
        yield from _within(index, (given[parent], nominal), (kept[parent], home), account.parent)


def _of_parent(parent: AccountName, pool: Pool, by_key: _Rows) -> tuple[int, int]:
    if parent == pool.owner:
        return pool.capacity, pool.capacity
    row = by_key.get((parent, pool.id))
    return (row.nominal, row.nominal - row.lend_max) if row else (0, 0)


def _within(
    index: int, nominal: tuple[int, int], home: tuple[int, int], parent: AccountName
) -> Iterator[Found]:
    if nominal[0] > nominal[1]:
        yield Found(
            ("quotas", index, "nominal"),
            f"with this row the accounts under '{parent}' have {nominal[0]} GPUs of nominal, "
            f"'{parent}' itself has {nominal[1]}: give them less, or it more",
        )
    elif home[0] > home[1]:
        yield Found(
            ("quotas", index, "lend_max"),
            f"with this row the accounts under '{parent}' keep {home[0]} GPUs for themselves "
            f"(nominal - lend_max), '{parent}' itself keeps {home[1]}",
        )


def agreements(policy: Policy) -> Iterator[Found]:
    """Agreements one by one, then those that would lend the same twice."""
    known = _Lending(policy)
    for index, agreement in enumerate(policy.agreements):
        at = ("agreements", index)
        yield from not_too_long((*at, "recall_notice"), agreement.recall_notice)
        yield from not_backwards(
            at, ("valid_from", agreement.valid_from), ("valid_to", agreement.valid_to)
        )
        if agreement.lender not in known.accounts:
            yield Found((*at, "lender"), f"no account is named '{agreement.lender}'")
        if not isinstance(agreement.borrower, Sector) and agreement.borrower not in known.accounts:
            yield Found((*at, "borrower"), f"no account is named '{agreement.borrower}'")
        for pool_id in sorted(agreement.pools - known.pools.keys()):
            yield Found((*at, "pools"), f"no pool is named '{pool_id}'")
        yield from known.problems(at, agreement)
    yield from _lent_twice(policy)


class _Lending:
    """Who may lend how much of which pool."""

    def __init__(self, policy: Policy) -> None:
        self.accounts = {a.name: a for a in policy.accounts}
        self.pools = {p.id: p for p in policy.pools}
        self._quotas = {(q.account, q.pool): q for q in policy.quotas}
        self._kept: Counter[tuple[AccountName, PoolId]] = Counter()
        for quota in policy.quotas:
            account = self.accounts.get(quota.account)
            if account is not None and account.parent is not None:
                self._kept[account.parent, quota.pool] += quota.nominal - quota.lend_max

    def problems(self, at: Path, agreement: Agreement) -> Iterator[Found]:
        pools = [self.pools[name] for name in sorted(agreement.pools & self.pools.keys())]
        faults = [fault for pool in pools for fault in self._of_pool(at, agreement, pool)]
        yield from faults
        lendable = sum(self._lendable(agreement.lender, pool) for pool in pools)
        known = all(pool.owner in self.accounts for pool in pools)
        whole = known and len(pools) == len(agreement.pools) and agreement.lender in self.accounts
        if whole and not faults and agreement.cap > lendable:
            yield Found(
                (*at, "cap"),
                f"{agreement.cap} GPUs, but '{agreement.lender}' may lend {lendable} of its pools "
                "(lend_max, its own and of those above it)",
            )

    def _lendable(self, lender: AccountName, pool: Pool) -> int:
        """Return what may leave the owner's whole tree: each level lends out its lend_max only."""
        if lender == pool.owner:
            return max(0, pool.capacity - self._kept[lender, pool.id])
        chain = ancestors(self.accounts, lender)
        if pool.owner not in chain:
            return 0
        rows = [self._quotas.get((name, pool.id)) for name in chain[: chain.index(pool.owner)]]
        return min(row.lend_max if row else 0 for row in rows)

    def _of_pool(self, at: Path, agreement: Agreement, pool: Pool) -> Iterator[Found]:
        lender, borrower = agreement.lender, agreement.borrower
        if pool.owner not in self.accounts:
            return
        row = self._quotas.get((lender, pool.id))
        if lender in self.accounts and lender != pool.owner and row is None:
            yield Found(
                (*at, "lender"),
                f"'{lender}' neither owns '{pool.id}' nor has a quota in it, "
                "so it has nothing to lend there",
            )
        elif lender in self.accounts and self._lendable(lender, pool) == 0:
            yield Found((*at, "lender"), f"'{lender}' lends nothing of '{pool.id}'")
        if not isinstance(borrower, Sector) and pool.owner in ancestors(self.accounts, borrower):
            yield Found(
                (*at, "borrower"),
                f"'{borrower}' is below '{pool.owner}', who owns '{pool.id}': "
                "give it a quota instead",
            )


def _lent_twice(policy: Policy) -> Iterator[Found]:
    """Two agreements of one lender, borrower and pool at one time: which cap holds is unclear."""
    latest: dict[tuple[AccountName, AccountName | Sector, PoolId], Agreement] = {}
    told: set[int] = set()
    in_time = sorted(enumerate(policy.agreements), key=lambda one: (one[1].valid_from, one[0]))
    for index, agreement in in_time:
        for pool in sorted(agreement.pools):
            key = (agreement.lender, agreement.borrower, pool)
            before = latest.get(key)
            if before is not None and agreement.valid_from < before.valid_to and index not in told:
                told.add(index)
                yield Found(
                    ("agreements", index, "valid_from"),
                    f"'{agreement.id}' overlaps '{before.id}', which lends '{pool}' to the same "
                    f"borrower until {before.valid_to.isoformat()}: make them one",
                )
            if before is None or agreement.valid_to > before.valid_to:
                latest[key] = agreement
