"""Tokens that people make for themselves: for less than they may, and for at most 90 days."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body
from scheduler.api import examples_identity as examples
from scheduler.api.audited import token_made, who
from scheduler.api.auth import Caller, missing_power, session_ended
from scheduler.api.deps import current_user, hub_of
from scheduler.api.openapi import accepts, answers
from scheduler.core.audit import Entry
from scheduler.core.roles import Action, may
from scheduler.db import audit
from scheduler.db.personal_tokens import issue_personal, list_personal, revoke_personal
from scheduler.db.sessions import is_revoked
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope
from scheduler.wire.identity import (
    Kind,
    PersonalTokenIssued,
    PersonalTokenList,
    PersonalTokenRequest,
    Power,
)

router = APIRouter(prefix="/v1/personal-tokens", tags=["identity"])
User = Annotated[Caller, Depends(current_user)]


@router.post(
    "",
    status_code=201,
    response_model=PersonalTokenIssued,
    openapi_extra=accepts(PersonalTokenRequest, examples.PERSONAL_REQUEST),
    responses=answers(examples.PERSONAL_ISSUED, 201, "Issued; the secret is shown this once"),
)
async def create_personal_token(request: Request, caller: User) -> Response:
    """Make a token of one's own. A token makes none that may more, or lives longer, than itself."""
    asked = await body.read(request, PersonalTokenRequest)
    hub = hub_of(request)
    now = hub.clock.now()
    if caller.scope is not Scope.USER:
        raise _not_a_person(caller)
    _not_more(caller, asked)
    ends = now + timedelta(days=asked.expires_in_days)
    if caller.kind is not Kind.SESSION and caller.expires_at and ends > caller.expires_at:
        raise Refused(
            title="Not allowed",
            detail="A token makes none that lives longer than itself.",
            status=403,
            field="expires_in_days",
            value=str(asked.expires_in_days),
            limit=f"until {caller.expires_at:%Y-%m-%d %H:%M} UTC",
            next_step="Ask for fewer days, or sign in and make it there.",
        )
    async with hub.db.transaction() as conn:
        # Who is behind a cookie is kept for a moment; what is made now lives for weeks.
        if caller.session is not None and await is_revoked(conn, caller.session.id):
            raise session_ended("This session was ended.")
        issued = await issue_personal(conn, caller.subject, asked, now, caller.signed_in)
        await audit.record(conn, [token_made(issued, who(caller), now)])
    return body.reply(issued, 201)


@router.get("", response_model=PersonalTokenList, responses=answers(examples.PERSONAL_LIST))
async def personal_tokens(request: Request, caller: User) -> Response:
    """List every token that the caller ever made, newest first, without secrets."""
    async with hub_of(request).db.reading() as conn:
        return body.reply(PersonalTokenList(tokens=await list_personal(conn, caller.subject)))


@router.delete("/{token_id}", status_code=204)
async def delete_personal_token(
    request: Request,
    caller: User,
    token_id: Annotated[str, Path(max_length=16, examples=["5b0e24683f9c1d7a"])],
) -> Response:
    """Revoke a token, one's own or as an operator anybody's."""
    hub = hub_of(request)
    operates = may(await hub.policy(), caller.actor, Action.MANAGE_TOKENS)
    anybodys = caller.scope is Scope.ADMIN or (caller.manages and operates)
    user = None if anybodys else caller.subject
    async with hub.db.transaction() as conn:
        now = hub.clock.now()
        revoked = await revoke_personal(conn, token_id, user, now)
        if revoked:
            entry = Entry(now, who(caller), "token.revoke", f"token:{token_id}")
            await audit.record(conn, [entry])
    hub.callers.forget_all()
    if not revoked:
        raise Refused(
            title="Not found",
            detail="You have no personal token of that id that still works.",
            status=404,
            field="token_id",
            value=token_id,
            next_step="GET /v1/personal-tokens lists yours.",
        )
    return Response(status_code=204)


def _not_more(caller: Caller, asked: PersonalTokenRequest) -> None:
    """Refuse a token that may more than what makes it.

    Raises:
        Refused: 403.
    """
    if caller.kind is Kind.SESSION:
        return
    # A user's token is for people's endpoints alone, as it was before there were roles.
    most = caller.powers or frozenset({Power.READ, Power.JOBS})
    ranked = list(Power)
    highest = max(most, key=ranked.index)
    for power in asked.powers:
        if ranked.index(power) > ranked.index(highest):
            raise missing_power(caller, power)


def _not_a_person(caller: Caller) -> Refused:
    return Refused(
        title="Not a person",
        detail=f"A personal token is a person's; yours is of scope {caller.scope}.",
        status=403,
        field="Authorization",
        next_step="Sign in, or make a scoped token: `commonpool token create`.",
    )
