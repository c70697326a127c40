"""Who is calling: the token or session of a request, and what it may be used for.

A token comes as `Authorization: Bearer`, as the password of `Authorization: Basic`
(a `~/.netrc` entry makes Ray's client do that), or as `X-Ray-Authorization`.
Who is behind one is looked up in `callers.py`. People who signed in
come with a session's cookie, or the portal brings it for them as a Bearer token.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from scheduler.core.model import AccountName
from scheduler.core.policy import Policy
from scheduler.core.roles import ALLOWED, Action, Actor, elsewhere, may, root
from scheduler.db.jobs import Owner
from scheduler.db.personal_tokens import NOT_KNOWN, MadeBy, PersonalRow
from scheduler.db.sessions import SessionRow
from scheduler.db.tokens import TokenRow
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope
from scheduler.wire.identity import Kind, Power

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a valid token or session speaks for.

    `made_by` is the sign-in that a personal token comes from.
    `sees_all` and `ends_all` are about other people's jobs, and `elsewhere` are accounts whose
    jobs are not the subject's in this session: of another institution of theirs. `powers` are
    those of a personal token, None for whoever may do all that the subject may.
    """

    subject: str
    scope: Scope
    token_id: str
    expires_at: datetime | None = None
    kind: Kind = Kind.TOKEN
    powers: frozenset[Power] | None = None
    session: SessionRow | None = None
    sees_all: bool = False
    ends_all: bool = False
    made_by: MadeBy = NOT_KNOWN
    elsewhere: frozenset[AccountName] = frozenset()

    @property
    def sees(self) -> Owner | None:
        """Return whose jobs the caller may see; None is everyone's."""
        return None if self.scope is Scope.ADMIN or self.sees_all else self._own

    @property
    def own(self) -> Owner | None:
        """Return whose jobs are the caller's own, whatever roles show besides.

        None is everyone's: an administrator's token is nobody, and has none of its own.
        """
        return None if self.scope is Scope.ADMIN else self._own

    @property
    def ends(self) -> Owner | None:
        """Return whose jobs the caller may end or forget; None is everyone's."""
        return None if self.scope is Scope.ADMIN or self.ends_all else self._own

    def sees_job(self, user: str, account: str) -> bool:
        """Return whether the caller may see a job of a user, of an account."""
        return self.sees is None or self.sees.owns(user, account)

    @property
    def _own(self) -> Owner:
        return Owner(self.subject, self.elsewhere)

    @property
    def manages(self) -> bool:
        """Return whether the caller may use all its roles; few personal tokens may."""
        return self.powers is None or Power.MANAGE in self.powers

    @property
    def institution(self) -> str | None:
        """Return the institution for which the caller signed in, or the token was made.

        None binds to none.
        """
        return self.signed_in.institution

    @property
    def signed_in(self) -> MadeBy:
        """Return the sign-in that is behind the caller, and behind the tokens that it makes."""
        row = self.session
        return self.made_by if row is None else MadeBy(row.institution, row.iss)

    @property
    def actor(self) -> Actor:
        """Return who acts, for which institution: what roles are asked of."""
        return Actor(self.subject, self.institution)


def secret_of(headers: Mapping[str, str]) -> str | None:
    """Return the token that a request carries, or None.

    Raises:
        Refused: the header is there, but is neither Bearer nor Basic with a password.
    """
    header = headers.get("authorization") or headers.get("x-ray-authorization")
    if not header:
        return None
    scheme, _, rest = header.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip()
        case "basic":
            return _basic_password(rest.strip())
        case _:
            raise unauthorized("The Authorization header is neither Bearer nor Basic.")


def caller_of(row: TokenRow | None, now: datetime) -> Caller:
    """Return the caller of a token that was found.

    Raises:
        Refused: 401, unknown, revoked or expired, with the next step.
    """
    if row is None:
        raise unauthorized("The token is not known to this hub, or was revoked.")
    if row.expires_at is not None and row.has_expired(now):
        raise unauthorized(f"The token expired at {row.expires_at:%Y-%m-%d %H:%M:%S} UTC.")
    return Caller(row.subject, Scope(row.scope), row.id, row.expires_at)


