"""What all accounts used day by day and what is gone of all budgets, read once for all who ask.

It reads every lease since the oldest budget that is in force began: in a large hub that takes a
while, and everybody's Home wants it. So one reading serves all who ask meanwhile and shortly
after, each of whom is told of their own accounts only.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.api.deps import HubState
from scheduler.api.lately import Lately
from scheduler.core.budgets import Budgets
from scheduler.core.daily import Daily
from scheduler.core.index import PolicyIndex
from scheduler.core.model import Budget, BudgetId
from scheduler.core.policy import Policy
from scheduler.db.daily import committed_of_budgets, leases_between, used_of_budgets
from scheduler.db.loading import reservation_claims_of

KEEP_TIMES = 20
"""An answer is shown again for so many times as long as it took: one part in 20 of a core."""
WINDOWS = (7, 28, 92)
"""Days that are read: what is asked of fewer is cut out of these, so that whoever asks for each
number of days in turn costs three readings, and keeps nobody from theirs."""
KEPT = 4
"""Of how many windows at most; each holds days of every account."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What is gone of each budget and what is kept for running jobs and reservations, in milli."""

    used: dict[BudgetId, int]
    reserved: dict[BudgetId, int]


@dataclass(frozen=True, slots=True)
class Used:
    """Days and budgets under a policy, as of the end of the days' window."""

    policy: Policy
    daily: Daily
    budgets: tuple[Budget, ...]
    spent: Spent

    def since(self, days: int) -> datetime:
        """Return when the last days began, today included."""
        return _window(self.daily.until, days)[0]


def usage_lately(hub: HubState) -> Lately[Used]:
    """Return where readings of the last seconds are kept, by days looked back and policy."""
    return Lately(hub.clock, _seconds, KEPT)


def _seconds(took: float) -> float:
    return KEEP_TIMES * took


async def used_lately(hub: HubState, lately: Lately[Used], days: int) -> Used:
    """Return what was used in the last days, today included, and maybe in some before them.

    Raises:
        Refused: 503, the hub has no policy yet.
    """
    policy = await hub.policy()
    read = next(each for each in WINDOWS if days <= each)
    window = _window(hub.clock.now(), read)
    return await lately.of((read, policy.revision), lambda: _read(hub, policy, window))


def _window(now: datetime, days: int) -> tuple[datetime, datetime]:
    today = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    return today - timedelta(days=days - 1), now


async def _read(hub: HubState, policy: Policy, window: tuple[datetime, datetime]) -> Used:
    budgets = tuple(
        budget
        for budget in sorted(policy.budgets, key=lambda each: each.id)
        if budget.valid_from < window[1] and budget.valid_to > window[0]
    )
    daily = Daily(policy, [account.name for account in policy.accounts], budgets, window)
    began = min((window[0], *(budget.valid_from for budget in budgets)))
    async with hub.db.reading() as conn:
        async for lease in leases_between(conn, began, window[1]):
            daily.add(lease)
        return Used(policy, daily, budgets, await _spent(conn, policy, budgets, window[1]))


async def _spent(
    conn: AsyncConnection, policy: Policy, budgets: tuple[Budget, ...], now: datetime
) -> Spent:
    if not budgets:
        return Spent({}, {})
    claims = await reservation_claims_of(conn)
    advance = Budgets(PolicyIndex(policy))
    running = await committed_of_budgets(conn, policy)
    reserved = {
        each.id: running.get(each.id, 0) + advance.reserved(each, claims, now) for each in budgets
    }
    return Spent(await used_of_budgets(conn), reserved)
