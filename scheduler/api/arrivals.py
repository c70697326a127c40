"""Somebody comes back from an issuer: from what it says of them to a session, or to a refusal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scheduler.api import pages
from scheduler.api.audited import BROWSER, identity_linked
from scheduler.api.cookies import COOKIE, drop_cookie, session_cookie, set_cookie
from scheduler.api.deps import HubState, hub_of
from scheduler.core.audit import Entry, Who
from scheduler.core.claims import Asserted, NotAdmitted, admit, choices, read_claims
from scheduler.core.model import AccountName, Sector
from scheduler.core.policy import Policy
from scheduler.db import audit
from scheduler.db.identities import (
    Identity,
    Subject,
    find_identity,
    identities_of,
    note_identity,
    other_subject,
    take_turn,
)
from scheduler.db.sessions import (
    SessionRow,
    SignedIn,
    find_session,
    open_session,
    revoke_session,
)
from scheduler.errors import Refused
from scheduler.identity.settings import DEVELOPMENT

log = structlog.get_logger()

CHOICE_COOKIE = "__Host-cp_institution"
CHOICE_LASTS = timedelta(minutes=10)
_COOKIE_BYTES = 3_500


@dataclass(frozen=True, slots=True)
class Arrival:
    """What an issuer said of somebody, checked; `then` is the page they wanted.

    `is_linked` says that who they are here was not read from their claims: they had said it.
    """

    subject: Subject
    claims: Mapping[str, object]
    assurance: str
    auth_time: datetime
    then: str
    is_linked: bool = False


async def arrive(request: Request, arrival: Arrival) -> Response:
    """Return the wanted page with a new session, or the question for which institution.

    Raises:
        Refused: 403, the policy does not let this person in, with the reason.
    """
    hub = hub_of(request)
    policy = await hub.policy()
    rules = hub.desk.rules(arrival.subject.issuer, policy)
    linked_to = await _linked_to(hub, arrival.subject)
    arrival = replace(arrival, is_linked=linked_to is not None)
    said = read_claims(rules, arrival.claims, linked_to)
    if isinstance(said, NotAdmitted):
        raise not_admitted(arrival.subject, said)
    await _admitted(hub, policy, arrival, said)
    found = choices(policy, rules, said)
    if not found:
        raise not_admitted(arrival.subject, elsewhere(said))
    if len(found) > 1:
        return _which(hub, arrival, said, found)
    return await begin_session(request, arrival, said, found[0])


async def chosen(request: Request, sealed: str, institution: str) -> Response:
    """Return the wanted page with a session for the institution that was chosen.

    Raises:
        Refused: the question is too old, or the institution was not in it.
    """
    hub = hub_of(request)
    value = hub.desk.sealer.open("institution", sealed, hub.clock.now())
    if value is None or institution not in _texts(value["institutions"]):
        raise begun_elsewhere()
    arrival, said = _arrival_of(value)
    # Minutes have gone by: the policy may have changed.
    policy = await hub.policy()
    await _admitted(hub, policy, arrival, said)
    if institution not in choices(policy, hub.desk.rules(arrival.subject.issuer, policy), said):
        raise begun_elsewhere()
    response = await begin_session(request, arrival, said, AccountName(institution))
    drop_cookie(response, CHOICE_COOKIE)
    return response


def begun_elsewhere() -> Refused:
    """Return the refusal of an answer to no question of this browser's."""
    return Refused(
        title="Sign-in not begun here",
        detail="This sign-in was begun in another browser, or more than ten minutes ago.",
        status=400,
        next_step="Begin again.",
    )


async def _admitted(hub: HubState, policy: Policy, arrival: Arrival, said: Asserted) -> None:
    """Hold a person against the policy, and against who they were before.

    Raises:
        Refused: 403; 400, they were somebody by a link that is gone.
    """
    refused = admit(policy, hub.desk.rules(arrival.subject.issuer, policy), said)
    if refused is not None:
        raise not_admitted(arrival.subject, refused)
    async with hub.db.reading() as conn:
        await _as_known(hub, conn, arrival, said)


