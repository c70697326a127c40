"""Linking: one person, whom two issuers know, says so signed in at both; a name never does.

Whoever is signed in leaves for another issuer with a state that is kept for this session, for
some minutes, and taken once. What comes back is of that session only, or of nobody. From then on
either identity signs in as the same user, each for its own institution.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import quote

import structlog
from fastapi import APIRouter
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scheduler.api import pages
from scheduler.api.arrivals import Arrival, begun_elsewhere, elsewhere
from scheduler.api.audited import BROWSER, identity_linked
from scheduler.api.cookies import check_origin, csrf_of, is_csrf, session_cookie
from scheduler.api.deps import HubState, alive_session, hub_of
from scheduler.api.forms import form_of, telling
from scheduler.api.leaving import AWAY_LASTS, arrival, new_leaving, send_away
from scheduler.core.audit import Who
from scheduler.core.claims import Asserted, NotAdmitted, admit, choices, read_claims
from scheduler.core.policy import Policy
from scheduler.db import audit
from scheduler.db.identities import (
    Identity,
    Subject,
    find_identity,
    identities_of,
    insert_linked,
    take_turn,
)
from scheduler.db.identity_links import begin_link, take_link
from scheduler.db.sessions import SessionRow, is_revoked
from scheduler.errors import Refused
from scheduler.identity.provider import Strength
from scheduler.identity.settings import Linking, StepUp

log = structlog.get_logger()
router = APIRouter(include_in_schema=False)
LINK = "link"
"""Of what a browser left with: the session that asked to link."""
ACCOUNT = "/account"
_PATH = "/auth/link"
_ANEW = "anew"
"""Of the address: whoever comes has just signed in once more for this."""

_BACK = (ACCOUNT, "Back to your account")
_told = telling(_BACK)


@router.get(_PATH)
@_told
async def ask(request: Request) -> Response:
    """Show where else somebody may sign in to be the same user; first anew, if it is long ago."""
    hub, secret = hub_of(request), session_cookie(request)
    row = await alive_session(request)
    if secret is None or row is None:
        return RedirectResponse(f"/auth/start?next={_PATH}", status_code=303)
    weak = _too_weak(hub, row)
    if weak is not None and _ANEW in request.query_params:
        raise weak
    if weak is not None:
        then = quote(f"{_PATH}?{_ANEW}=1", safe="/")
        return RedirectResponse(f"/auth/start?again=1&next={then}", status_code=303)
    doors = await open_doors(hub, row.user)
    return pages.page(
        "link",
        "Link another identity",
        form_to=tuple(sorted(await _targets(hub, doors))),
        user=row.user,
        by=_title(hub, row.issuer),
        doors=doors,
        csrf=csrf_of(secret),
    )


@router.post(_PATH)
@_told
async def leave(request: Request) -> Response:
    """Send whoever is signed in, not long ago, to the issuer that they chose."""
    hub = hub_of(request)
    check_origin(request, hub.desk)
    form, secret = await form_of(request), session_cookie(request)
    row = await alive_session(request)
    if secret is None or row is None:
        raise _signed_out()
    if not is_csrf(secret, form.get("csrf", "")):
        raise begun_elsewhere()
    weak, issuer, now = _too_weak(hub, row), form.get("issuer", ""), hub.clock.now()
    if weak is not None:
        raise weak
    if issuer not in dict(await open_doors(hub, row.user)):
        raise _not_there(hub, issuer)
    leaving = new_leaving()
    wanted = {"then": ACCOUNT, LINK: row.id}
    response = await send_away(hub, issuer, leaving, Strength(max_age=0), wanted)
    async with hub.db.transaction() as conn:
        await begin_link(conn, leaving.state, row.id, now, now + AWAY_LASTS)
    return response


async def finish(request: Request, value: Mapping[str, object]) -> Response:
    """Link who came back to whoever asked, or say on a page why not."""
    try:
        return await _finish(request, value)
    except Refused as refused:
        return pages.refusal(refused, _BACK)


async def _finish(request: Request, value: Mapping[str, object]) -> Response:
    """Link who came back, if the very session that asked is alive.

    Raises:
        Refused: the session is another or over; the link was taken; the identity is
            somebody else's, or of no use here; the sign-in there was long ago.
    """
    hub, row = hub_of(request), await alive_session(request)
    if row is None or row.id != value[LINK]:
        raise _signed_out()
    linking, now = _linking(hub, row), hub.clock.now()
    async with hub.db.transaction() as conn:
        if not await take_link(conn, str(value["state"]), row.id, now):
            raise begun_elsewhere()
    found = await arrival(hub, value, request.query_params)
    if now - found.auth_time > linking.within:
        raise _too_old(hub, found.subject.issuer, linking)
    policy = await hub.policy()
    said = _said(hub, policy, found, row.user)
    try:
        async with hub.db.transaction() as conn:
            await _link(conn, found, said, row, now)
    except IntegrityError as error:
        raise _just_now() from error
    return RedirectResponse(ACCOUNT, status_code=303)


async def _link(
    conn: AsyncConnection, found: Arrival, said: Asserted, row: SessionRow, now: datetime
) -> None:
    """Store the link with its audit row; the same link again is the same link.

    Raises:
        Refused: the session ended meanwhile; the identity is another user's, or a second one of
            its issuer.
    """
    await take_turn(conn)
    if await is_revoked(conn, row.id):
        raise _signed_out()
    subject, mine = found.subject, await identities_of(conn, row.user)
    known = await find_identity(conn, subject)
    if known is not None and known.user != row.user:
        raise _anothers(known)
    if known is None and any(one.iss == subject.iss for one in mine):
        raise _second(subject, row.user)
    if known is not None:
        return
    await insert_linked(conn, subject, said, found.assurance, now)
    by = Who(row.user, BROWSER, row.id)
    await audit.record(conn, [identity_linked(by, row.user, mine, subject, now)])
    log.info("identity_linked", user=row.user, issuer=subject.issuer)


def _said(hub: HubState, policy: Policy, found: Arrival, user: str) -> Asserted:
    """Return what the issuer says of whoever came back, as this user.

    Raises:
        Refused: 403, its claims name another user of the policy, lack something, or would let
            nobody in.
    """
    rules = hub.desk.rules(found.subject.issuer, policy)
    named = read_claims(rules, found.claims)
    if (
        isinstance(named, Asserted)
        and named.user != user
        and admit(policy, rules, named) is None
        and choices(policy, rules, named)
    ):
        raise _named(named.user, found.subject)
    said = read_claims(rules, found.claims, user)
    why = said if isinstance(said, NotAdmitted) else admit(policy, rules, said)
    if why is None and isinstance(said, Asserted) and not choices(policy, rules, said):
        why = elsewhere(said)
    if why is not None or isinstance(said, NotAdmitted):
        told = why or said
        raise Refused(
            title="It would let you in nowhere",
            detail=getattr(told, "reason", ""),
            status=403,
            next_step="Once an account of that organisation names you, link it then.",
        )
    return said


def _too_weak(hub: HubState, row: SessionRow) -> Refused | None:
    """Return why a sign-in does not do to link another: long ago, or by less than decisions ask.

    Raises:
        Refused: 403, nothing is linked to what the session's issuer says.
    """
    linking, step_up = _linking(hub, row), hub.desk.file.step_up
    if hub.clock.now() - row.auth_time > linking.within:
        return _too_old(hub, row.issuer, linking)
    if step_up is None or not step_up.assurance:
        return None
    weak = step_up.assurance.isdisjoint(row.assurance.split())
    return _by_less(step_up) if weak else None


async def open_doors(hub: HubState, user: str) -> tuple[tuple[str, str], ...]:
    """Return the issuers, with titles, at which somebody may link: where they are not known yet."""
    async with hub.db.reading() as conn:
        known = {one.iss for one in await identities_of(conn, user)}
    taken = {name for iss, name in hub.desk.issuers.items() if iss in known}
    doors = hub.desk.doors
    return tuple(door for door in doors if hub.desk.may_link(door[0]) and door[0] not in taken)


async def _targets(hub: HubState, doors: tuple[tuple[str, str], ...]) -> set[str]:
    """Return the origins to which the page's form may lead."""
    found = {await hub.desk.origin_of(name) for name, _ in doors}
    return {origin for origin in found if origin and origin != hub.desk.origin}


