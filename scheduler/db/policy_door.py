"""The one door by which a policy comes into force, with what the audit log says of it."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.audit import Entry, Values, Who
from scheduler.core.policy import Policy
from scheduler.db.in_use import refuse_what_is_in_use
from scheduler.db.policies import current_policy, save_policy
from scheduler.errors import Refused


@dataclass(frozen=True, slots=True)
class Replaced:
    """The revision in force now; `entries` are for `audit.record`, empty where nothing changed."""

    revision: int
    entries: tuple[Entry, ...] = ()

    @property
    def changed(self) -> bool:
        """Return whether it is another than before."""
        return bool(self.entries)


@dataclass(frozen=True, slots=True)
class Change:
    """A document that was checked, who puts it in force, and why.

    `alone` is an administrator outside the rule of two people, who must say why once there is
    a policy to go around.
    """

    document: str
    policy: Policy
    who: Who
    reason: str = ""
    alone: bool = False


async def replace_policy(conn: AsyncConnection, change: Change, now: datetime) -> Replaced:
    """Put a checked document in force as the next revision.

    Raises:
        Refused: it leaves out what runs or jobs refer to; or no reason was given for going
            around the rule of two people.
    """
    before = await current_policy(conn)
    if before is not None and change.alone and not change.reason.strip():
        if change.document == before.document:
            return Replaced(before.revision)
        raise _no_reason()
    await refuse_what_is_in_use(conn, change.policy)
    revision, changed = await save_policy(conn, change.document, now, change.who.actor)
    if not changed:
        return Replaced(revision)
    was = None if before is None else policy_mark(before.revision, before.document)
    entry = Entry(
        now,
        change.who,
        "policy.apply",
        f"policy:{revision}",
        was,
        policy_mark(revision, change.document),
        change.reason,
    )
    return Replaced(revision, (entry,))


def policy_mark(revision: int, document: str) -> Values:
    """Return what the audit log keeps of a document: the tables keep its text."""
    return {"revision": revision, "sha256": hashlib.sha256(document.encode()).hexdigest()}


def _no_reason() -> Refused:
    return Refused(
        title="No reason given",
        detail="There is a policy in force, and an administrator who replaces it alone says why",
        field="reason",
        limit="a sentence of at most 500 characters",
        next_step="commonpool policy apply FILE --reason TEXT; or propose it for a second "
        "person to approve: commonpool request create policy",
    )
