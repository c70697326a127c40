"""Who one is at each issuer: what is linked, and what ends when it is unlinked or forgotten."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body
from scheduler.api import examples_identity as examples
from scheduler.api.audited import who
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, current_user, hub_of, require
from scheduler.api.linking import open_doors
from scheduler.api.openapi import answers
from scheduler.core.audit import Entry
from scheduler.core.model import Sector
from scheduler.core.roles import Action, may
from scheduler.db import audit
from scheduler.db.devices import forget_answers
from scheduler.db.identities import (
    Identity,
    forget_identities,
    forget_identity,
    identities_of,
    take_turn,
)
from scheduler.db.personal_tokens import revoke_personal_of
from scheduler.db.sessions import revoke_all
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope
from scheduler.wire.identity import IdentityList, IdentityView

router = APIRouter(prefix="/v1/identities", tags=["identity"])
User = Annotated[Caller, Depends(current_user)]
Name = Annotated[str, Path(max_length=63, examples=["alex"])]


@router.get("", response_model=IdentityList, responses=answers(examples.IDENTITY_LIST))
async def identities(
    request: Request,
    caller: User,
    user: Annotated[
        str | None, Query(max_length=63, description="Another's, for operators")
    ] = None,
) -> Response:
    """List the issuers that know the caller, and those whose identity the caller may link."""
    hub = hub_of(request)
    asked = user or caller.subject
    if asked != caller.subject and not await _operates(hub, caller):
        raise _nobody(asked)
    async with hub.db.reading() as conn:
        found = await identities_of(conn, asked)
    row = caller.session
    here = row is not None and row.user == asked and hub.desk.may_link(row.issuer)
    doors = await open_doors(hub, asked) if here else ()
    return body.reply(
        IdentityList(
            identities=tuple(_view(hub, one, caller) for one in found),
            may_link=tuple(title for _, title in doors),
        )
    )


@router.delete("/{user}", status_code=204)
async def forget(
    request: Request,
    caller: Annotated[Caller, Depends(require(Scope.ADMIN, action=Action.MANAGE_TOKENS))],
    user: Name,
) -> Response:
    """Forget which subjects of which issuers a user is; end their sessions and personal tokens.

    The next sign-in that names the user, and may, is believed: for somebody whose organisation
    gave them another subject, or whose name went to somebody else.
    """
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        await take_turn(conn)
        before = await identities_of(conn, user)
        await forget_identities(conn, user)
        after = await _ended(hub, conn, caller, user, None)
        if before or any(after.values()):
            await audit.record(conn, [_entry(hub, caller, "forget", before, after, user)])
    hub.callers.forget_all()
    if not before:
        raise _nobody(user)
    return Response(status_code=204)


@router.delete("/{user}/{issuer}", status_code=204)
async def unlink(
    request: Request,
    caller: User,
    user: Name,
    issuer: Annotated[str, Path(max_length=31, examples=["state-u"])],
) -> Response:
    """Unlink one of one's identities, never the last; its sessions and their tokens end with it.

    An operator unlinks anybody's, the last one too: it is then as `forget`, for one issuer.
    """
    hub = hub_of(request)
    operates = await _operates(hub, caller)
    if user != caller.subject and not operates:
        raise _nobody(user)
    async with hub.db.transaction() as conn:
        await take_turn(conn)
        before = await identities_of(conn, user)
        gone = next((one for one in before if one.issuer == issuer), None)
        if gone is None:
            raise _not_known(user, issuer)
        rest = [one for one in before if one is not gone]
        if user == caller.subject and not any(one.iss in hub.desk.issuers for one in rest):
            raise _the_last(hub, gone)
        await forget_identity(conn, user, gone.iss)
        ended = await _ended(hub, conn, caller, user, gone.iss)
        after = {"identities": [one.mark for one in rest], **ended}
        await audit.record(conn, [_entry(hub, caller, "unlink", before, after, user)])
    hub.callers.forget_all()
    return Response(status_code=204)


async def _operates(hub: HubState, caller: Caller) -> bool:
    operator = may(await hub.policy(), caller.actor, Action.MANAGE_TOKENS)
    return caller.scope is Scope.ADMIN or (caller.manages and operator)


async def _ended(
    hub: HubState, conn: AsyncConnection, caller: Caller, user: str, iss: str | None
) -> dict[str, int]:
    """End what sign-ins by an issuer began, by all of them where it is None; return how many."""
    now = hub.clock.now()
    await forget_answers(conn, user, iss)
    return {
        "sessions_ended": await revoke_all(conn, user, caller.subject, now, iss),
        "tokens_revoked": await revoke_personal_of(conn, user, now, iss),
    }


def _entry(  # what an audit row is made of
    hub: HubState,
    caller: Caller,
    word: str,
    before: Sequence[Identity],
    after: dict[str, object] | dict[str, int],
    user: str,
) -> Entry:
    return Entry(
        at=hub.clock.now(),
        who=who(caller, user),
        action=f"identity.{word}",
        object=f"user:{user}",
        before={"identities": [one.mark for one in before]},
        after={"identities": [], **after},
    )


def _view(hub: HubState, one: Identity, caller: Caller) -> IdentityView:
    row = caller.session
    return IdentityView(
        issuer=one.issuer,
        title=dict(hub.desk.doors).get(hub.desk.issuers.get(one.iss, ""), one.issuer),
        user=one.user,
        sector=Sector(one.sector),
        institution=one.institution,
        first_seen_at=one.first_seen_at,
        verified_at=one.verified_at,
        linked_at=one.linked_at,
        current=row is not None and (row.user, row.iss) == (one.user, one.iss),
        usable=one.iss in hub.desk.issuers,
    )


def _nobody(user: str) -> Refused:
    return Refused(
        title="Not found",
        detail="No issuer's subject is known as that user, or it is not yours to see.",
        status=404,
        field="user",
        value=user,
        next_step="Whoever never signed in has no identity here.",
    )


def _not_known(user: str, issuer: str) -> Refused:
    return Refused(
        title="Not found",
        detail=f"'{user}' has no identity of '{issuer}' here.",
        status=404,
        field="issuer",
        value=issuer,
        next_step="GET /v1/identities lists yours: `commonpool identity list`.",
    )


def _the_last(hub: HubState, gone: Identity) -> Refused:
    return Refused(
        title="It is the last one",
        detail=f"Without your identity of {dict(hub.desk.doors).get(gone.issuer, gone.issuer)} you"
        " could sign in nowhere.",
        status=409,
        field="issuer",
        value=gone.issuer,
        next_step="Link another one first, on the page Account. To be signed out everywhere, end"
        " your sessions there.",
    )
