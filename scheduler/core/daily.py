"""What leases used on each day (UTC), rolled up the tree, and how budgets burned (R3, R4).

Leases are cut at midnights. Amounts are whole numbers, GPU-microseconds and 10^-9
H100e-seconds, so days add up to any window exactly and leases may come in any order.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from scheduler.core.lenders import Parties
from scheduler.core.model import AccountName, Budget, BudgetId, QuotaClass
from scheduler.core.policy import Policy

_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease, whether over or not (`until` None goes on).

    `is_paid` are those of a reservation, which pays for them (R7); background work is charged
    to nobody (R2). `leased_at` says in which budgets it counts, `since` from when (R4).
    """

    account: AccountName
    gpus: int
    factor: int
    quota_class: QuotaClass
    is_paid: bool
    leased_at: datetime
    since: datetime
    until: datetime | None

    @property
    def is_charged(self) -> bool:
        """Return whether it counts in balances and budgets."""
        return self.quota_class is not QuotaClass.BACKGROUND and not self.is_paid


@dataclass(slots=True)
class Day:
    """GPU-microseconds of a day by class, and what of it was charged, in 10^-9 H100e-seconds."""

    gpus: dict[QuotaClass, int] = field(default_factory=dict)
    charged: int = 0


class Daily:
    """Days of some accounts and budgets between two times, a lease at a time."""

    def __init__(
        self,
        policy: Policy,
        accounts: Collection[AccountName],
        budgets: Collection[Budget],
        window: tuple[datetime, datetime],
    ) -> None:
        self._parties = Parties(policy)
        self._budgets: dict[AccountName, list[Budget]] = {}
        for budget in budgets:
            self._budgets.setdefault(budget.account, []).append(budget)
        self.since, self.until = window
        self.accounts: dict[AccountName, dict[date, Day]] = {name: {} for name in accounts}
        self.burned: dict[BudgetId, dict[date, int]] = {one.id: {} for one in budgets}

    def add(self, lease: Lease) -> None:
        """Count a lease at its account and all above it, and in the budgets that it counts in."""
        chain = self._parties.chain(lease.account)
        counted = [self.accounts[name] for name in chain if name in self.accounts]
        for day, lasted in pieces(lease, self.since, self.until) if counted else ():
            for days in counted:
                self._count(days.setdefault(day, Day()), lease, lasted)
        for budget in self._bound(chain) if lease.is_charged else ():
            if budget.valid_from <= lease.leased_at < budget.valid_to:
                burned = self.burned[budget.id]
                for day, lasted in pieces(lease, lease.since, self.until):
                    amount = lease.gpus * lease.factor * lasted
                    burned[day] = burned.get(day, 0) + amount

    def _bound(self, chain: Sequence[AccountName]) -> Iterator[Budget]:
        return (budget for name in chain for budget in self._budgets.get(name, ()))

    def _count(self, day: Day, lease: Lease, lasted: int) -> None:
        before = day.gpus.get(lease.quota_class, 0)
        day.gpus[lease.quota_class] = before + lease.gpus * lasted
        if lease.is_charged:
            day.charged += lease.gpus * lease.factor * lasted


def pieces(lease: Lease, since: datetime, until: datetime) -> Iterator[tuple[date, int]]:
    """Yield each day of a lease between two times, and how long it was then, in microseconds."""
    at = max(lease.since, since).astimezone(UTC)
    end = min(lease.until or until, until).astimezone(UTC)
    while at < end:
        midnight = datetime.combine(at.date() + _DAY, time(), UTC)
        yield at.date(), (min(midnight, end) - at) // _MICROSECOND
        at = midnight


def days_of(since: datetime, until: datetime) -> Iterator[date]:
    """Yield every day (UTC) that two times touch, in order."""
    day = since.astimezone(UTC).date()
    while day <= until.astimezone(UTC).date():
        yield day
        day += _DAY


def left_after(limit: int, burned: Mapping[date, int], days: Iterator[date]) -> Iterator[int]:
    """Yield what is left of a limit after each of these days; below zero where it was exceeded."""
    spent = 0
    for day in days:
        spent += burned.get(day, 0)
        yield limit - spent
