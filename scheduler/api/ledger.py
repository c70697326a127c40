"""Who lent what to whom: sums for everybody, loans and entries for those whom they concern."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples_ledger
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.openapi import answers
from scheduler.api.recalls import views_of
from scheduler.core.ledger import By, Concentration, Entry, Loan, Sums, entries
from scheduler.core.lenders import Parties, Party
from scheduler.core.policy import Policy
from scheduler.core.recalls import published
from scheduler.core.roles import memberships
from scheduler.db.loans import Wanted, each_loan, some_loans
from scheduler.db.recalls import recalls_since
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope
from scheduler.wire.diagnostics import RecallView
from scheduler.wire.ledger import (
    BalanceView,
    CellView,
    ConcentrationView,
    EntryView,
    LedgerPage,
    LoanView,
    PartyView,
)
from scheduler.wire.nodes import Instant

router = APIRouter(prefix="/v1", tags=["ledger"])

WINDOW = timedelta(days=30)
LONGEST = timedelta(days=366)
_EXACT = Context(prec=60)


def _written_out(value: object) -> object:
    """Refuse a bare number: as seconds since 1970 it would be a window that nobody meant."""
    if isinstance(value, str) and "T" not in value.upper():
        raise ValueError("is not a time like 2026-03-02T09:30:00Z")
    return value


_WRITTEN = BeforeValidator(_written_out)


class WindowQuery(BaseModel):
    """Between which times; the last 30 days where nothing is said. Cuts need no whole days."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    since: Annotated[Instant, _WRITTEN] | None = Field(default=None, alias="from")
    until: Annotated[Instant, _WRITTEN] | None = Field(default=None, alias="to")

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the window; nothing is told of what has not been yet.

        Raises:
            Refused: it is empty, or longer than a year.
        """
        until = now if self.until is None else min(self.until, now)
        since = until - WINDOW if self.since is None else self.since
        if not timedelta(0) < until - since <= LONGEST:
            raise Refused(
                title="Not valid",
                detail="the window is empty" if since >= until else "the window is too long",
                field="from",
                value=since.isoformat(),
                limit=f"before {until.isoformat()}, by at most {LONGEST.days} days",
                next_step="choose an earlier `from`, or a later `to` that is not in the future"
                if since >= until
                else "ask for a year at a time: the parts add up exactly",
            )
        return since, until


class LedgerQuery(WindowQuery):
    """What to group sums by, and which page of loans."""

    by: By = By.SECTOR
    after: int | None = Field(default=None, ge=1, description="`next` of the page before")
    limit: int = Field(default=100, ge=1, le=500, description="Loans; each has two entries")


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose loans a caller may see: `accounts` None is everybody's; `members` are its own."""

    accounts: tuple[str, ...] | None
    members: frozenset[str]

    def shows_run(self, loan: Loan) -> bool:
        """Return whether the borrower's run may be named: it is somebody's job."""
        return self.accounts is None or loan.borrower.account in self.members


def reach_of(caller: Caller, policy: Policy) -> Reach:
    """Return whose loans a caller may see: its accounts', and their institutions' and teams'.

    The root of the tree is everybody's, so its loans are for admins and in the sums.
    """
    if caller.scope is Scope.ADMIN:
        return Reach(None, frozenset())
    members = frozenset(memberships(policy, caller.actor))
    parties = Parties(policy)
    above = {name for own in members for name in parties.chain(own)[:-1]}
    return Reach(tuple(sorted(members | above)), members)


@router.get("/ledger", response_model=LedgerPage, responses=answers(examples_ledger.LEDGER_PAGE))
async def ledger(
    request: Request,
    caller: Annotated[Caller, Depends(current_user)],
    query: Annotated[LedgerQuery, Query()],
) -> Response:
    """Say who lent what to whom: everybody sees sums, and the loans of their own accounts."""
    hub = hub_of(request)
    since, until = query.window(hub.clock.now())
    async with hub.db.reading() as conn:
        reach = reach_of(caller, await hub.policies.current(conn))
        sums = Sums(query.by, since, until)
        async for loan in each_loan(conn, Wanted(since, until)):
            sums.add(loan)
        wanted = Wanted(since, until, reach.accounts)
        found = await some_loans(conn, wanted, query.after, query.limit + 1)
        times = await _recalls(conn, hub, (since, until))
    return body.reply(ledger_page(sums, (found, query.limit), reach, times))


