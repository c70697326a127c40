"""Who is signed in: the caller's own session, those of others for operators, and their ends."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body
from scheduler.api import examples_identity as examples
from scheduler.api.audited import who
from scheduler.api.auth import Caller
from scheduler.api.cookies import COOKIE, csrf_of, drop_cookie, session_cookie
from scheduler.api.deps import HubState, current_user, hub_of, idle_limit, require
from scheduler.api.openapi import answers
from scheduler.core.audit import Entry
from scheduler.core.model import Sector
from scheduler.core.policy import Policy
from scheduler.core.roles import Action, Actor, Role, may, roles_of
from scheduler.db import audit
from scheduler.db.sessions import SessionRow, list_sessions, revoke_session
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope
from scheduler.wire.identity import Kind, RolesOn, Session, SessionList, SessionView

router = APIRouter(prefix="/v1", tags=["identity"])
User = Annotated[Caller, Depends(current_user)]


@router.get("/session", response_model=Session, responses=answers(examples.SESSION))
async def session(
    request: Request, caller: Annotated[Caller, Depends(require(*Scope))]
) -> Response:
    """Say who the caller is, what they may do, and until when."""
    hub = hub_of(request)
    try:
        policy = await hub.policy()
    except Refused:
        policy = None  # A hub without a policy gives nobody a role; a token is one all the same.
    found = _session(hub, caller, policy)
    secret = session_cookie(request)
    if caller.kind is Kind.SESSION and secret is not None:
        found = found.model_copy(update={"csrf": csrf_of(secret)})
    return body.reply(found)


@router.delete("/session", status_code=204)
async def sign_out(request: Request, caller: User) -> Response:
    """End the session that asks. A token is revoked at `/v1/personal-tokens` instead."""
    if caller.session is None:
        raise Refused(
            title="No session",
            detail="You came with a token, which is no session.",
            status=400,
            field="Authorization",
            next_step="`commonpool logout`, or revoke the token.",
        )
    await _end(hub_of(request), caller.session.id, caller, own=True)
    response = Response(status_code=204)
    drop_cookie(response, COOKIE)
    return response


@router.get("/sessions", response_model=SessionList, responses=answers(examples.SESSION_LIST))
async def sessions(
    request: Request,
    caller: User,
    user: Annotated[
        str | None, Query(max_length=63, description="Another's, for operators; * is everybody's")
    ] = None,
) -> Response:
    """List sessions, newest first: the caller's own, or another's for an operator."""
    hub = hub_of(request)
    policy = await hub.policy()
    asked = user or caller.subject
    if asked != caller.subject:
        _must_manage(policy, caller)
    async with hub.db.reading() as conn:
        rows = await list_sessions(conn, None if asked == "*" else asked)
    return body.reply(SessionList(sessions=_views(hub, policy, rows, caller)))


@router.delete("/sessions/{session}", status_code=204)
async def end_session(
    request: Request,
    caller: User,
    session: Annotated[str, Path(max_length=16, examples=["3f9c1d7a5b0e2468"])],
) -> Response:
    """End a session, one's own or as an operator anybody's: its next click asks to sign in."""
    hub = hub_of(request)
    await _end(hub, session, caller, own=not _manages(await hub.policy(), caller))
    return Response(status_code=204)


async def _end(hub: HubState, session: str, caller: Caller, *, own: bool) -> None:
    user = caller.subject if own else None
    async with hub.db.transaction() as conn:
        now = hub.clock.now()
        ended = await revoke_session(conn, session, user, caller.subject, now)
        if ended:
            entry = Entry(now, who(caller), "session.end", f"session:{session}")
            await audit.record(conn, [entry])
    hub.callers.forget_all()
    if not ended:
        raise Refused(
            title="Not found",
            detail="There is no session of that id that is alive.",
            status=404,
            field="session",
            value=session,
            next_step="GET /v1/sessions lists yours.",
        )


def _must_manage(policy: Policy, caller: Caller) -> None:
    if not _manages(policy, caller):
        raise Refused(
            title="Not allowed",
            detail="Other people's sessions are for operators of the whole hub.",
            status=403,
            field="user",
            limit=caller.subject,
            next_step="Leave it out to see your own.",
        )


def _manages(policy: Policy, caller: Caller) -> bool:
    operates = may(policy, caller.actor, Action.REVOKE_SESSIONS)
    return caller.scope is Scope.ADMIN or (caller.manages and operates)


def _session(hub: HubState, caller: Caller, policy: Policy | None) -> Session:
    row = caller.session
    person = caller.scope is Scope.USER and policy is not None
    idle = timedelta(0) if row is None or policy is None else idle_limit(hub, policy, row)
    return Session(
        user=caller.subject,
        kind=caller.kind,
        id=caller.token_id,
        issuer=None if row is None else row.issuer,
        sector=None if row is None else Sector(row.sector),
        institution=caller.institution,
        email=_email(policy, caller.subject) if policy is not None and person else "",
        assurance=None if row is None else row.assurance,
        roles=_roles(policy, caller.actor) if policy is not None and person else (),
        actions=_actions(policy, caller.actor) if policy is not None and person else (),
        powers=None if caller.powers is None else tuple(sorted(caller.powers)),
        signed_in_at=None if row is None else row.auth_time,
        idle_until=None if row is None else min(row.seen_at + idle, row.ends_at),
        expires_at=caller.expires_at,
    )


def _roles(policy: Policy, actor: Actor) -> tuple[RolesOn, ...]:
    held = roles_of(policy, actor)
    return tuple(
        RolesOn(account=name, roles=tuple(role for role in Role if role in roles))
        for name, roles in held.items()
    )


def _actions(policy: Policy, actor: Actor) -> tuple[Action, ...]:
    return tuple(action for action in Action if may(policy, actor, action))


def _email(policy: Policy, user: str) -> str:
    return next((one.email for one in policy.users if one.name == user), "")


def _views(
    hub: HubState, policy: Policy, rows: Sequence[SessionRow], caller: Caller
) -> tuple[SessionView, ...]:
    now = hub.clock.now()
    return tuple(
        SessionView(
            id=row.id,
            user=row.user,
            issuer=row.issuer,
            institution=row.institution,
            created_at=row.created_at,
            seen_at=row.seen_at,
            ends_at=row.ends_at,
            user_agent=row.user_agent,
            current=caller.session is not None and caller.session.id == row.id,
            alive=row.alive(idle_limit(hub, policy, row), now),
        )
        for row in rows
    )