def _title(hub: HubState, issuer: str) -> str:
    return dict(hub.desk.doors).get(issuer, issuer)


def _linking(hub: HubState, row: SessionRow) -> Linking:
    """Return the rules, where this hub lets identities of the session's issuer be linked.

    Raises:
        Refused: 403.
    """
    linking = hub.desk.file.linking
    if linking is None or not hub.desk.may_link(row.issuer):
        raise Refused(
            title="Not linked here",
            detail=f"This hub links no other identity to one of {_title(hub, row.issuer)}.",
            status=403,
            field="linking",
            next_step="Its operator says in the identity file whose identities may be linked, or"
            " which users they are.",
        )
    return linking


def _too_old(hub: HubState, issuer: str, linking: Linking) -> Refused:
    minutes = int(linking.within / timedelta(minutes=1))
    title = _title(hub, issuer)
    return Refused(
        title="Not linked: sign in anew",
        detail=f"{title} says you signed in there more than {minutes} minutes ago, or does not say"
        " when.",
        status=403,
        field="auth_time",
        limit=f"{minutes} minutes",
        next_step=f"Sign out at {title}, and begin again; if it stays, tell the operator that it"
        " sends no auth_time.",
    )


def _by_less(step_up: StepUp) -> Refused:
    asked = " or ".join(sorted(step_up.assurance))
    return Refused(
        title="Not linked: sign in anew",
        detail=f"Linking asks for a sign-in recognised by {asked}, as decisions do.",
        status=403,
        field="assurance",
        limit=asked,
        next_step="Begin again, and sign in with that.",
    )


