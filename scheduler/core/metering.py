"""Run intervals x factors -> H100e: what is written down when a lease ends (R3, R15).

Time counts from the lease, used or not. A lease is settled exactly once; the caller
sees to that, and a negative interval (clocks that disagree) counts as nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.core import fairshare, hardware
from scheduler.core.budgets import cost
from scheduler.core.model import AccountName, BudgetId
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Spent, Usage

_MILLI = 1000


@dataclass(frozen=True, slots=True)
class EndedLease:
    """A lease that is over and charged: what it held, since it could be used, until it ended.

    `factor` is in thousandths of an H100. Background work and runs of a reservation, which
    pays for them, are not charged (R2, R7).
    """

    account: AccountName
    gpus: int
    factor: int
    leased_at: datetime
    since: datetime
    until: datetime


def h100e_seconds(gpus: int, factor: int, since: datetime, until: datetime) -> float:
    """Return undecayed H100e-seconds, as a bill states them; `factor` is in thousandths."""
    seconds = max(0.0, (until - since).total_seconds())
    return gpus * factor * seconds / hardware.H100E


def settle(
    before: Usage | None,
    account: AccountName,
    lease: tuple[int, int, datetime, datetime],
    half_life: timedelta,
) -> Usage:
    """Return the account's balance with one ended lease added.

    Args:
        before: the balance so far, None where there is none yet.
        account: the leaf that pays.
        lease: GPUs, factor in thousandths, since when, until when.
        half_life: of recorded use.
    """
    gpus, factor, since, until = lease
    used = fairshare.accrued(gpus * factor / hardware.H100E, since, until, half_life)
    own = Usage(account, used, until)
    if before is None:
        return own
    as_of = max(before.as_of, until)
    total = fairshare.settled(before, as_of, half_life) + fairshare.settled(own, as_of, half_life)
    return Usage(account, total, as_of)


def budget_use(policy: Policy, leases: Iterable[EndedLease]) -> dict[BudgetId, int]:
    """Return what leases used of the policy's budgets, in thousandths of an H100e-second (R4).

    A lease counts in the budgets of its account and of all above it whose dates it began in,
    wholly, however long it lasted. The sums are exact, so leases may be added in any order
    and one at a time. Budgets that none of them counts in are left out.
    """
    parents = {account.name: account.parent for account in policy.accounts}
    used: dict[BudgetId, int] = {}
    for lease in leases:
        chain = frozenset(_chain(parents, lease.account))
        amount = cost(lease.gpus, lease.factor, lease.until - lease.since)
        for budget in policy.budgets:
            covers = budget.valid_from <= lease.leased_at < budget.valid_to
            if covers and budget.account in chain:
                used[budget.id] = used.get(budget.id, 0) + amount
    return used


def spent(budget: BudgetId, milli_h100e_seconds: int) -> Spent:
    """Return what was used of a budget as planning looks at it: whole seconds, rounded up."""
    return Spent(budget, -(-milli_h100e_seconds // _MILLI))


def _chain(
    parents: Mapping[AccountName, AccountName | None], account: AccountName
) -> Iterator[AccountName]:
    """Yield an account and all above it; one that the policy no longer names stands alone."""
    above: AccountName | None = account
    while above is not None:
        yield above
        above = parents.get(above)
