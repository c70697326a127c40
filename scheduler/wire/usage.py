"""What accounts used day by day, and what is left of their budgets, as messages."""

from datetime import date

from pydantic import AwareDatetime, Field

from scheduler.core.model import Sector
from scheduler.wire.nodes import Message


class DayView(Message):
    """GPU-hours of one day (UTC), by how they were had; background work is not charged."""

    day: date
    in_quota_gpu_hours: float
    borrowed_gpu_hours: float
    background_gpu_hours: float
    charged_h100e_hours: float


class AccountUsage(Message):
    """An account with all below it; days in order, those without use too."""

    account: str
    parent: str | None
    sector: Sector
    gpu_hours: float
    charged_h100e_hours: float
    days: tuple[DayView, ...]


class OutlookView(Message):
    """What will be left at the end of a day, in H100e-hours: likely, and the 80 % interval."""

    day: date
    low: float
    likely: float
    high: float


class BurnDay(Message):
    """What was left at the end of a day, in H100e-hours; today's is what is left now."""

    day: date
    left: float


class BudgetView(Message):
    """A budget and how it burns down, in H100e-hours (R4).

    Used is of ended leases; reserved is what running jobs may use up to their limits, and what
    advance reservations cost; left is the limit less both. A start needs its whole cost left.
    """

    budget: str
    account: str
    valid_from: AwareDatetime
    valid_to: AwareDatetime
    limit: float
    used: float
    reserved: float
    left: float
    per_day: float | None = Field(description="Null where fewer than three whole days tell")
    earliest: date | None = Field(description="Used up by then in one of ten cases; null: lasts")
    likely: date | None
    latest: date | None = Field(description="Used up by then in nine of ten cases; null: may last")
    burn: tuple[BurnDay, ...]
    cone: tuple[OutlookView, ...]


class UsagePage(Message):
    """The window's usage of accounts, and the budgets that bind them."""

    since: AwareDatetime
    until: AwareDatetime
    accounts: tuple[AccountUsage, ...]
    budgets: tuple[BudgetView, ...]
