"""A session is for one institution: whoever belongs to two acts for the one they signed in for."""

from scheduler.api.auth import Caller
from scheduler.api.deps import HubState
from scheduler.core.model import AccountName
from scheduler.core.roles import Actor, institution, memberships
from scheduler.errors import Refused
from scheduler.wire.jobs import JobRequest


async def as_signed_in(hub: HubState, caller: Caller, asked: JobRequest) -> JobRequest:
    """Return a request with its account, where only the session says which of two it is.

    Raises:
        Refused: 403, the account belongs to another institution than the session.
    """
    if caller.institution is None:
        return asked
    policy = await hub.policy()
    own = memberships(policy, Actor(caller.subject))
    here = memberships(policy, caller.actor)
    if asked.account is not None and asked.account in own and asked.account not in here:
        raise Refused(
            title="Another institution",
            detail=f"You are signed in for {caller.institution}, and '{asked.account}' belongs to "
            f"{institution(policy, AccountName(asked.account))}.",
            status=403,
            field="account",
            value=asked.account,
            limit=", ".join(here) or None,
            next_step="Sign out, and sign in for that institution.",
        )
    if asked.account is None and len(here) == 1 and len(own) > 1:
        return asked.model_copy(update={"account": here[0]})
    return asked
