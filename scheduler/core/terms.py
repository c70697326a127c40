"""On which terms a kind of job could start in a pool now: class, agreement, and what is missing.

Quota and agreements decide (R1), then budgets (R4). Nodes are another matter (`placement.py`).
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from scheduler.core.model import Agreement, Budget, BudgetId, Pool, QuotaClass
from scheduler.core.ordering import Kind
from scheduler.core.quota import Level
from scheduler.core.world import World

_SECOND = timedelta(seconds=1)


class Terms(NamedTuple):
    """On which terms a job could start in a pool now, as far as quota goes."""

    quota_class: QuotaClass
    level: Level | None = None  # the first that is over nominal, for a borrowed start inside
    agreement: Agreement | None = None


IN_QUOTA = Terms(QuotaClass.IN_QUOTA)
BACKGROUND = Terms(QuotaClass.BACKGROUND)


def terms(world: World, kind: Kind, bit: int, turn: QuotaClass, now: datetime) -> Terms | None:
    """Return the terms of a start in this pass, None where quota or agreements refuse."""
    if kind.shape.reservation is not None:
        return IN_QUOTA if turn is QuotaClass.IN_QUOTA else None
    gpus = kind.fits.gpus[bit]
    quota = world.quotas_by_bit[bit]
    if not quota.path(kind.account):
        return _outsiders(world, kind, (quota.pool, gpus), turn, now)
    if turn is QuotaClass.BACKGROUND:
        return BACKGROUND if quota.common >= gpus else None
    over = quota.beyond(kind.account, gpus)
    if over is not None and (turn is QuotaClass.IN_QUOTA or not kind.shape.preemptible):
        return None
    if quota.available(kind.account) < gpus:
        return None
    return IN_QUOTA if over is None else Terms(QuotaClass.BORROWED, over)


def _outsiders(
    world: World, kind: Kind, asked: tuple[Pool, int], turn: QuotaClass, now: datetime
) -> Terms | None:
    pool, gpus = asked
    if turn is QuotaClass.IN_QUOTA or not kind.shape.preemptible:
        return None
    if world.quotas[pool.id].common < gpus:
        return None
    return _agreed(world, kind, asked, turn, now)


def _agreed(
    world: World, kind: Kind, asked: tuple[Pool, int], turn: QuotaClass, now: datetime
) -> Terms | None:
    pool, gpus = asked
    for agreement in world.index.agreements(kind.account, pool.id, now):
        if world.lent.get(agreement.id, 0) + gpus <= agreement.cap:
            return Terms(turn, None, agreement)
    return None


def guest_terms(world: World, kind: Kind, bit: int, now: datetime) -> Terms | None:
    """Return the terms of background work on a lent lease, whose GPUs quotas count already (R18).

    An outsider needs an agreement all the same, with room under its cap.
    """
    pool = world.rooms.pools[bit]
    if world.quotas[pool.id].path(kind.account):
        return BACKGROUND
    return _agreed(world, kind, (pool, kind.fits.gpus[bit]), QuotaClass.BACKGROUND, now)


def may_borrow(world: World, kind: Kind, bit: int, now: datetime) -> bool:
    """Return whether a borrowed start could come once others' runs have ended (R6)."""
    pool, gpus = world.rooms.pools[bit], kind.fits.gpus[bit]
    quota = world.quotas[pool.id]
    if not kind.shape.preemptible:
        return False
    if quota.path(kind.account):
        return quota.may_come_free(kind.account) >= gpus
    agreements = world.index.agreements(kind.account, pool.id, now)
    return pool.capacity - quota.kept >= gpus and any(
        world.lent.get(agreement.id, 0) + gpus <= agreement.cap for agreement in agreements
    )


class Short(NamedTuple):
    """A budget that a job would go beyond: amounts in thousandths of an H100e-second."""

    budget: Budget
    left: int
    asked: int


class Purse:
    """What budgets allow in one cycle (R4); reservations' part is worked out once."""

    def __init__(self, world: World, now: datetime) -> None:
        self._world = world
        self._now = now
        self._reserved: dict[BudgetId, int] = {}

    def short(self, kind: Kind, bit: int, time_limit: timedelta) -> Short | None:
        """Return the budget that a start would go beyond, the one with the least left."""
        budgets = self._budgets(kind)
        if not budgets:
            return None
        asked = self._rate(kind, bit) * (time_limit // _SECOND)
        least = min(((self._left(b), b.id, b) for b in budgets), key=lambda row: row[:2])
        return Short(least[2], least[0], asked) if asked > least[0] else None

    def tightest(self, kind: Kind) -> tuple[Budget, int] | None:
        """Return the budget with the least left, and how much; None where none is over it."""
        budgets = self._budgets(kind)
        least = min(
            ((self._left(b), b.id, b) for b in budgets), key=lambda row: row[:2], default=None
        )
        return None if least is None else (least[2], least[0])

    def longest(self, kind: Kind, bit: int) -> timedelta | None:
        """Return the longest time limit that budgets allow; None: any."""
        budgets = self._budgets(kind)
        if not budgets:
            return None
        least = min(self._left(budget) for budget in budgets)
        return _SECOND * max(0, least // max(1, self._rate(kind, bit)))

    def _budgets(self, kind: Kind) -> tuple[Budget, ...]:
        if kind.shape.background or kind.shape.reservation is not None:
            return ()
        return self._world.use.budgets.over(kind.account, self._now)

    def _rate(self, kind: Kind, bit: int) -> int:
        pool = self._world.rooms.pools[bit]
        return kind.fits.gpus[bit] * self._world.index.factor(pool.id, self._now)

    def _left(self, budget: Budget) -> int:
        world = self._world
        if budget.id not in self._reserved:
            self._reserved[budget.id] = world.use.budgets.reserved(budget, world.claims, self._now)
        return world.use.budgets.left(budget, world.spent) - self._reserved[budget.id]
