"""Requests that others decide on: ask, read, comment, decide, withdraw, put in force."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from scheduler.api import body, request_views
from scheduler.api import examples_requests as examples
from scheduler.api.audited import who
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.openapi import accepts, answers
from scheduler.api.step_up import check_step_up
from scheduler.core.approvals import RequestState, Vote, may_ask
from scheduler.core.policy import Policy
from scheduler.core.request_kinds import RequestKind
from scheduler.core.roles import ALLOWED, Action
from scheduler.db import request_steps as steps
from scheduler.db.request_refusals import no_such_request
from scheduler.db.request_steps import Asked, Step
from scheduler.db.requests import RequestRow, find_request, history_of, list_requests
from scheduler.errors import Refused
from scheduler.policy_change import account_of, outdated
from scheduler.wire.accounts import Scope
from scheduler.wire.requests import (
    AgreementChange,
    Change,
    NewRequest,
    PolicyChange,
    RequestComment,
    RequestDecision,
    RequestEdit,
    RequestImpact,
    RequestLine,
    RequestPage,
    RequestView,
)

router = APIRouter(prefix="/v1/requests", tags=["requests"])

User = Annotated[Caller, Depends(current_user)]
Id = Annotated[str, Path(max_length=40, examples=["r7h2k9q4"])]
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_PIECE = 200


class RequestQuery(BaseModel):
    """Which requests to list; a parameter that is not here is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    state: RequestState | None = None
    kind: RequestKind | None = None
    who: Literal["me", "others"] | None = Field(default=None, description="Who asked")
    awaiting: Literal["me"] | None = Field(default=None, description="Only those that you decide")
    after: int | None = Field(
        default=None, ge=1, le=2**63 - 1, description="The `next` of the page before"
    )
    limit: int = Field(default=50, ge=1, le=200)


@router.post(
    "",
    status_code=201,
    response_model=RequestView,
    openapi_extra=accepts(NewRequest, examples.NEW_REQUEST),
    responses=answers(examples.REQUEST_VIEW, 201, "Its approvers are told"),
)
async def create_request(request: HttpRequest, caller: User) -> Response:
    """Ask for something that others decide on; with `draft`, nobody is asked yet."""
    asked = await body.read(request, NewRequest)
    hub = hub_of(request)
    name = "r" + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in secrets.token_bytes(9))
    async with hub.db.transaction() as conn:
        policy = await hub.policies.current(conn)
        await _check(hub, policy, caller, asked.change)
        step = Step(conn, who(caller), name, hub.clock.now())
        await steps.create(step, Asked(asked.change, asked.reason, asked.draft), policy)
    hub.wake.ring("notices")
    return await _shown(hub, caller, name, 201)


async def _check(hub: HubState, policy: Policy, caller: Caller, change: Change) -> None:
    """Refuse what the caller may not ask for, or what makes no sense by itself."""
    kind, account = RequestKind(change.kind), account_of(change)
    if kind is RequestKind.POLICY:
        check_step_up(hub, caller)
    allowed = caller.scope is Scope.ADMIN or may_ask(policy, caller.actor, kind, account)
    if not allowed:
        action = Action.PROPOSE_POLICY if kind is RequestKind.POLICY else Action.ASK
        roles = " or ".join(sorted(ALLOWED[action]))
        where = "some account" if account is None else f"{account}, or an account near it"
        raise Refused(
            title="Not allowed",
            detail=f"To ask for a {kind} needs the role {roles} on {where}",
            status=403,
            field="change.kind",
            value=kind,
            limit=roles,
            next_step="Have somebody ask who may: leads, and members of the institution.",
        )
    if isinstance(change, AgreementChange) and (change.borrower_account is None) == (
        change.borrower_sector is None
    ):
        raise Refused(
            title="Not valid",
            detail="say either borrower_account or borrower_sector",
            field="change.borrower_account",
            next_step="Leave one of the two out.",
        )
    if isinstance(change, PolicyChange):
        if change.base_revision != policy.revision:
            raise outdated(change.base_revision, policy.revision)
        await steps.checked(change.document)


@router.get("", response_model=RequestPage, responses=answers(examples.REQUEST_PAGE))
async def requests(
    request: HttpRequest, caller: User, query: Annotated[RequestQuery, Query()]
) -> Response:
    """List the requests that the caller may see, newest first."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        page, more = await lines(hub, conn, caller, query)
    return body.reply(RequestPage(requests=page, next=more))


async def lines(
    hub: HubState, conn: AsyncConnection, caller: Caller, query: RequestQuery
) -> tuple[tuple[RequestLine, ...], str | None]:
    """Return a page of the requests that a caller may see, and what the next one begins after."""
    policy = await hub.policies.current(conn)
    found = []
    async for row in _seen(conn, policy, caller, query):
        shown = request_views.line(row, policy, caller, hub)
        if shown.awaits_you or not query.awaiting:
            found.append((row.sequence, shown))
        if len(found) > query.limit:
            break
    page = found[: query.limit]
    more = str(page[-1][0]) if len(found) > query.limit else None
    return tuple(shown for _, shown in page), more


async def _seen(
    conn: AsyncConnection, policy: Policy, caller: Caller, query: RequestQuery
) -> AsyncIterator[RequestRow]:
    before = query.after
    while True:
        piece = await list_requests(
            conn,
            state=RequestState.OPEN if query.awaiting else query.state,
            kind=query.kind,
            requester=caller.subject if query.who == "me" else None,
            before=before,
            limit=_PIECE,
        )
        for row in piece:
            others = query.who == "others" and row.requester == caller.subject
            if not others and request_views.sees(policy, caller, row):
                yield row
        if len(piece) < _PIECE:
            return
        before = piece[-1].sequence


@router.get("/{request_id}", response_model=RequestView, responses=answers(examples.REQUEST_VIEW))
async def request_by_id(request: HttpRequest, caller: User, request_id: Id) -> Response:
    """Return a request with its votes, what it lacks, and what happened to it."""
    return await _shown(hub_of(request), caller, request_id)


@router.get(
    "/{request_id}/impact", response_model=RequestImpact, responses=answers(examples.REQUEST_IMPACT)
)
async def request_impact(request: HttpRequest, caller: User, request_id: Id) -> Response:
    """Say what the next cycle would do otherwise, by planning the present under both policies."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        row = await visible(hub, conn, caller, request_id)
    return body.reply(await request_views.impact(hub, row.asked(), caller))


