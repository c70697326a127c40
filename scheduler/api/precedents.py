"""What an approver looks back at before deciding: the requester's history, and the like of it."""

from collections.abc import Sequence

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from scheduler.api import body, request_views
from scheduler.api import examples_requests as examples
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, hub_of
from scheduler.api.openapi import answers
from scheduler.api.requests import Id, User, visible
from scheduler.core import approvals
from scheduler.core.approvals import RequestState
from scheduler.core.model import AccountName
from scheduler.core.policy import Policy
from scheduler.core.precedents import SHOWN, Past, counted, similar
from scheduler.db.requests import RequestRow, list_requests
from scheduler.wire.precedents import PastRequest, PastWord, Precedents, StateCount

router = APIRouter(prefix="/v1/requests", tags=["requests"])
_LOOKED_AT = 500


@router.get(
    "/{request_id}/precedents", response_model=Precedents, responses=answers(examples.PRECEDENTS)
)
async def request_precedents(request: HttpRequest, caller: User, request_id: Id) -> Response:
    """Return what its requester asked for before, and what was decided on the like of it."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        row = await visible(hub, conn, caller, request_id)
        policy = await hub.policies.current(conn)
        theirs = await _seen(conn, policy, caller, requester=row.requester)
        alike = await _seen(conn, policy, caller, like=row)
    return body.reply(_precedents(row, theirs, alike, policy, hub))


async def _seen(
    conn: AsyncConnection,
    policy: Policy,
    caller: Caller,
    *,
    requester: str | None = None,
    like: RequestRow | None = None,
) -> list[RequestRow]:
    rows = await list_requests(
        conn,
        state=None,
        kind=None if like is None else like.kind,
        requester=requester,
        before=None,
        limit=_LOOKED_AT,
    )
    return [row for row in rows if request_views.sees(policy, caller, row)]


def _precedents(
    row: RequestRow,
    theirs: Sequence[RequestRow],
    alike: Sequence[RequestRow],
    policy: Policy,
    hub: HubState,
) -> Precedents:
    others = [one for one in theirs if one.id != row.id]
    known = {one.id: one for one in alike}
    nearest = similar(_past(row), [_past(one) for one in alike], policy)
    now = hub.clock.now()
    states = [approvals.as_of(one.under(policy), now).state for one in others]
    return Precedents(
        requester=row.requester,
        first_time=not others,
        counts=tuple(StateCount(state=s, count=n) for s, n in counted(states).items()),
        history=tuple(_told(one, states[place]) for place, one in enumerate(others[:SHOWN])),
        similar=tuple(_told(known[name], known[name].state) for name in nearest),
    )


def _past(row: RequestRow) -> Past:
    account = None if row.account is None else AccountName(row.account)
    return Past(row.id, row.kind, account, row.state, row.created_at)


def _told(row: RequestRow, state: RequestState) -> PastRequest:
    words = [vote for vote in row.votes if vote.digest == row.digest]
    return PastRequest(
        id=row.id,
        title=row.title,
        account=row.account,
        requester=row.requester,
        state=state,
        reason=row.reason,
        created_at=row.created_at,
        decided_at=max((vote.at for vote in words), default=None),
        words=tuple(
            PastWord(by=vote.by, approve=vote.approves, reason=vote.reason, at=vote.at)
            for vote in words
        ),
    )