def ledger_page(
    sums: Sums, found: tuple[Sequence[Loan], int], reach: Reach, recalls: tuple[RecallView, ...]
) -> LedgerPage:
    """Return what is told: sums of all, and as many of the loans found as a page may hold."""
    shown = found[0][: found[1]]
    return LedgerPage(
        since=sums.since,
        until=sums.until,
        by=sums.by,
        loans_in_all=sums.loans,
        simulated_loans=sums.simulated,
        balances=_balances(sums),
        matrix=_matrix(sums),
        concentration=tuple(_concentration(one) for one in sums.concentrations()),
        recalls=recalls,
        entries_of=reach.accounts,
        loans=tuple(loan_view(one, reach) for one in shown),
        entries=tuple(entry_view(one) for one in entries(shown, sums.since, sums.until)),
        next=str(shown[-1].id) if len(found[0]) > found[1] else None,
    )


async def _recalls(
    conn: AsyncConnection, hub: HubState, window: tuple[datetime, datetime]
) -> tuple[RecallView, ...]:
    since, until = window
    decided = [one for one in await recalls_since(conn, since) if one.decided_at < until]
    return views_of(published(decided, hub.clock.now()).lenders)


def seconds(amount: int) -> Decimal:
    """Return an amount of 10^-9 H100e-seconds in H100e-seconds, exactly."""
    return Decimal(amount).scaleb(-9, _EXACT) if amount else Decimal(0)


def _balances(sums: Sums) -> tuple[BalanceView, ...]:
    ordered = sorted(sums.balances.items(), key=lambda item: (-item[1].net, item[0]))
    return tuple(
        BalanceView(
            name=name,
            lent_h100e_seconds=seconds(one.lent),
            borrowed_h100e_seconds=seconds(one.borrowed),
            net_h100e_seconds=seconds(one.net),
            recalled_h100e_seconds=seconds(one.recalled),
            recalls=one.recalls,
        )
        for name, one in ordered
    )


def _matrix(sums: Sums) -> tuple[CellView, ...]:
    ordered = sorted(sums.matrix.items(), key=lambda item: (-item[1].amount, item[0]))
    return tuple(
        CellView(lender=lender, borrower=to, loans=one.loans, h100e_seconds=seconds(one.amount))
        for (lender, to), one in ordered
    )


def _concentration(one: Concentration) -> ConcentrationView:
    return ConcentrationView(
        tier=one.tier,
        index=round(float(one.index), 6),
        borrowers=one.borrowers,
        largest=one.largest,
        largest_share=round(float(one.largest_share), 6),
    )


def loan_view(loan: Loan, reach: Reach) -> LoanView:
    """Return a loan as those see it whom it concerns."""
    return LoanView(
        loan=loan.id,
        lender=_party(loan.lender),
        borrower=_party(loan.borrower),
        pool=loan.pool,
        tier=loan.tier,
        gpus=loan.gpus,
        h100e_factor=loan.factor / 1000,
        agreement=loan.agreement,
        started_at=loan.started_at,
        ended_at=loan.ended_at,
        recalled_at=loan.recalled_at,
        simulated=loan.is_simulated,
        run=loan.run if reach.shows_run(loan) else None,
    )


def entry_view(entry: Entry) -> EntryView:
    """Return one side of a loan."""
    return EntryView(
        loan=entry.loan.id,
        side=entry.side,
        account=entry.party.account,
        institution=entry.party.institution,
        sector=entry.party.sector,
        counterparty=entry.counterparty.account,
        since=entry.since,
        until=entry.until,
        h100e_seconds=seconds(entry.amount),
    )


def _party(party: Party) -> PartyView:
    return PartyView(account=party.account, institution=party.institution, sector=party.sector)
