"""What a `Hub` is asked about the person's own tokens and sessions."""

from urllib.parse import quote

import httpx

from portal.client.hub import Hub, HubProblem
from scheduler.wire.identity import (
    IdentityList,
    IdentityView,
    PersonalTokenIssued,
    PersonalTokenList,
    PersonalTokenRequest,
    SessionList,
)

_TOKENS, _SESSIONS = "/v1/personal-tokens", "/v1/sessions"
_IDENTITIES = "/v1/identities"


def my_tokens(hub: Hub) -> PersonalTokenList:
    """Return every token that the caller ever made, newest first."""
    return hub.ask(PersonalTokenList, _TOKENS)


def make_token(hub: Hub, asked: PersonalTokenRequest) -> PersonalTokenIssued:
    """Make a token of the caller's own; its secret is in this answer and nowhere else."""
    return hub.tell(PersonalTokenIssued, _TOKENS, asked)


def revoke_token(hub: Hub, token: str) -> None:
    """End a token of the caller's; one that has ended is as it should be."""
    _end(hub, f"{_TOKENS}/{quote(token, safe='')}")


def my_sessions(hub: Hub) -> SessionList:
    """Return the caller's sign-ins, newest first."""
    return hub.ask(SessionList, _SESSIONS)


def end_session(hub: Hub, session: str) -> None:
    """End a session of the caller's; one that has ended is as it should be."""
    _end(hub, f"{_SESSIONS}/{quote(session, safe='')}")


def my_identities(hub: Hub, user: str = "") -> IdentityList:
    """Return the issuers that know the caller; an operator may ask for another `user`."""
    return hub.ask(IdentityList, f"{_IDENTITIES}?user={quote(user)}" if user else _IDENTITIES)


def unlink_identity(hub: Hub, identity: IdentityView) -> None:
    """Unlink an identity; one that is gone is as it should be.

    Raises:
        HubProblem: it is the last one, or the hub refuses otherwise.
    """
    _end(hub, f"{_IDENTITIES}/{quote(identity.user, safe='')}/{quote(identity.issuer, safe='')}")


def _end(hub: Hub, path: str) -> None:
    try:
        hub.call("DELETE", path)
    except HubProblem as problem:
        if problem.status != httpx.codes.NOT_FOUND:
            raise
