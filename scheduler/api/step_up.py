"""Decisions ask for a sign-in that is recent, or strong, where the identity file says so.

How long ago is the issuer's own word (`auth_time`, which it must send once `max_age` was asked
for: OpenID Connect Core 1.0 §3.1.2.1), never how long ago the browser came back from it. A token
is no sign-in, so it decides on nothing where this is asked for; administrators' tokens are the
way for when all others are closed.
"""

from scheduler.api.auth import Caller
from scheduler.api.deps import HubState
from scheduler.errors import Refused
from scheduler.identity.settings import StepUp
from scheduler.wire.accounts import Scope

FIELD = "sign-in"
"""The field of the refusal, by which a page knows to lead to `/auth/start?again=1`."""


def check_step_up(hub: HubState, caller: Caller) -> None:
    """Refuse a decision after a sign-in that is too long ago, or too weak.

    Raises:
        Refused: 403, with the way to sign in again.
    """
    asked = hub.desk.file.step_up
    if asked is None or caller.scope is Scope.ADMIN:
        return
    if caller.session is None:
        raise _again(asked, "You came with a token, and a decision asks for a sign-in")
    if asked.assurance and asked.assurance.isdisjoint(caller.session.assurance.split()):
        words = caller.session.assurance or "nothing"
        raise _again(asked, f"Your sign-in says {words} of how you were recognised")
    if asked.within is not None:
        ago = hub.clock.now() - caller.session.auth_time
        if ago > asked.within:
            minutes = int(ago.total_seconds() // 60)
            raise _again(asked, f"You signed in {minutes} minutes ago, or it is not known when")


def _again(asked: StepUp, why: str) -> Refused:
    return Refused(
        title="Sign in again to decide",
        detail=f"{why}.",
        status=403,
        field=FIELD,
        limit=asked.sentence(),
        next_step="Sign in again in the browser (/auth/start?again=1), and decide there;"
        " nothing was changed.",
    )