async def _as_known(
    hub: HubState, conn: AsyncConnection, arrival: Arrival, said: Asserted
) -> Sequence[Identity]:
    """Hold a person against who they were before; return who that user is at every issuer.

    Raises:
        Refused: 403; 400, they were somebody by a link that is gone.
    """
    subject, refused = arrival.subject, None
    rules = hub.desk.rules(subject.issuer, await hub.policies.current(conn))
    known = await find_identity(conn, subject)
    theirs = await identities_of(conn, said.user)
    if arrival.is_linked and (known is None or known.linked_at is None):
        raise begun_elsewhere()
    if known is not None and known.user != said.user:
        before = f"you as '{known.user}', and your organisation now calls you"
        refused = _somebody_else(before, said)
    elif await other_subject(conn, subject, said.user):
        refused = _somebody_else("another person as", said)
    elif known is None and not rules.user.is_said:
        refused = _by_name_alone(hub, subject, theirs)
    if refused is not None:
        raise not_admitted(subject, refused)
    return theirs


async def _linked_to(hub: HubState, subject: Subject) -> str | None:
    """Return the user to whom a subject was linked by its person; None: its claims say who."""
    async with hub.db.reading() as conn:
        known = await find_identity(conn, subject)
    return None if known is None or known.linked_at is None else known.user


def _somebody_else(before: str, said: Asserted) -> NotAdmitted:
    return NotAdmitted(
        f"This hub knows {before} '{said.user}'.",
        "An operator can make it forget who that was: "
        f"`commonpool admin forget-identity {said.user}`.",
    )


def _by_name_alone(
    hub: HubState, subject: Subject, theirs: Sequence[Identity]
) -> NotAdmitted | None:
    """Return why a name alone makes nobody a second identity: two issuers may have one name."""
    usable = hub.desk.issuers
    before = [one for one in theirs if one.issuer != DEVELOPMENT and one.iss in usable]
    if subject.issuer == DEVELOPMENT or not before:
        return None
    title = dict(hub.desk.doors)[usable[before[0].iss]]
    return NotAdmitted(
        f"This hub knows '{before[0].user}' by {title}, and does not take the same name elsewhere "
        "for the same person.",
        f"Sign in with {title}, and link this identity on the page Account."
        if hub.desk.may_link(subject.issuer) and hub.desk.may_link(usable[before[0].iss])
        else f"Sign in with {title}; or have an operator write into the identity file who you are.",
    )


def elsewhere(said: Asserted) -> NotAdmitted:
    """Return the refusal of somebody who is of no institution here that the issuer names."""
    return NotAdmitted(
        f"Your organisation says you belong to {', '.join(said.institutions)}, and this "
        f"hub knows '{said.user}' elsewhere.",
        "Sign in with the issuer of the organisation that this hub knows you by.",
    )


def not_admitted(subject: Subject, why: NotAdmitted) -> Refused:
    """Return the refusal of a sign-in, which the log has too."""
    log.warning("sign_in_refused", issuer=subject.issuer, sub=subject.sub, why=why.reason)
    return Refused("You cannot sign in here", why.reason, status=403, next_step=why.next_step)


def _which(
    hub: HubState, arrival: Arrival, said: Asserted, found: Sequence[AccountName]
) -> Response:
    if hub.desk.file.several_institutions == "refuse":
        raise not_admitted(
            arrival.subject,
            NotAdmitted(
                f"You belong to {' and '.join(found)} here, and this hub signs nobody in for two.",
                "Ask the lead of one of them to end your membership there.",
            ),
        )
    value = _plain(arrival, said, found)
    sealed = hub.desk.sealer.seal("institution", value, hub.clock.now(), CHOICE_LASTS)
    if len(sealed) > _COOKIE_BYTES:  # Of many teams; the next sign-in with one choice has them.
        value |= {"teams": [], "attributes": []}
        sealed = hub.desk.sealer.seal("institution", value, hub.clock.now(), CHOICE_LASTS)
    response = pages.page("institution", "For which institution?", institutions=found)
    set_cookie(response, CHOICE_COOKIE, sealed, int(CHOICE_LASTS.total_seconds()))
    return response


