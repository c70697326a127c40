"""The sharing ledger as messages: entries in double entry, and the sums over them.

Amounts are exact decimals of H100e-seconds with up to nine places, as text in JSON: both sides
of a ledger add up to zero to the last place, which floats would not.
"""

from decimal import Decimal
from typing import Annotated

from pydantic import AwareDatetime, Field, PlainSerializer

from scheduler.core.ledger import By, Side
from scheduler.core.model import Sector, Tier
from scheduler.wire.diagnostics import RecallView
from scheduler.wire.nodes import Message

Seconds = Annotated[Decimal, PlainSerializer(lambda one: format(one, "f"), when_used="json")]


class PartyView(Message):
    """An account, with the institution and sector that it belonged to when the loan was made."""

    account: str
    institution: str
    sector: Sector


class LoanView(Message):
    """GPUs of one lender in one borrowed run, as recorded when it was leased."""

    loan: int
    lender: PartyView
    borrower: PartyView
    pool: str
    tier: Tier
    gpus: int
    h100e_factor: float
    agreement: str | None = None
    started_at: AwareDatetime
    ended_at: AwareDatetime | None = Field(description="Null while it goes on")
    recalled_at: AwareDatetime | None = Field(
        description="When its run was told to leave for an owner; null where it was not (R10)"
    )
    simulated: bool
    run: str | None = Field(default=None, description="For the borrower's own people and admins")


class EntryView(Message):
    """One side of a loan between two times: lent is above zero, borrowed below."""

    loan: int
    side: Side
    account: str
    institution: str
    sector: Sector
    counterparty: str
    since: AwareDatetime
    until: AwareDatetime
    h100e_seconds: Seconds


class BalanceView(Message):
    """What a group lent and borrowed. Net is lent less borrowed; all nets add up to zero."""

    name: str
    lent_h100e_seconds: Seconds
    borrowed_h100e_seconds: Seconds
    net_h100e_seconds: Seconds
    recalled_h100e_seconds: Seconds = Field(description="Lent, in loans that owners ended")
    recalls: int


class CellView(Message):
    lender: str
    borrower: str
    loans: int
    h100e_seconds: Seconds


class ConcentrationView(Message):
    """How much of a tier's borrowing few have: Herfindahl and Hirschman's index."""

    tier: Tier
    index: float = Field(description="Sum of squared shares: 1 where one borrows everything")
    borrowers: int
    largest: str
    largest_share: float


class LedgerPage(Message):
    """Sums over everybody's loans, and a page of the loans and entries that the caller may see."""

    since: AwareDatetime
    until: AwareDatetime
    by: By
    loans_in_all: int
    simulated_loans: int = Field(description="Of these: behind them stood no GPU")
    balances: tuple[BalanceView, ...]
    matrix: tuple[CellView, ...]
    concentration: tuple[ConcentrationView, ...]
    recalls: tuple[RecallView, ...] = Field(description="By lender (R10)")
    entries_of: tuple[str, ...] | None = Field(
        description="The accounts whose loans and entries are shown; null is everybody's"
    )
    loans: tuple[LoanView, ...]
    entries: tuple[EntryView, ...]
    next: str | None = None
