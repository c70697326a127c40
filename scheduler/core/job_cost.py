"""What one job took and what of it is charged: its leases, and the prices of where it may go (R3).

Amounts are whole numbers of 10^-9 H100e-seconds, as in the ledger, so that the parts of a bill
add up exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.core.eligibility import Eligibility
from scheduler.core.hardware import Factors
from scheduler.core.model import Account, Pool, QuotaClass, Shape
from scheduler.core.policy import Policy

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Taken:
    """A lease as it is counted: from `since` to `until` (None goes on), and at most to `ends_by`.

    `factor` is in thousandths of an H100. `is_paid` are runs of a reservation (R7).
    """

    gpus: int
    factor: int
    quota_class: QuotaClass
    is_paid: bool
    since: datetime
    until: datetime | None
    ends_by: datetime

    @property
    def is_charged(self) -> bool:
        """Return whether its account is charged: not for background work, nor twice (R2, R7)."""
        return self.quota_class is not QuotaClass.BACKGROUND and not self.is_paid

    def so_far(self, now: datetime) -> int:
        """Return what it took until now, whoever pays."""
        return _amount(self.gpus, self.factor, (self.until or now) - self.since)

    def charged(self, now: datetime) -> int:
        """Return what of it is charged until now."""
        return self.so_far(now) if self.is_charged else 0

    def at_limit(self, now: datetime) -> int:
        """Return what is charged for it in the end, if it takes all the time that it has."""
        if not self.is_charged:
            return 0
        end = self.until or max(self.ends_by, now)
        return _amount(self.gpus, self.factor, end - self.since)


@dataclass(frozen=True, slots=True)
class Price:
    """What one attempt of the whole limit would be charged in a pool that may take it."""

    pool: Pool
    gpus: int
    factor: int
    amount: int


def prices(
    policy: Policy, account: Account, shape: Shape, limit: timedelta, now: datetime
) -> Iterator[Price]:
    """Yield a price for each pool that may take the job, lowest tier first (R13, R15)."""
    rules = Eligibility(policy)
    for pool in rules.pools:
        fit = rules.fit(shape, pool) if rules.allows(shape, account, pool) else None
        if fit is None:
            continue
        factor = Factors(policy.hardware, pool.gpu_model).at(now)
        is_free = shape.background or shape.reservation is not None
        amount = 0 if is_free else _amount(fit.gpus, factor, limit)
        yield Price(pool, fit.gpus, factor, amount)


def _amount(gpus: int, factor: int, lasted: timedelta) -> int:
    return gpus * factor * max(0, lasted // _MICROSECOND)
