"""How the balance between two groups went: what each lent the other, added up over time.

A pair is unordered; its balance is what the first lent the second less what came back, so it is
zero where the window begins and may change its sign. Amounts are the ledger's own whole numbers
(10^-9 H100e-seconds), so a pair's end is to the last place what the matrix says of both ways.

An agreement caps GPUs at one time, never hours. What a cap lets through in hours is that many
GPUs lent all along, from the window's start or the agreement's own to the end of either: a limit
that no line of loans under that agreement alone can pass.

Source: scheduling.md R1 (agreements and their caps), R15 (factors).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from scheduler.core.ledger import By, Loan
from scheduler.core.model import Agreement, AgreementId

_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class OneWay:
    """What one group lent another: `steps` by part of the window, and under which agreements.

    `factors` are the largest of each agreement's loans, in thousandths of an H100; a loan
    within quotas has no agreement, and no cap.
    """

    steps: list[int]
    loans: int = 0
    factors: dict[AgreementId, int] = field(default_factory=dict)
    is_capped: bool = True

    def cap(self, agreements: Mapping[AgreementId, Agreement]) -> int | None:
        """Return how many GPUs may be lent so at one time; None where some have no limit."""
        known = [agreements[name] for name in self.factors if name in agreements]
        if not self.is_capped or len(known) < len(self.factors) or not known:
            return None
        return sum(one.cap for one in known)

    def limit(
        self, agreements: Mapping[AgreementId, Agreement], since: datetime, until: datetime
    ) -> int | None:
        """Return the most that the caps let through between two times; None without a cap."""
        if self.cap(agreements) is None:
            return None
        return sum(
            agreements[name].cap * factor * _within(agreements[name], since, until)
            for name, factor in self.factors.items()
        )


def _within(agreement: Agreement, since: datetime, until: datetime) -> int:
    begin, end = max(since, agreement.valid_from), min(until, agreement.valid_to)
    return max(0, (end - begin) // _MICROSECOND)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two groups: `first` lent more, or as much, over the whole window."""

    first: str
    second: str
    lent: OneWay
    returned: OneWay

    @property
    def exchanged(self) -> int:
        """Return all that went either way: how much this pair has to do with each other."""
        return sum(self.lent.steps) + sum(self.returned.steps)

    def balance(self) -> Iterator[int]:
        """Yield the balance at the window's start and after each part of it."""
        at = 0
        yield at
        for lent, returned in zip(self.lent.steps, self.returned.steps, strict=True):
            at += lent - returned
            yield at


class PairBalances:
    """Adds loans up pair by pair, in equal parts of a window, one loan at a time."""

    def __init__(self, by: By, since: datetime, until: datetime, parts: int) -> None:
        """Cut the window into so many parts, to whole microseconds."""
        self.by = by
        whole = (until - since) // _MICROSECOND
        starts = (since + (whole * part // parts) * _MICROSECOND for part in range(parts))
        self.edges = (*starts, until)
        self._ways: dict[tuple[str, str], OneWay] = {}

    def add(self, loan: Loan) -> None:
        """Count a loan's part of the window; within one group there is no balance."""
        names = self.by.of(loan.lender), self.by.of(loan.borrower)
        if names[0] == names[1] or not loan.amount(self.edges[0], self.edges[-1]):
            return
        way = self._ways.setdefault(names, self._nothing())
        way.loans += 1
        for part in self._parts_of(loan):
            way.steps[part] += loan.amount(self.edges[part], self.edges[part + 1])
        if loan.agreement is None:
            way.is_capped = False
        else:
            way.factors[loan.agreement] = max(loan.factor, way.factors.get(loan.agreement, 0))

    def _parts_of(self, loan: Loan) -> Iterable[int]:
        """Return the parts in which a loan may have a share: never all, for a short one."""
        parts = len(self.edges) - 1
        span = self.edges[-1] - self.edges[0]
        first = max(0, (loan.started_at - self.edges[0]) * parts // span - 1)
        last = parts
        if loan.ended_at is not None:
            last = min(parts, (loan.ended_at - self.edges[0]) * parts // span + 2)
        return range(first, last)

    def _nothing(self) -> OneWay:
        return OneWay([0] * (len(self.edges) - 1))

    def pairs(self) -> list[Pair]:
        """Return every pair, those that exchanged most first."""
        found: dict[frozenset[str], Pair] = {}
        for (lender, borrower), way in self._ways.items():
            back = self._ways.get((borrower, lender)) or self._nothing()
            order = (sum(way.steps), borrower) >= (sum(back.steps), lender)
            pair = Pair(lender, borrower, way, back) if order else Pair(borrower, lender, back, way)
            found[frozenset((lender, borrower))] = pair
        return sorted(found.values(), key=lambda one: (-one.exchanged, one.first, one.second))
