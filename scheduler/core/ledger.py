"""Lent and borrowed in double entry: each loan is the lender's credit and the borrower's debit.

A loan is the part of a borrowed run that was one account's, as recorded when it was leased
(`lending`), for the interval for which the lease is charged. Entries are worked out from
loans, and balances from entries, whenever somebody asks: nothing is stored that could go wrong.
Amounts are whole numbers of 10^-9 H100e-seconds (GPUs x thousandths of an H100 x microseconds),
so the parts of a window add up to the whole exactly, and every sum over both sides is zero.

Source: L. Pacioli, "Summa de arithmetica", 1494, on double entry; scheduling.md R1, R3, R10.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction

from scheduler.core.lenders import Party
from scheduler.core.model import AgreementId, PoolId, RunId, Tier

NANO = 10**9
"""Units of an amount in one H100e-second."""

_MICROSECOND = timedelta(microseconds=1)


class By(StrEnum):
    """What sums are grouped by."""

    SECTOR = "sector"
    INSTITUTION = "institution"
    ACCOUNT = "account"

    def of(self, party: Party) -> str:
        """Return the group that a party was in when the loan was made."""
        match self:
            case By.SECTOR:
                return party.sector.value
            case By.INSTITUTION:
                return party.institution
            case By.ACCOUNT:
                return party.account


class Side(StrEnum):
    """Lent is a credit, above zero; borrowed a debit, below zero."""

    LENT = "lent"
    BORROWED = "borrowed"


@dataclass(frozen=True, slots=True)
class Loan:
    """GPUs of one lender in one borrowed run, since the lease is charged until it ended.

    `factor` is in thousandths of an H100, as at the start (R15). `ended_at` None goes on.
    `recalled_at` is when the run was told to leave for an owner; None where it was not (R10).
    Behind a simulated loan stood no GPU.
    """

    id: int
    run: RunId
    lender: Party
    borrower: Party
    pool: PoolId
    tier: Tier
    gpus: int
    factor: int
    agreement: AgreementId | None
    started_at: datetime
    ended_at: datetime | None = None
    recalled_at: datetime | None = None
    is_simulated: bool = False

    def amount(self, since: datetime, until: datetime) -> int:
        """Return what was lent between two times, in 10^-9 H100e-seconds; never below zero.

        A loan that goes on counts until `until`, which is to be no later than now.
        """
        begin = max(self.started_at, since)
        end = until if self.ended_at is None else min(self.ended_at, until)
        return self.gpus * self.factor * max(0, (end - begin) // _MICROSECOND)


@dataclass(frozen=True, slots=True)
class Entry:
    """One side of a loan between two times; `amount` is signed, in 10^-9 H100e-seconds."""

    loan: Loan
    side: Side
    since: datetime
    until: datetime
    amount: int

    @property
    def party(self) -> Party:
        """Return whose entry it is."""
        return self.loan.lender if self.side is Side.LENT else self.loan.borrower

    @property
    def counterparty(self) -> Party:
        """Return who has the other entry of the loan."""
        return self.loan.borrower if self.side is Side.LENT else self.loan.lender


def entries(loans: Iterable[Loan], since: datetime, until: datetime) -> Iterator[Entry]:
    """Yield both entries of each loan that had GPUs between two times, the credit first."""
    for loan in loans:
        amount = loan.amount(since, until)
        if amount:
            begin = max(loan.started_at, since)
            end = until if loan.ended_at is None else min(loan.ended_at, until)
            yield Entry(loan, Side.LENT, begin, end, amount)
            yield Entry(loan, Side.BORROWED, begin, end, -amount)


@dataclass(slots=True)
class Balance:
    """What one group lent and borrowed; both are at least zero.

    `recalled` is the part of what it lent whose loans owners ended, and `recalls` how many.
    """

    lent: int = 0
    borrowed: int = 0
    recalled: int = 0
    recalls: int = 0

    @property
    def net(self) -> int:
        """Return lent less borrowed: above zero, others had more of it than it had of them."""
        return self.lent - self.borrowed


@dataclass(slots=True)
class Cell:
    """What one group lent another, and in how many loans."""

    amount: int = 0
    loans: int = 0


@dataclass(frozen=True, slots=True)
class Concentration:
    """How much of a tier's borrowing few have: between 1 / borrowers and 1.

    `index` is Herfindahl and Hirschman's, the sum of squared shares; its inverse is the number
    of equal borrowers that would be as concentrated. `largest` had the share `largest_share`.

    Source: A. O. Hirschman, "The Paternity of an Index", American Economic Review 54 (1964).
    """

    tier: Tier
    index: Fraction
    borrowers: int
    largest: str
    largest_share: Fraction


@dataclass(slots=True)
class Sums:
    """Balances, the matrix of lender and borrower, and what each tier lent, one loan at a time."""

    by: By
    since: datetime
    until: datetime
    balances: dict[str, Balance] = field(default_factory=dict)
    matrix: dict[tuple[str, str], Cell] = field(default_factory=dict)
    tiers: dict[Tier, dict[str, int]] = field(default_factory=dict)
    loans: int = 0
    simulated: int = 0

    def add(self, loan: Loan) -> None:
        """Count a loan's part between the two times; the order of loans is all one."""
        for entry in entries((loan,), self.since, self.until):
            balance = self.balances.setdefault(self.by.of(entry.party), Balance())
            if entry.side is Side.LENT:
                self._lend(balance, entry)
            else:
                balance.borrowed -= entry.amount

    def _lend(self, balance: Balance, entry: Entry) -> None:
        loan, borrower = entry.loan, self.by.of(entry.counterparty)
        balance.lent += entry.amount
        if loan.recalled_at is not None:
            balance.recalled += entry.amount
            balance.recalls += self.since <= loan.recalled_at < self.until
        cell = self.matrix.setdefault((self.by.of(entry.party), borrower), Cell())
        cell.amount += entry.amount
        cell.loans += 1
        tier = self.tiers.setdefault(loan.tier, {})
        tier[borrower] = tier.get(borrower, 0) + entry.amount
        self.loans += 1
        self.simulated += loan.is_simulated

    def concentrations(self) -> Iterator[Concentration]:
        """Yield how concentrated borrowing is in each tier where anything was lent."""
        for tier in sorted(self.tiers, key=lambda one: one.rank):
            borrowed = self.tiers[tier]
            total = sum(borrowed.values())
            shares = {name: Fraction(amount, total) for name, amount in borrowed.items()}
            largest = min(shares, key=lambda name: (-shares[name], name))
            index = sum((share * share for share in shares.values()), Fraction(0))
            yield Concentration(tier, index, len(shares), largest, shares[largest])
