"""How long does an owner wait for its own? Each recall, held against the notice promised (R10).

A recall is an in-quota start that had to wait until others left its GPUs. It is measured from
the decision until the owner's run works, and was promised within the longest notice that
those who leave were given, and the teardown.

Source: scheduling.md R10, "measured, and published per lender as p50 and p99".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from scheduler.core.model import AccountName, PoolId


@dataclass(frozen=True, slots=True)
class Recall:
    """An owner's recall of what it had lent in a pool; `lender` is the account that took back.

    `notice` is until the last of those who leave must be gone, `promised` adds the teardown.
    `started_at` is when the owner's run began to work; `ended` one that never did will not.
    """

    lender: AccountName
    pool: PoolId
    decided_at: datetime
    notice: timedelta
    promised: timedelta
    started_at: datetime | None = None
    ended: bool = False

    @property
    def took(self) -> timedelta | None:
        """Return how long the owner waited; None where its run has not begun to work."""
        return None if self.started_at is None else self.started_at - self.decided_at


@dataclass(frozen=True, slots=True)
class Recalls:
    """Some recalls, summed up; `lender` or `pool` None is all of them together.

    `kept` are those that started within what was promised, `late` those that took longer or
    still wait past it; `given_up` ended before they began to work. The percentiles are of
    those that started, and None where none has.
    """

    lender: AccountName | None
    pool: PoolId | None
    count: int
    started: int
    given_up: int
    kept: int
    late: int
    p50: timedelta | None
    p99: timedelta | None
    longest_notice: timedelta


@dataclass(frozen=True, slots=True)
class Published:
    """Recalls by lender and pool, by lender, and by pool; each in order of names."""

    pairs: tuple[Recalls, ...]
    lenders: tuple[Recalls, ...]
    pools: tuple[Recalls, ...]


def published(recalls: Iterable[Recall], now: datetime) -> Published:
    """Sum recalls up in the three ways in which they are published."""
    pairs: dict[tuple[AccountName, PoolId], list[Recall]] = {}
    lenders: dict[AccountName, list[Recall]] = {}
    pools: dict[PoolId, list[Recall]] = {}
    for one in recalls:
        pairs.setdefault((one.lender, one.pool), []).append(one)
        lenders.setdefault(one.lender, []).append(one)
        pools.setdefault(one.pool, []).append(one)
    return Published(
        tuple(summed_up(some, now, *pair) for pair, some in sorted(pairs.items())),
        tuple(summed_up(some, now, lender=name) for name, some in sorted(lenders.items())),
        tuple(summed_up(some, now, pool=name) for name, some in sorted(pools.items())),
    )


def summed_up(
    some: Sequence[Recall],
    now: datetime,
    lender: AccountName | None = None,
    pool: PoolId | None = None,
) -> Recalls:
    """Sum some recalls up, as they stand at `now`."""
    waits = sorted(one.took for one in some if one.took is not None)
    kept = sum(one.took is not None and one.took <= one.promised for one in some)
    waiting = [one for one in some if one.took is None and not one.ended]
    overdue = sum(now - one.decided_at > one.promised for one in waiting)
    return Recalls(
        lender=lender,
        pool=pool,
        count=len(some),
        started=len(waits),
        given_up=len(some) - len(waits) - len(waiting),
        kept=kept,
        late=len(waits) - kept + overdue,
        p50=percentile(waits, 50),
        p99=percentile(waits, 99),
        longest_notice=max((one.notice for one in some), default=timedelta(0)),
    )


def percentile(ordered: Sequence[timedelta], percent: int) -> timedelta | None:
    """Return the wait that so many per cent did not exceed: one that somebody really had."""
    # By nearest rank: between ranks, the p99 of few recalls would be nobody's.
    return ordered[max(ceil(len(ordered) * percent / 100), 1) - 1] if ordered else None
