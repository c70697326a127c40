"""Tokens, for admins: issue, list, revoke. A secret is in one answer and nowhere else."""

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
from scheduler.db import audit
from scheduler.db.tokens import issue_token, list_tokens, revoke_token, token_entry
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope, TokenIssued, TokenList, TokenRequest

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])
Admin = Annotated[Caller, Depends(require(Scope.ADMIN))]


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
    hub.tokens.forget_all()
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