def _signed_out() -> Refused:
    return Refused(
        title="Not linked: the session is over",
        detail="The session that asked for this has ended meanwhile, or is not this browser's.",
        status=403,
        field="session",
        next_step="Sign in, and begin again on the page Account. Nothing was changed.",
    )


def _not_there(hub: HubState, issuer: str) -> Refused:
    return Refused(
        title="Not linked there",
        detail=f"You cannot link an identity of '{_title(hub, issuer)[:100]}': this hub does not"
        " take it for that, or knows you there already.",
        status=403,
        field="issuer",
        value=issuer[:100],
        next_step="Choose one that the page offers. To change which identity it is, unlink the"
        " present one first.",
    )


def _anothers(known: Identity) -> Refused:
    return Refused(
        title="Not linked: it is another user's",
        detail=f"That identity signs in here as '{known.user}' already.",
        status=409,
        field="identity",
        value=known.issuer,
        next_step=f"If '{known.user}' is you as well, sign in as '{known.user}' and unlink it, or"
        f" ask an operator: `commonpool admin forget-identity {known.user} --issuer"
        f" {known.issuer}`. Then link it here.",
    )


def _named(user: str, subject: Subject) -> Refused:
    return Refused(
        title="Not linked: it is another user's",
        detail=f"By the claims of that identity it is '{user}' who signs in with it.",
        status=409,
        field="identity",
        value=subject.issuer,
        next_step=f"If '{user}' is you as well, ask an operator which of the two users you are to"
        " be: the policy names both.",
    )


def _second(subject: Subject, user: str) -> Refused:
    return Refused(
        title="Not linked: you have one there",
        detail=f"This hub knows '{user}' at that issuer by another identity already.",
        status=409,
        field="identity",
        value=subject.issuer,
        next_step="Unlink that one on the page Account, then link this one.",
    )


def _just_now() -> Refused:
    return Refused(
        title="Not linked",
        detail="That identity, or another of that issuer, was linked at this very moment.",
        status=409,
        field="identity",
        next_step="See on the page Account what you have, and begin again.",
    )
