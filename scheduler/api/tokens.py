"""Tokens, for admins: issue, list, revoke. A secret is in one answer and nowhere else.

An operator makes those of sites and agents only: one for a person, or an admin's, would let
them be somebody else, or more than the policy made them.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples
from scheduler.api.audited import who
from scheduler.api.auth import Caller
from scheduler.api.deps import hub_of, require
from scheduler.api.openapi import accepts, answers
from scheduler.core.audit import Entry
from scheduler.core.roles import Action
from scheduler.db import audit
from scheduler.db.tokens import issue_token, list_tokens, revoke_token, token_entry
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope, TokenIssued, TokenList, TokenRequest

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])
_AGENTS = (Scope.SITE, Scope.NODE)
Admin = Annotated[Caller, Depends(require(Scope.ADMIN, action=Action.MANAGE_TOKENS))]


@router.post(
    "",
    status_code=201,
    response_model=TokenIssued,
    openapi_extra=accepts(TokenRequest, examples.TOKEN_REQUEST),
    responses=answers(examples.TOKEN_ISSUED, 201, "Issued; the secret is shown this once"),
)
async def create_token(request: Request, caller: Admin) -> Response:
    """Issue a token."""
    asked = await body.read(request, TokenRequest)
    if caller.scope is not Scope.ADMIN and asked.scope not in _AGENTS:
        raise Refused(
            title="Not allowed",
            detail=f"An operator makes tokens for sites and agents, not of scope {asked.scope}.",
            status=403,
            field="scope",
            value=asked.scope,
            limit=", ".join(_AGENTS),
            next_step="People sign in, or make tokens of their own: `commonpool login`.",
        )
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        now = hub.clock.now()
        issued = await issue_token(conn, asked, now)
        await audit.record(conn, [token_entry(issued, who(caller), now)])
    return body.reply(issued, 201)


@router.get("", response_model=TokenList, responses=answers(examples.TOKEN_LIST))
async def tokens(request: Request, _: Admin) -> Response:
    """List every token ever issued, without secrets."""
    async with hub_of(request).db.reading() as conn:
        return body.reply(TokenList(tokens=await list_tokens(conn)))


@router.delete("/{token_id}", status_code=204)
async def delete_token(
    request: Request, caller: Admin, token_id: Annotated[str, Path(examples=["9f86d081884c7d65"])]
) -> Response:
    """Revoke a token: here at once, at other replicas of the hub within seconds."""
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        now = hub.clock.now()
        revoked = await revoke_token(conn, token_id, now)
        if revoked:
            entry = Entry(now, who(caller), "token.revoke", f"token:{token_id}")
            await audit.record(conn, [entry])
    hub.callers.forget_all()
    if not revoked:
        raise Refused(
            title="Not found",
            detail="There is no token of that id that still works.",
            status=404,
            field="token_id",
            value=token_id,
            next_step="`commonpool token list` shows the ids.",
        )
    return Response(status_code=204)
