"""Tokens and sessions of the fake hub's people, one of each kind."""

from datetime import timedelta
from typing import Annotated

from fastapi import Depends
from fastapi.responses import Response

from scheduler.wire.identity import (
    IdentityList,
    IdentityView,
    PersonalTokenIssued,
    PersonalTokenList,
    PersonalTokenRequest,
    PersonalTokenView,
    Power,
    SessionList,
    SessionView,
)
from tests.portal.refusals import Refuse

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/17.4 Safari/605.1.15"
)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def tokens(now):
    """Return dana's: one that works, one never used, one revoked, one that ended."""

    def token(number, name, power, made, ends, used=None, *, revoked=False):  # noqa: PLR0913
        return PersonalTokenView(
            id=f"t0ke{number:012d}",
            user="dana",
            name=name,
            powers=(power,),
            created_at=now - made,
            expires_at=now + ends,
            last_used_at=used and now - used,
            revoked=revoked,
        )

    return {
        one.id: one
        for one in (
            token(1, "dana@login-1", Power.JOBS, 2 * DAY, 28 * DAY, timedelta(minutes=4)),
            token(2, "dashboard of *arl*", Power.READ, 9 * DAY, 81 * DAY),
            token(3, "old sweep", Power.JOBS, 40 * DAY, -10 * DAY, 12 * DAY),
            token(4, "lost laptop", Power.MANAGE, 6 * DAY, 20 * DAY, 5 * DAY, revoked=True),
        )
    }


def sessions(now):
    """Return dana's: this one, another that lives, and one that idled out."""

    def session(name, agent, begun, seen, *, current=False, alive=True):
        return SessionView(
            id=name,
            user="dana",
            issuer="development",
            institution="arl",
            created_at=now - begun,
            seen_at=now - seen,
            ends_at=now - begun + 12 * HOUR,
            user_agent=agent,
            current=current,
            alive=alive,
        )

    found = (
        session("5e55000000000001", FIREFOX, HOUR, timedelta(seconds=2), current=True),
        session("5e55000000000002", SAFARI, 3 * HOUR, timedelta(minutes=9)),
        session("5e55000000000003", FIREFOX, 9 * HOUR, 8 * HOUR, alive=False),
    )
    return {one.id: one for one in found}


def linked(now):
    """Return dana's: the laboratory's, by which this session is, and a university's, linked."""

    def identity(issuer, title, sector, institution, first, linked_at=None):
        return IdentityView(
            issuer=issuer,
            title=title,
            user="dana",
            sector=sector,
            institution=institution,
            first_seen_at=now - first,
            verified_at=now - HOUR,
            linked_at=linked_at,
            current=linked_at is None,
            usable=True,
        )

    found = (
        identity("development", "Development sign-in", "dod", "arl", 90 * DAY),
        identity("state-u", "State *University*", "academic", "state-u", 3 * DAY, now - 3 * DAY),
    )
    return {one.issuer: one for one in found}


def serve(app, hub, caller):
    """Serve people's own tokens, sessions and identities."""
    _serve_tokens(app, hub, Annotated[str, Depends(caller)])
    _serve_sessions(app, hub, Annotated[str, Depends(caller)])
    _serve_identities(app, hub, Annotated[str, Depends(caller)])


def _serve_tokens(app, hub, who):

    @app.get("/v1/personal-tokens")
    def list_tokens(user: who) -> PersonalTokenList:
        return PersonalTokenList(
            tokens=tuple(one for one in hub.tokens.values() if one.user == user)
        )

    @app.post("/v1/personal-tokens", status_code=201)
    def make_token(user: who, asked: PersonalTokenRequest) -> PersonalTokenIssued:
        fields = {
            "id": f"new{len(hub.tokens):013d}",
            "user": user,
            "name": asked.name,
            "powers": asked.powers,
            "expires_at": hub.now + asked.expires_in_days * DAY,
        }
        made = PersonalTokenView(created_at=hub.now, last_used_at=None, revoked=False, **fields)
        hub.tokens = {made.id: made, **hub.tokens}
        return PersonalTokenIssued(token=f"cp_pat_{'x' * 43}{len(hub.tokens):08x}", **fields)

    @app.delete("/v1/personal-tokens/{token}", status_code=204)
    def revoke(user: who, token: str) -> Response:
        found = hub.tokens.get(token)
        if found is None or found.user != user or found.revoked:
            raise Refuse(404, "Not found", "You have no personal token of that id.")
        hub.tokens[token] = found.model_copy(update={"revoked": True})
        return Response(status_code=204)


def _serve_sessions(app, hub, who):
    @app.get("/v1/sessions")
    def list_sessions(user: who) -> SessionList:
        return SessionList(sessions=tuple(one for one in hub.sessions.values() if one.user == user))

    @app.delete("/v1/sessions/{session}", status_code=204)
    def end(user: who, session: str) -> Response:
        found = hub.sessions.get(session)
        if found is None or found.user != user or not found.alive:
            raise Refuse(404, "Not found", "There is no session of that id that is alive.")
        hub.sessions[session] = found.model_copy(update={"alive": False})
        if found.current:
            hub.signed_out.add(user)
        return Response(status_code=204)


def _serve_identities(app, hub, who):
    @app.get("/v1/identities")
    def list_identities(user: who) -> IdentityList:
        mine = tuple(one for one in hub.identities.values() if one.user == user)
        return IdentityList(identities=mine, may_link=hub.may_link if mine else ())

    @app.delete("/v1/identities/{user}/{issuer}", status_code=204)
    def unlink(caller: who, user: str, issuer: str) -> Response:
        if caller != user or issuer not in hub.identities:
            raise Refuse(404, "Not found", f"'{user}' has no identity of '{issuer}' here.")
        if len(hub.identities) == 1:
            raise Refuse(409, "It is the last one", "Without it you could sign in nowhere.")
        del hub.identities[issuer]
        return Response(status_code=204)
