"""How the balance between each two groups went over a window: sums, which are everybody's."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body
from scheduler.api import examples_ledger_pairs as examples
from scheduler.api.auth import Caller
from scheduler.api.deps import current_user, hub_of
from scheduler.api.ledger import WindowQuery, seconds
from scheduler.api.openapi import answers
from scheduler.core.ledger import By
from scheduler.core.pair_balances import Pair, PairBalances
from scheduler.core.policy import Policy
from scheduler.db.loans import Wanted, each_loan
from scheduler.wire.pair_balances import PairPage, PairView

router = APIRouter(prefix="/v1", tags=["ledger"])

MOST_PAIRS = 200
"""A picture holds a few, and a table a screen of them; what is left out exchanged least."""


class PairQuery(WindowQuery):
    """What to group by, and into how many parts to cut the window."""

    by: By = By.SECTOR
    parts: int = Field(default=60, ge=1, le=366)


@router.get("/ledger/pairs", response_model=PairPage, responses=answers(examples.PAIR_PAGE))
async def pairs(
    request: Request,
    _: Annotated[Caller, Depends(current_user)],
    query: Annotated[PairQuery, Query()],
) -> Response:
    """Say how the balance of each pair went, and what its agreements' caps let through."""
    hub = hub_of(request)
    since, until = query.window(hub.clock.now())
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        found = PairBalances(query.by, since, until, query.parts)
        async for loan in each_loan(conn, Wanted(since, until)):
            found.add(loan)
    return body.reply(pair_page(found, policy))


def pair_page(found: PairBalances, policy: Policy) -> PairPage:
    """Return pairs as they are told, with the caps of the agreements as they are now."""
    return PairPage(
        since=found.edges[0],
        until=found.edges[-1],
        by=found.by,
        at=found.edges,
        pairs=tuple(_view(one, found, policy) for one in found.pairs()[:MOST_PAIRS]),
    )


def _view(pair: Pair, found: PairBalances, policy: Policy) -> PairView:
    agreements = {one.id: one for one in policy.agreements}
    limit = pair.lent.limit(agreements, found.edges[0], found.edges[-1])
    return PairView(
        first=pair.first,
        second=pair.second,
        lent_h100e_seconds=seconds(sum(pair.lent.steps)),
        returned_h100e_seconds=seconds(sum(pair.returned.steps)),
        loans=pair.lent.loans + pair.returned.loans,
        balance_h100e_seconds=tuple(seconds(amount) for amount in pair.balance()),
        agreements=tuple(sorted(pair.lent.factors)),
        cap_gpus=pair.lent.cap(agreements),
        limit_h100e_seconds=None if limit is None else seconds(limit),
    )