@router.put(
    "/{request_id}",
    response_model=RequestView,
    openapi_extra=accepts(RequestEdit, examples.REQUEST_EDIT),
    responses=answers(examples.REQUEST_VIEW),
)
async def edit_request(request: HttpRequest, caller: User, request_id: Id) -> Response:
    """Replace what a request asks for; what was approved counts no more."""
    asked = await body.read(request, RequestEdit)
    hub = hub_of(request)
    async with _step(hub, caller, request_id) as step:
        await _check(hub, await hub.policies.current(step.conn), caller, asked.change)
        await steps.edit(step, Asked(asked.change, asked.reason))
    return await _shown(hub, caller, request_id)


@router.post(
    "/{request_id}/send", response_model=RequestView, responses=answers(examples.REQUEST_VIEW)
)
async def send_request(request: HttpRequest, caller: User, request_id: Id) -> Response:
    """Ask a draft's approvers. Twice is once."""
    hub = hub_of(request)
    async with _step(hub, caller, request_id) as step:
        await steps.send(step)
    return await _shown(hub, caller, request_id)


@router.post(
    "/{request_id}/decide",
    response_model=RequestView,
    openapi_extra=accepts(RequestDecision, examples.REQUEST_DECISION),
    responses=answers(examples.REQUEST_VIEW),
)
async def decide_request(request: HttpRequest, caller: User, request_id: Id) -> Response:
    """Approve or deny, with the digest of what was read; the last approval puts it in force."""
    asked = await body.read(request, RequestDecision)
    hub = hub_of(request)
    check_step_up(hub, caller)
    async with _step(hub, caller, request_id) as step:
        said = (asked.approve, asked.digest, asked.reason)
        vote = Vote(caller.subject, *said, step.now, caller.institution)
        changed = await steps.decide(step, vote)
    if changed:
        hub.wake.ring("cycle")
    return await _shown(hub, caller, request_id)


@router.post(
    "/{request_id}/apply", response_model=RequestView, responses=answers(examples.REQUEST_VIEW)
)
async def apply_request(request: HttpRequest, caller: User, request_id: Id) -> Response:
    """Put an approved request in force that did not fit the policy when it was approved."""
    hub = hub_of(request)
    check_step_up(hub, caller)
    async with _step(hub, caller, request_id) as step:
        changed = await steps.apply(step)
    if changed:
        hub.wake.ring("cycle")
    return await _shown(hub, caller, request_id)


@router.post(
    "/{request_id}/withdraw",
    response_model=RequestView,
    openapi_extra=accepts(RequestComment, examples.REQUEST_COMMENT),
    responses=answers(examples.REQUEST_VIEW),
)
async def withdraw_request(request: HttpRequest, caller: User, request_id: Id) -> Response:
    """Take one's own request back. Twice is once."""
    asked = await body.read(request, RequestComment)
    hub = hub_of(request)
    async with _step(hub, caller, request_id) as step:
        await steps.withdraw(step, asked.text)
    return await _shown(hub, caller, request_id)


@router.post(
    "/{request_id}/comment",
    response_model=RequestView,
    openapi_extra=accepts(RequestComment, examples.REQUEST_COMMENT),
    responses=answers(examples.REQUEST_VIEW),
)
async def comment_request(request: HttpRequest, caller: User, request_id: Id) -> Response:
    """Ask or answer something; it decides nothing."""
    asked = await body.read(request, RequestComment)
    hub = hub_of(request)
    async with _step(hub, caller, request_id) as step:
        await steps.comment(step, asked.text)
    return await _shown(hub, caller, request_id)


@asynccontextmanager
async def _step(hub: HubState, caller: Caller, request_id: str) -> AsyncIterator[Step]:
    """Open the one transaction of a step on a request that the caller may see."""
    async with hub.db.transaction() as conn:
        await visible(hub, conn, caller, request_id)
        yield Step(conn, who(caller), request_id, hub.clock.now())
    hub.wake.ring("notices")


async def visible(
    hub: HubState, conn: AsyncConnection, caller: Caller, request_id: str
) -> RequestRow:
    """Return a request that the caller may see.

    Raises:
        Refused: 404, it is not there, or not theirs to see.
    """
    row = await find_request(conn, request_id)
    policy = await hub.policies.current(conn)
    if row is None or not request_views.sees(policy, caller, row):
        raise no_such_request(request_id)
    return row


async def _shown(hub: HubState, caller: Caller, request_id: str, status: int = 200) -> Response:
    async with hub.db.reading() as conn:
        row = await visible(hub, conn, caller, request_id)
        policy = await hub.policies.current(conn)
        history = await history_of(conn, request_id)
    return body.reply(request_views.view(row, history, policy, caller, hub), status)
