"""What a policy may say, but its writer probably did not mean: told, and never refused."""

from collections.abc import Iterator
from datetime import datetime

from scheduler.core.model import AccountName, Reservation
from scheduler.core.policy import Backfill, Policy
from scheduler.core.policy_check_windows import placed
from scheduler.core.policy_found import Found, ancestors


def warnings(policy: Policy, now: datetime) -> Iterator[Found]:
    """Yield what is odd about a policy that has no problems."""
    yield from _ended(policy, now)
    yield from _sectors(policy)
    yield from _outsiders(policy)
    rules = policy.rules
    if rules.backfill is Backfill.HOLDS and not (rules.reserve_depth or rules.hold_depth):
        yield Found(
            ("rules", "hold_depth"),
            "with reserve_depth 0 and hold_depth 0 no job ever gets a planned start, so a large "
            "one may wait for ever behind small ones (R12)",
        )


def _ended(policy: Policy, now: datetime) -> Iterator[Found]:
    for index, budget in enumerate(policy.budgets):
        if budget.valid_to <= now and not any(
            b.account == budget.account and b.valid_to > now for b in policy.budgets
        ):
            yield Found(
                ("budgets", index, "valid_to"),
                f"'{budget.id}' has ended, and '{budget.account}' has no later budget",
            )
    for index, agreement in enumerate(policy.agreements):
        if agreement.valid_to <= now:
            yield Found(("agreements", index, "valid_to"), f"'{agreement.id}' has ended")
    for at, kept in placed(policy):
        if kept.ends_at <= now:
            yield Found((*at, "ends_at"), f"'{kept.id}' has ended")


def _sectors(policy: Policy) -> Iterator[Found]:
    """A quota in a pool that does not take the account's sector is of use to nobody."""
    accounts = {a.name: a for a in policy.accounts}
    parents = {a.parent for a in policy.accounts}
    pools = {p.id: p for p in policy.pools}
    for index, quota in enumerate(policy.quotas):
        account, taken = accounts[quota.account], pools[quota.pool].sectors
        if account.name not in parents and taken and account.sector not in taken:
            yield Found(
                ("quotas", index, "account"),
                f"'{account.name}' is of the sector {account.sector}, which '{quota.pool}' "
                "does not take: its jobs never run there",
            )


def _outsiders(policy: Policy) -> Iterator[Found]:
    """A reservation gives nodes, not the right to borrow them."""
    accounts = {a.name: a for a in policy.accounts}
    owners = {p.id: p.owner for p in policy.pools}
    for at, kept in placed(policy):
        if kept.account is None or owners[kept.pool] in ancestors(accounts, kept.account):
            continue
        if not _may_borrow(policy, kept):
            yield Found(
                (*at, "account"),
                f"'{kept.account}' is not below '{owners[kept.pool]}', who owns '{kept.pool}', "
                "and no agreement lets it in from the reservation's start to its end",
            )


def _may_borrow(policy: Policy, kept: Reservation) -> bool:
    accounts = {a.name: a for a in policy.accounts}
    chain = [accounts[name] for name in ancestors(accounts, kept.account or AccountName(""))]
    # A sector lets in an account of its own; a name, all below it too.
    let_in = {account.name for account in chain} | {chain[0].sector if chain else None}
    return any(
        kept.pool in signed.pools
        and signed.borrower in let_in
        and signed.valid_from <= kept.starts_at
        and kept.ends_at <= signed.valid_to
        for signed in policy.agreements
    )
