"""Requests of the fake hub's people, as a list of them tells."""

from datetime import timedelta
from typing import Annotated

from fastapi import Depends

from scheduler.core.approvals import RequestState
from scheduler.core.request_kinds import RequestKind
from scheduler.wire.requests import RequestLine, RequestPage


def line(now, name, requester="dana", *, awaits=False, **more):
    """Return a budget that somebody asked for."""
    fields = {
        "kind": RequestKind.BUDGET,
        "account": "arl-vision",
        "state": RequestState.OPEN,
        "title": "Budget vision-2027 of 5,000 H100e-hours",
        "created_at": now - timedelta(hours=3),
        "expires_at": now + timedelta(days=6),
        "standing": "1 of 2 approvals",
        **more,
    }
    return RequestLine(id=name, requester=requester, awaits_you=awaits, **fields)


def narrowed(hub, user, awaiting=None, who=None, state=None):
    """Return those of a list, as its query asks."""
    return [
        one
        for one in hub.asked
        if (awaiting is None or one.awaits_you)
        and (who is None or (one.requester == user) is (who == "me"))
        and state in (None, one.state)
    ]


def serve(app, hub, caller):
    """Serve the list, narrowed as the portal asks for it."""

    @app.get("/v1/requests")
    def asked(
        user: Annotated[str, Depends(caller)],
        awaiting: str | None = None,
        who: str | None = None,
        state: str | None = None,
        limit: int = 50,
    ) -> RequestPage:
        found = narrowed(hub, user, awaiting, who, state)
        return RequestPage(
            requests=tuple(found[:limit]), next=str(limit) if found[limit:] else None
        )
