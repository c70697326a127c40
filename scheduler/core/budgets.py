"""What budgets still allow: spent, plus what running jobs may use up to their limits (R4).

Amounts are integers in thousandths of an H100e-second. A job that would bring an account, or
one above it, over a budget waits; only background work, which is not charged, starts then.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from scheduler.core.index import PolicyIndex
from scheduler.core.model import (
    AccountName,
    Budget,
    BudgetId,
    QuotaClass,
    Reservation,
    ReservationId,
    Run,
)
from scheduler.core.snapshot import Claim, Spent

_SECOND = timedelta(seconds=1)
_MILLI = 1000


class Budgets:
    """The budgets of a policy, and what runs that hold GPUs are committed to use of each."""

    def __init__(self, index: PolicyIndex) -> None:
        self._index = index
        self._of_account: dict[AccountName, list[Budget]] = {}
        for budget in sorted(index.policy.budgets, key=lambda b: b.id):
            self._of_account.setdefault(budget.account, []).append(budget)
        self._over: dict[AccountName, tuple[Budget, ...]] = {}
        self.committed: dict[BudgetId, int] = {}

    def over(self, account: AccountName, at: datetime) -> tuple[Budget, ...]:
        """Return the budgets of an account and of all above it that cover that instant."""
        if not self._of_account:
            return ()
        known = self._over.get(account)
        if known is None:
            chain = self._index.chain(account)
            known = tuple(b for name in chain for b in self._of_account.get(name, ()))
            self._over[account] = known
        return known and tuple(b for b in known if b.valid_from <= at < b.valid_to)

    def count(self, run: Run, factor: int, sign: int) -> None:
        """Count what a run may use from its lease to its limit, or count it no longer."""
        if not self._of_account or run.quota_class is QuotaClass.BACKGROUND:
            return
        if run.shape.reservation is not None:
            return  # paid for by its reservation (R7)
        for budget in self.over(run.account, run.leased_at):
            ends = run.ends_by if run.stop_at is None else min(run.ends_by, run.stop_at)
            amount = cost(run.gpus, factor, ends - run.leased_at)
            self.committed[budget.id] = self.committed.get(budget.id, 0) + sign * amount

    def left(self, budget: Budget, spent: Mapping[BudgetId, Spent]) -> int:
        """Return what may still be committed, in thousandths of an H100e-second."""
        settled = spent[budget.id].h100e_seconds if budget.id in spent else 0
        whole = budget.h100e_hours * 3600 - settled
        return whole * _MILLI - self.committed.get(budget.id, 0)

    def reserved(self, budget: Budget, claims: Mapping[ReservationId, Claim], now: datetime) -> int:
        """Return what advance reservations cost a budget, used or not (R7)."""
        total = 0
        for row in self._index.policy.reservations:
            if row.account is None or not budget.valid_from <= row.starts_at < budget.valid_to:
                continue
            if budget.account in self._index.chain(row.account):
                until = charged_until(row, claims, now)
                pool = self._index.pools[row.pool]
                factor = self._index.factor(row.pool, row.starts_at)
                nodes = len(row.nodes) or row.node_count
                total += cost(nodes * pool.gpus_per_node, factor, until - row.starts_at)
        return total


def cost(gpus: int, factor: int, lasting: timedelta) -> int:
    """Return what GPUs of that H100e factor cost, in thousandths of an H100e-second."""
    return gpus * factor * max(0, lasting // _SECOND)


def is_released(row: Reservation, claims: Mapping[ReservationId, Claim], now: datetime) -> bool:
    """Return whether nobody came: then its nodes are everybody's again (R7)."""
    return row.account is not None and row.id not in claims and now >= row.starts_at + row.no_show


def charged_until(
    row: Reservation, claims: Mapping[ReservationId, Claim], now: datetime
) -> datetime:
    """Return when a reservation's charge ends: its end, or its release."""
    if is_released(row, claims, now):
        return min(row.ends_at, row.starts_at + row.no_show)
    return row.ends_at
