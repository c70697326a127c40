"""What accounts used day by day, and when their budgets are used up (R4)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples_ledger
from scheduler.api.auth import Caller
from scheduler.api.deps import current_user, hub_of
from scheduler.api.led import led
from scheduler.api.openapi import answers
from scheduler.api.usage_lately import WINDOWS, Used, used_lately
from scheduler.core.burndown import Forecast, forecast
from scheduler.core.daily import Daily, Day, days_of, left_after
from scheduler.core.ledger import NANO
from scheduler.core.lenders import Parties
from scheduler.core.model import Account, AccountName, Budget, QuotaClass
from scheduler.core.policy import Policy
from scheduler.core.roles import Action, memberships
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope
from scheduler.wire.usage import (
    AccountUsage,
    BudgetView,
    BurnDay,
    DayView,
    OutlookView,
    UsagePage,
)

router = APIRouter(prefix="/v1", tags=["ledger"])

_HOUR_NANO = 3600 * NANO
_HOUR_MILLI = 3600 * 1000
_HOUR_MICROSECONDS = 3600 * 10**6


class UsageQuery(BaseModel):
    """How many days to look back, today included, and at which account with all below it."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(default=28, ge=1, le=WINDOWS[-1])
    account: str | None = None


@router.get("/usage", response_model=UsagePage, responses=answers(examples_ledger.USAGE_PAGE))
async def usage_report(
    request: Request,
    caller: Annotated[Caller, Depends(current_user)],
    query: Annotated[UsageQuery, Query()],
) -> Response:
    """Say what the caller's accounts, and those above them, used and have left of budgets.

    Those of a lead, an approver, an operator or an auditor are all accounts of that role.
    """
    used = await used_lately(hub_of(request), request.app.state.usage_lately, query.days)
    shown, since = _shown(caller, used.policy, query.account), used.since(query.days)
    return body.reply(
        UsagePage(
            since=since,
            until=used.daily.until,
            accounts=tuple(_account(each, used.daily, since) for each in shown),
            budgets=tuple(_budget(each, used, since) for each in _binding(used, shown, since)),
        )
    )


def _shown(caller: Caller, policy: Policy, only: str | None) -> list[Account]:
    """Return the accounts to tell of, parents first.

    Raises:
        Refused: 403, the one that was asked for is not the caller's, nor above it, or not there.
    """
    parties = Parties(policy)
    known = {account.name: account for account in policy.accounts}
    own = {*memberships(policy, caller.actor), *led(policy, caller, Action.SEE_USAGE)}
    mine = {name for one in own for name in parties.chain(one)}
    allowed = set(known) if caller.scope is Scope.ADMIN else mine
    if only is not None and only not in allowed:
        raise Refused(
            title="Not your account",
            detail=f"'{caller.subject}' may not see the usage of '{only}'",
            status=403,
            field="account",
            value=only,
            limit=f"accounts of {caller.subject} and those above: "
            + (", ".join(sorted(allowed)) or "none"),
            next_step="name one of them, or ask its members or an administrator",
        )
    chosen = allowed if only is None else {AccountName(only)}
    return sorted((known[name] for name in chosen), key=lambda each: parties.chain(each.name)[::-1])


def _binding(used: Used, shown: Sequence[Account], since: datetime) -> list[Budget]:
    """Return the budgets of these accounts and of all above them, but for those that were over."""
    parties = Parties(used.policy)
    binding = {name for account in shown for name in parties.chain(account.name)}
    return [one for one in used.budgets if one.account in binding and one.valid_to > since]


def _account(account: Account, daily: Daily, since: datetime) -> AccountUsage:
    found = daily.accounts[account.name]
    days = [(day, found.get(day, Day())) for day in days_of(since, daily.until)]
    gpus = sum(sum(one.gpus.values()) for _, one in days)
    return AccountUsage(
        account=account.name,
        parent=account.parent,
        sector=account.sector,
        gpu_hours=round(gpus / _HOUR_MICROSECONDS, 6),
        charged_h100e_hours=round(sum(one.charged for _, one in days) / _HOUR_NANO, 6),
        days=tuple(
            DayView(
                day=day,
                in_quota_gpu_hours=_gpu_hours(one, QuotaClass.IN_QUOTA),
                borrowed_gpu_hours=_gpu_hours(one, QuotaClass.BORROWED),
                background_gpu_hours=_gpu_hours(one, QuotaClass.BACKGROUND),
                charged_h100e_hours=round(one.charged / _HOUR_NANO, 6),
            )
            for day, one in days
        ),
    )


def _gpu_hours(day: Day, quota_class: QuotaClass) -> float:
    return round(day.gpus.get(quota_class, 0) / _HOUR_MICROSECONDS, 6)


def _budget(budget: Budget, all_used: Used, since: datetime) -> BudgetView:
    daily, spent = all_used.daily, all_used.spent
    used = spent.used.get(budget.id, 0) / _HOUR_MILLI
    reserved = spent.reserved.get(budget.id, 0) / _HOUR_MILLI
    burned = daily.burned[budget.id]
    last_seen = min(daily.until, budget.valid_to - timedelta(microseconds=1))
    days = list(days_of(budget.valid_from, last_seen))
    limit = budget.h100e_hours * _HOUR_NANO
    left = [one / _HOUR_NANO for one in left_after(limit, burned, iter(days))]
    begun = max(since, budget.valid_from).astimezone(UTC).date()
    # Today is not over: as a day of little use it would flatten the burn.
    whole = [burned.get(day, 0) / _HOUR_NANO for day in days if begun <= day][:-1]
    ahead = _ahead(budget, whole, max(0.0, left[-1]), daily.until)
    return BudgetView(
        budget=budget.id,
        account=budget.account,
        valid_from=budget.valid_from,
        valid_to=budget.valid_to,
        limit=budget.h100e_hours,
        used=round(used, 6),
        reserved=round(reserved, 6),
        left=round(budget.h100e_hours - used - reserved, 6),
        per_day=round(ahead.per_day, 6) if ahead else None,
        earliest=ahead.earliest if ahead else None,
        likely=ahead.likely if ahead else None,
        latest=ahead.latest if ahead else None,
        burn=tuple(BurnDay(day=d, left=round(one, 6)) for d, one in zip(days, left, strict=True)),
        cone=tuple(
            OutlookView(
                day=one.day,
                low=round(one.low, 6),
                likely=round(one.likely, 6),
                high=round(one.high, 6),
            )
            for one in (ahead.cone if ahead else ())
        ),
    )


def _ahead(budget: Budget, whole: Sequence[float], left: float, now: datetime) -> Forecast | None:
    last = (budget.valid_to - timedelta(microseconds=1)).astimezone(UTC).date()
    return forecast(whole, left, now.astimezone(UTC).date(), last)
