"""What makes a policy contradict itself: every problem found, by where it stands.

A problem is a path into the policy file, such as `("quotas", 3, "nominal")`, and a
reason. `scheduler.policy_file` turns the path into a line. Each check names the
sections it reads, so that a mistake in one section hides nothing in another.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import NamedTuple

from scheduler.core.model import Account, AccountName, Agreement, Pool, PoolId, Quota, Sector
from scheduler.core.policy import Policy

LONGEST = timedelta(days=3660)
"""No duration of a policy is longer: ten years, far beyond any campaign."""

Path = tuple[str | int, ...]


class Found(NamedTuple):
    """A problem: where it stands, and what is wrong with it."""

    path: Path
    reason: str


def problems(policy: Policy, broken: frozenset[str] = frozenset()) -> Iterator[Found]:
    """Yield every contradiction, except where a section it depends on is already `broken`."""
    for sections, check in _CHECKS:
        if not broken.intersection(sections):
            yield from check(policy)


def ancestors(accounts: dict[AccountName, Account], name: AccountName) -> list[AccountName]:
    """Return the account and all above it, upwards; stops where the tree is broken."""
    chain: list[AccountName] = []
    at: AccountName | None = name
    while at is not None and at in accounts and at not in chain:
        chain.append(at)
        at = accounts[at].parent
    return chain


def _names(policy: Policy) -> Iterator[Found]:
    listed: tuple[tuple[str, str, Iterable[str]], ...] = (
        ("users", "name", (u.name for u in policy.users)),
        ("accounts", "name", (a.name for a in policy.accounts)),
        ("sites", "id", (s.id for s in policy.sites)),
        ("pools", "id", (p.id for p in policy.pools)),
        ("agreements", "id", (a.id for a in policy.agreements)),
    )
    for section, field, names in listed:
        seen: set[str] = set()
        for index, name in enumerate(names):
            if name in seen:
                yield Found((section, index, field), f"'{name}' is there already; names are unique")
            seen.add(name)


def _tree(policy: Policy) -> Iterator[Found]:
    accounts = {a.name: a for a in policy.accounts}
    roots = [a.name for a in policy.accounts if a.parent is None]
    for index, account in enumerate(policy.accounts):
        where = ("accounts", index, "parent")
        if account.parent is None:
            if account.name != roots[0]:
                yield Found(
                    ("accounts", index),
                    f"'{account.name}' has no parent, but '{roots[0]}' is the root already; "
                    "accounts form one tree",
                )
        elif account.parent not in accounts:
            yield Found(where, f"no account is named '{account.parent}'")
        elif accounts[ancestors(accounts, account.name)[-1]].parent in ancestors(
            accounts, account.name
        ):
            yield Found(where, f"'{account.name}' is its own ancestor; accounts form one tree")


def _members(policy: Policy) -> Iterator[Found]:
    users = {u.name for u in policy.users}
    parents = {a.parent for a in policy.accounts}
    for index, account in enumerate(policy.accounts):
        for member in sorted(account.members):
            if member not in users:
                yield Found(("accounts", index, "members"), f"no user is named '{member}'")
        if account.members and account.name in parents:
            yield Found(
                ("accounts", index, "members"),
                f"'{account.name}' has accounts below it; only accounts without any hold queues",
            )


def _durations(policy: Policy) -> Iterator[Found]:
    rules = policy.rules
    listed: list[tuple[Path, timedelta]] = [
        (("rules", "half_life"), rules.half_life),
        (("rules", "bind_within"), rules.bind_within),
        (("rules", "spill_after"), rules.spill_after),
    ]
    for path, value in listed:
        yield from _not_too_long(path, value)


def _tiers(policy: Policy) -> Iterator[Found]:
    for tier, rules in policy.tiers:
        at: Path = ("tiers", tier.value)
        yield from _not_too_long((*at, "max_time_limit"), rules.max_time_limit)
        yield from _not_too_long((*at, "notice"), rules.notice)
        if rules.default_time_limit > rules.max_time_limit:
            yield Found(
                (*at, "default_time_limit"),
                f"{rules.default_time_limit} is more than max_time_limit {rules.max_time_limit}",
            )


def _not_too_long(path: Path, value: timedelta) -> Iterator[Found]:
    if value > LONGEST:
        yield Found(path, f"longer than {LONGEST.days} days")


def _pools(policy: Policy) -> Iterator[Found]:
    sites = {s.id for s in policy.sites}
    accounts = {a.name for a in policy.accounts}
    models = {row.model for row in policy.hardware}
    tiers = {tier for tier, _ in policy.tiers}
    for index, pool in enumerate(policy.pools):
        if pool.site not in sites:
            yield Found(("pools", index, "site"), f"no site is named '{pool.site}'")
        if pool.owner not in accounts:
            yield Found(("pools", index, "owner"), f"no account is named '{pool.owner}'")
        if pool.gpu_model not in models:
            known = ", ".join(sorted(models))
            yield Found(
                ("pools", index, "gpu_model"),
                f"no hardware row for '{pool.gpu_model}'; known are {known}",
            )
        if pool.tier not in tiers:
            yield Found(
                ("pools", index, "tier"), f"the policy's tiers say nothing about '{pool.tier}'"
            )


def _quotas(policy: Policy) -> Iterator[Found]:
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
    at: Path, quota: Quota, pool: Pool, accounts: dict[AccountName, Account]
) -> Iterator[Found]:
    chain = ancestors(accounts, quota.account)
    if quota.account == pool.owner:
        yield Found(
            (*at, "account"),
            f"'{pool.owner}' owns '{pool.id}' and has its whole capacity; leave the row out",
        )
    elif pool.owner not in chain:
        yield Found(
            (*at, "account"),
            f"'{quota.account}' is not below '{pool.owner}', who owns '{pool.id}'; "
            "outsiders need an agreement",
        )


def _sums(policy: Policy) -> Iterator[Found]:
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
        if quota.account == pool.owner:
            continue
        parent = (account.parent, quota.pool)
        given[parent] += quota.nominal
        kept[parent] += quota.nominal - quota.lend_max
        nominal, home = _of_parent(account.parent, pool, by_key)
        yield from _within(index, (given[parent], nominal), (kept[parent], home), account.parent)


def _of_parent(
    parent: AccountName, pool: Pool, by_key: dict[tuple[AccountName, PoolId], Quota]
) -> tuple[int, int]:
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
            f"'{parent}' itself has {nominal[1]}",
        )
    elif home[0] > home[1]:
        yield Found(
            ("quotas", index, "lend_max"),
            f"with this row the accounts under '{parent}' keep {home[0]} GPUs for themselves "
            f"(nominal - lend_max), '{parent}' itself keeps {home[1]}",
        )


def _agreements(policy: Policy) -> Iterator[Found]:
    accounts = {a.name: a for a in policy.accounts}
    pools = {p.id: p for p in policy.pools}
    quotas = {(q.account, q.pool): q for q in policy.quotas}
    for index, agreement in enumerate(policy.agreements):
        at = ("agreements", index)
        yield from _not_too_long((*at, "recall_notice"), agreement.recall_notice)
        if agreement.valid_from >= agreement.valid_to:
            yield Found((*at, "valid_to"), "valid_to is not after valid_from")
        if agreement.lender not in accounts:
            yield Found((*at, "lender"), f"no account is named '{agreement.lender}'")
        if not isinstance(agreement.borrower, Sector) and agreement.borrower not in accounts:
            yield Found((*at, "borrower"), f"no account is named '{agreement.borrower}'")
        for pool_id in sorted(agreement.pools):
            pool = pools.get(pool_id)
            if pool is None:
                yield Found((*at, "pools"), f"no pool is named '{pool_id}'")
            else:
                yield from _lends(at, agreement, pool, (accounts, quotas))


def _lends(
    at: Path,
    agreement: Agreement,
    pool: Pool,
    known: tuple[dict[AccountName, Account], dict[tuple[AccountName, PoolId], Quota]],
) -> Iterator[Found]:
    accounts, quotas = known
    row = quotas.get((agreement.lender, pool.id))
    if agreement.lender in accounts and agreement.lender != pool.owner and row is None:
        yield Found(
            (*at, "lender"),
            f"'{agreement.lender}' neither owns '{pool.id}' nor has a quota in it, "
            "so it has nothing to lend there",
        )
    if row is not None and row.lend_max == 0:
        yield Found((*at, "lender"), f"'{agreement.lender}' lends nothing of '{pool.id}'")
    borrower = agreement.borrower
    if not isinstance(borrower, Sector) and pool.owner in ancestors(accounts, borrower):
        yield Found(
            (*at, "borrower"),
            f"'{borrower}' is below '{pool.owner}', who owns '{pool.id}': give it a quota instead",
        )


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Policy], Iterator[Found]]], ...] = (
    ((), _names),
    (("accounts",), _tree),
    (("accounts", "users"), _members),
    (("rules",), _durations),
    (("tiers",), _tiers),
    (("pools", "sites", "accounts", "tiers", "hardware"), _pools),
    (("quotas", "pools", "accounts"), _quotas),
    (("quotas", "pools", "accounts"), _sums),
    (("agreements", "quotas", "pools", "accounts"), _agreements),
)
