"""The door for CAC and PIV cards, on a host of its own.

A proxy there asks for the client certificate, verifies it, and passes on what it found in
headers, with a secret that only it and the hub know; headers without the secret are nobody's.
The answer goes back to the hub's own host as a sealed ticket that only the browser which
left with this state can use, within a minute.
"""

import hmac
import re
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scheduler.api.deps import HubState, hub_of
from scheduler.api.forms import told
from scheduler.errors import Refused
from scheduler.identity.desk import CALLBACK

log = structlog.get_logger()

router = APIRouter(include_in_schema=False)
SECRET, VERIFY = "x-cp-proxy-secret", "x-cp-client-verify"  # names of headers
EDIPI, SUBJECT = "x-cp-edipi", "x-cp-client-dn"
_TICKET_LASTS = timedelta(minutes=1)
_STATE = re.compile(r"[0-9a-f]{64}")


@router.get("/auth/cac")
@told
async def card(request: Request) -> Response:
    """Take a verified certificate from the proxy, and send the browser back with a ticket."""
    hub = hub_of(request)
    door, state = hub.desk.file.card, request.query_params.get("state", "")
    given = request.headers.get(SECRET, "").encode("utf-8", "replace")
    known = (hub.desk.card_secret or "").encode()
    if door is None or not known or not hmac.compare_digest(given, known):
        log.warning("card_headers_not_from_the_proxy", client=request.client and request.client[0])
        raise _refused("This address is served through the card proxy only.")
    if not _STATE.fullmatch(state):
        raise _refused("This sign-in was not begun at the sign-in page.")
    edipi = _edipi(request.headers, door.subjects)
    value = {"edipi": edipi, "state": state}
    ticket = hub.desk.sealer.seal("card", value, hub.clock.now(), _TICKET_LASTS)
    query = urlencode({"ticket": ticket, "state": state})
    return RedirectResponse(f"{hub.desk.public_url}{CALLBACK}?{query}", status_code=303)


def card_claims(hub: HubState, ticket: str, state: str) -> Mapping[str, object]:
    """Return what a ticket says, as claims.

    Raises:
        Refused: it is not ours, too old, or of another sign-in.
    """
    value = hub.desk.sealer.open("card", ticket, hub.clock.now())
    if value is None or value["state"] != state:
        raise _refused("What came back from the card door cannot be used, or came too late.")
    return {"edipi": str(value["edipi"])}


def _edipi(headers: Mapping[str, str], subjects: tuple[str, ...]) -> str:
    verified, subject = headers.get(VERIFY, ""), headers.get(SUBJECT, "")
    if verified != "SUCCESS":
        raise _refused(f"The proxy could not verify your certificate ({verified[:80] or 'none'}).")
    if not any(_ends(subject, end) for end in subjects):
        raise _refused(f"Certificates of '{subject[-100:]}' are not taken here.")
    edipi = headers.get(EDIPI, "")
    if not re.fullmatch(r"\d{10}", edipi, re.ASCII):
        raise _refused("Your certificate names no EDIPI (ten digits at the end of its name).")
    return edipi


def _ends(subject: str, end: str) -> bool:
    """Return whether a name (RFC 2253) has these last parts; an escaped comma parts nothing."""
    whole = subject == end or subject.endswith(f",{end}")
    return whole and not subject.endswith(f"\\,{end}")


def _refused(detail: str) -> Refused:
    return Refused(
        title="Your card was not taken",
        detail=detail,
        status=403,
        next_step="Begin at the sign-in page with the card inserted, and choose the certificate "
        "for authentication.",
    )
