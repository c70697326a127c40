"""Who is at the fake hub: sessions as the portal brings them, and a door without an issuer."""

from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import Response

from portal.gate.gate import COOKIE
from scheduler.core.roles import Role
from scheduler.wire.accounts import Me
from scheduler.wire.identity import Kind, RolesOn, Session
from tests.portal import busy_day, operated_days


def serve(app, hub, caller):
    """Serve who somebody is, and the pages of a sign-in."""
    who = Annotated[str, Depends(caller)]

    @app.get("/v1/session")
    def session(user: who, authorization: Annotated[str, Header()] = "") -> Session:
        signed_in = "cp_session_" in authorization
        account = busy_day.PEOPLE[user][0]
        return Session(
            user=user,
            kind=Kind.SESSION if signed_in else Kind.TOKEN,
            id=f"session-{user}",
            issuer="development" if signed_in else None,
            email=hub.emails.get(user, ""),
            roles=(RolesOn(account=account, roles=(Role.RESEARCHER,)),) if account else (),
            actions=operated_days.MAY if user in hub.operators else (),
        )

    @app.get("/auth/{page}")
    def sign_in_page(page: str, request: Request) -> Response:
        html = f"<h1>the hub's {page}</h1>{request.url.query}"
        response = Response(html, media_type="text/html")
        if page.startswith("as-"):  # as after a sign-in
            session = f"cp_session_{page.removeprefix('as-')}"
            response.set_cookie(COOKIE, session, secure=True, httponly=True, samesite="lax")
        return response

    @app.get("/v1/me")
    def me(user: who) -> Me:
        return hub.me(user)
