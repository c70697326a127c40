"""The caller, and the tree of accounts."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples
from scheduler.api.auth import Caller
from scheduler.api.deps import current_user, hub_of, require
from scheduler.api.openapi import answers
from scheduler.core.policy import Policy
from scheduler.core.roles import memberships
from scheduler.db.accounts import account_views
from scheduler.db.policies import current_policy
from scheduler.wire.accounts import AccountList, Me, Scope

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.get("/me", response_model=Me, responses=answers(examples.ME))
async def me(request: Request, caller: Annotated[Caller, Depends(require(*Scope))]) -> Response:
    """Say whom the token speaks for: accounts and labels are the policy's."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        # A hub without a policy has members of nothing; that is not an error here.
        known = await current_policy(conn) is not None
        policy = await hub.policies.current(conn) if known else None
    return body.reply(me_of(caller, policy))


@router.get("/accounts", response_model=AccountList, responses=answers(examples.ACCOUNT_LIST))
async def accounts(request: Request, _: Annotated[Caller, Depends(current_user)]) -> Response:
    """List every account with its usage and share, parents before children."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        return body.reply(AccountList(accounts=await account_views(conn, policy, hub.clock.now())))


def me_of(caller: Caller, policy: Policy | None) -> Me:
    """Return whom a caller speaks for; without a policy, nobody's account."""
    is_user = policy is not None and caller.scope is Scope.USER
    accounts = memberships(policy, caller.actor) if policy else ()
    labels = [u.labels for u in policy.users if u.name == caller.subject] if policy else []
    return Me(
        subject=caller.subject,
        scope=caller.scope,
        accounts=accounts if is_user else (),
        labels=tuple(sorted(labels[0])) if is_user and labels else (),
        expires_at=caller.expires_at,
    )