async def begin_session(
    request: Request, arrival: Arrival, said: Asserted, institution: AccountName
) -> Response:
    """Return the wanted page with a new session, in the place of the browser's old one.

    Raises:
        Refused: 403, another issuer named the user meanwhile; 400, the link is gone.
    """
    hub = hub_of(request)
    now, before = hub.clock.now(), session_cookie(request)
    signed_in = SignedIn(
        subject=arrival.subject,
        said=said,
        institution=institution,
        assurance=arrival.assurance,
        auth_time=min(arrival.auth_time, now),
        user_agent=request.headers.get("user-agent", ""),
    )
    replaced = None if before is None else await hub.callers.session(before)
    async with hub.db.transaction() as conn:
        # Once more, and now alone: another issuer may have named the same user meanwhile.
        await take_turn(conn)
        theirs = await _as_known(hub, conn, arrival, said)
        if not await note_identity(conn, arrival.subject, said, arrival.assurance, now):
            raise begun_elsewhere()
        secret = await open_session(conn, signed_in, now, hub.desk.file.sessions.absolute)
        if replaced is not None:
            await revoke_session(conn, replaced.id, None, said.user, now)
        begun = await find_session(conn, secret)
        if begun is not None:
            await audit.record(conn, _begun(begun, theirs, arrival, now))
    hub.callers.forget_all()
    log.info("signed_in", user=said.user, issuer=arrival.subject.issuer, institution=institution)
    response = RedirectResponse(arrival.then, status_code=303)
    set_cookie(response, COOKIE, secret)
    return response


def _begun(
    row: SessionRow, before: Sequence[Identity], arrival: Arrival, now: datetime
) -> list[Entry]:
    """Return what the audit log says of a sign-in: the session, and a subject that is new."""
    by, subject = Who(row.user, BROWSER, row.id), arrival.subject
    is_new = (subject.iss, subject.sub) not in {(one.iss, one.sub) for one in before}
    named = [identity_linked(by, row.user, before, subject, now)] if is_new else []
    after = {
        "issuer": arrival.subject.issuer,
        "institution": row.institution,
        "assurance": row.assurance,
    }
    return [*named, Entry(now, by, "session.begin", f"session:{row.id}", after=after)]


def _plain(arrival: Arrival, said: Asserted, found: Sequence[AccountName]) -> dict[str, object]:
    return {
        "subject": [arrival.subject.iss, arrival.subject.sub, arrival.subject.issuer],
        "user": said.user,
        "sector": said.sector.value,
        "institutions": list(found),
        "teams": list(said.teams),
        "attributes": [[name, list(values)] for name, values in said.attributes],
        "assurance": arrival.assurance,
        "auth_time": arrival.auth_time.timestamp(),
        "then": arrival.then,
        "is_linked": arrival.is_linked,
    }


def _arrival_of(value: Mapping[str, object]) -> tuple[Arrival, Asserted]:
    """Return what `_plain` wrote; it was sealed by us, so its shape holds."""
    said = Asserted(
        user=str(value["user"]),
        sector=Sector(str(value["sector"])),
        institutions=tuple(map(AccountName, _texts(value["institutions"]))),
        teams=_texts(value["teams"]),
        attributes=tuple(
            (str(name), _texts(values))
            for name, values in value["attributes"]  # type: ignore[attr-defined]  # ours
        ),
    )
    at = datetime.fromtimestamp(float(str(value["auth_time"])), UTC)
    subject = Subject(*_texts(value["subject"]))
    found = Arrival(subject, {}, str(value["assurance"]), at, str(value["then"]))
    return replace(found, is_linked=bool(value.get("is_linked"))), said


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