def caller_of_session(row: SessionRow, policy: Policy) -> Caller:
    """Return the caller of a session that is alive."""
    actor = Actor(row.user, row.institution)
    return Caller(
        row.user,
        Scope.USER,
        row.id,
        row.ends_at,
        kind=Kind.SESSION,
        session=row,
        elsewhere=elsewhere(policy, actor),
        sees_all=may(policy, actor, Action.SEE_JOBS),
        ends_all=may(policy, actor, Action.CANCEL_JOB),
    )


def caller_of_personal(row: PersonalRow | None, policy: Policy, now: datetime) -> Caller:
    """Return the caller of a personal token that was found.

    Raises:
        Refused: 401, unknown, revoked, expired, or of nobody whom the policy knows.
    """
    if row is None:
        raise unauthorized("The personal token is not known to this hub, or was revoked.")
    check_is_known(row.user, policy)
    if row.expires_at <= now:
        raise unauthorized(f"The personal token expired at {row.expires_at:%Y-%m-%d %H:%M} UTC.")
    actor = Actor(row.user, row.institution)
    return Caller(
        row.user,
        Scope.USER,
        row.id,
        row.expires_at,
        kind=Kind.PERSONAL,
        powers=row.powers,
        made_by=MadeBy(row.institution, row.iss),
        elsewhere=elsewhere(policy, actor),
        sees_all=Power.MANAGE in row.powers and may(policy, actor, Action.SEE_JOBS),
        ends_all=Power.MANAGE in row.powers and may(policy, actor, Action.CANCEL_JOB),
    )


def unauthorized(detail: str) -> Refused:
    """Return the refusal of a caller whose token is missing or not valid."""
    return Refused(
        title="Not authenticated",
        detail=detail,
        status=401,
        field="Authorization",
        next_step=(
            "Sign in (`commonpool login`), or ask an admin for a token (`commonpool token create`)"
            " and send it as `Authorization: Bearer <token>`."
        ),
    )


def is_known(user: str, policy: Policy) -> bool:
    """Return whether the policy has somebody still: whoever it dropped is nobody here."""
    return any(known.name == user for known in policy.users)


def check_is_known(user: str, policy: Policy) -> None:
    """Refuse whom the policy does not have any more.

    Raises:
        Refused: 401.
    """
    if not is_known(user, policy):
        raise session_ended(f"The policy knows no user '{user}' any more.")


def session_ended(detail: str) -> Refused:
    """Return the refusal of a session that is over."""
    return Refused(
        title="Session ended",
        detail=detail,
        status=401,
        field="session",
        next_step="Sign in again: /auth/start.",
    )


def wrong_scope(caller: Caller, scopes: tuple[Scope, ...]) -> Refused:
    """Return the refusal of a valid token that is for something else."""
    wanted = " or ".join(scopes)
    return Refused(
        title="Wrong scope",
        detail=f"This needs a token of scope {wanted}; yours is of scope {caller.scope}.",
        status=403,
        field="Authorization",
        value=caller.scope,
        limit=wanted,
        next_step=f"Use a token made with `commonpool token create --scope {scopes[0]}`.",
    )


def missing_role(caller: Caller, action: Action, policy: Policy) -> Refused:
    """Return the refusal of somebody whose roles do not allow an action on the whole hub."""
    roles = " or ".join(sorted(ALLOWED[action]))
    whole = root(policy)
    people = sorted(user.name for user in policy.users if may(policy, Actor(user.name), action))
    who = f"Who may: {', '.join(people[:5])}. " if people else ""
    needs = f"the role {roles} on the account above all others" if roles else "an admin's token"
    return Refused(
        title="Not allowed",
        detail=f"To {action.value.replace('_', ' ')} needs {needs}; {caller.subject} has it not.",
        status=403,
        field="role",
        value=caller.subject,
        limit=roles or "admin",
        next_step=f"{who}The policy gives roles: ask for one on {whole} with a request for"
        " members.",
    )


def missing_power(caller: Caller, needed: Power) -> Refused:
    """Return the refusal of a personal token that is for less than its owner may."""
    powers = ", ".join(sorted(caller.powers or (Power.READ, Power.JOBS)))
    return Refused(
        title="Not allowed",
        detail=f"This token is for {powers}, and this needs {needed}.",
        status=403,
        field="powers",
        value=powers,
        limit=needed,
        next_step="Make a token that has it: `commonpool token create --mine`.",
    )


def _basic_password(encoded: str) -> str:
    try:
        decoded = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise unauthorized("The Basic credentials are not valid base64 of user:token.") from None
    return decoded.partition(":")[2]
