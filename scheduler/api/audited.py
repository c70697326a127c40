"""Who did it, for the audit log: the caller of a request, and for whom."""

from collections.abc import Sequence
from datetime import datetime

from scheduler.api.auth import Caller
from scheduler.core.audit import Entry, Who
from scheduler.db.identities import Identity, Subject, mark_of
from scheduler.wire.identity import PersonalTokenIssued

API = "api"
RAY = "ray"
BROWSER = "browser"
"""The hub's own sign-in pages."""


def who(caller: Caller, owner: str = "", source: str = API) -> Who:
    """Return the caller, on behalf of the `owner` of what is done where that is another."""
    return Who(caller.subject, source, caller.token_id, owner if owner != caller.subject else "")


def identity_linked(
    by: Who, user: str, before: Sequence[Identity], new: Subject, now: datetime
) -> Entry:
    """Return what the audit log says of a subject that is a user's from now on."""
    marks = [one.mark for one in before]
    after = {"identities": [*marks, mark_of(new)]}
    return Entry(now, by, "identity.link", f"user:{user}", {"identities": marks}, after)


def token_made(issued: PersonalTokenIssued, by: Who, now: datetime) -> Entry:
    """Return what the audit log says of a personal token: all but its secret."""
    after = {
        "subject": issued.user,
        "name": issued.name,
        "powers": [power.value for power in issued.powers],
        "expires_at": issued.expires_at,
    }
    return Entry(now, by, "token.issue", f"token:{issued.id}", after=after)
