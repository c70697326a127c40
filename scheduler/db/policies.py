"""The policy in force: one document per revision, none ever changed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler import policy_file
from scheduler.core.model import Reservation
from scheduler.core.policy import Policy
from scheduler.db import budgets
from scheduler.db.maintenance import LAST_CHANGE, planned_maintenance
from scheduler.db.outbox import note_changes
from scheduler.db.tables import policies
from scheduler.errors import Refused

# Asked in every request, so it is built once.
_LATEST = (
    select(policies.c.revision, policies.c.sha256, LAST_CHANGE.label("maintenance"))
    .order_by(policies.c.revision.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A revision as it was written, comments and all."""

    revision: int
    document: str
    applied_at: datetime
    applied_by: str


async def current_policy(conn: AsyncConnection) -> StoredPolicy | None:
    """Return the revision in force, or None before the first `commonpool policy apply`."""
    columns = (
        policies.c.revision,
        policies.c.document,
        policies.c.applied_at,
        policies.c.applied_by,
    )
    row = (
        await conn.execute(select(*columns).order_by(policies.c.revision.desc()).limit(1))
    ).one_or_none()
    return None if row is None else StoredPolicy(*row)


async def save_policy(
    conn: AsyncConnection, document: str, now: datetime, by: str
) -> tuple[int, bool]:
    """Store a document as the next revision; the one in force again changes nothing.

    The caller has checked it. Those who save at once take turns. What leases have used of
    its budgets is worked out where the budgets or the tree of accounts are others.
    """
    if conn.dialect.name == "postgresql":
        await conn.execute(text("LOCK TABLE policies IN SHARE ROW EXCLUSIVE MODE"))
    sha256 = hashlib.sha256(document.encode()).hexdigest()
    latest = (await conn.execute(_LATEST)).one_or_none()
    if latest is not None and latest.sha256 == sha256:
        return latest.revision, False
    revision = 1 if latest is None else latest.revision + 1
    await conn.execute(
        insert(policies).values(
            revision=revision, document=document, sha256=sha256, applied_at=now, applied_by=by
        )
    )
    policy = await _parsed(conn, revision, sha256)
    # A document in force may be one that this program no longer reads, so it is not parsed here.
    before = latest and _known.get((latest.revision, latest.sha256))
    if before is None or _spending(before) != _spending(policy):
        await budgets.work_out(conn, policy)
    await note_changes(conn, [("policy", str(revision))])
    return revision, True


def _spending(policy: Policy) -> tuple[object, ...]:
    """Return what totals of budgets and first starts of reservations depend on."""
    parents = {account.name: account.parent for account in policy.accounts}
    return policy.budgets, policy.reservations, parents


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision as it was written, with its digest."""

    revision: int
    document: str
    sha256: str
    applied_at: datetime
    applied_by: str


async def revisions(conn: AsyncConnection, most: int) -> list[Revision]:
    """Return the latest revisions, newest first."""
    names = ("revision", "document", "sha256", "applied_at", "applied_by")
    query = select(*(policies.c[name] for name in names))
    rows = await conn.execute(query.order_by(policies.c.revision.desc()).limit(most))
    return [Revision(*row) for row in rows]


async def policy_texts(conn: AsyncConnection, wanted: Sequence[int]) -> dict[int, str]:
    """Return the texts of these revisions, as far as they are there."""
    query = select(policies.c.revision, policies.c.document)
    rows = await conn.execute(query.where(policies.c.revision.in_(wanted)))
    return {row.revision: row.document for row in rows}


class PolicyCache:
    """The parsed policy in force. A revision is parsed once; asking costs one small query."""

    async def current(self, conn: AsyncConnection) -> Policy:
        """Return the policy in force.

        Raises:
            Refused: none was applied yet (503, with the command that applies one).
        """
        return await policy_in_force(conn)


async def policy_in_force(conn: AsyncConnection) -> Policy:
    """Return the parsed policy of the latest revision.

    Raises:
        Refused: none was applied yet (503, with the command that applies one).
    """
    latest = (await conn.execute(_LATEST)).one_or_none()
    if latest is None:
        raise Refused(
            title="No policy yet",
            detail="this hub has no policy, so it knows no accounts and no pools",
            status=503,
            next_step="apply one: commonpool policy apply FILE",
        )
    parsed = await _parsed(conn, latest.revision, latest.sha256)
    if latest.maintenance is None:
        return parsed
    return await _with_maintenance(conn, parsed, (latest.sha256, latest.maintenance))


async def _with_maintenance(conn: AsyncConnection, parsed: Policy, key: tuple[str, int]) -> Policy:
    """Add the windows that operators planned; nodes of pools that are gone are left out."""
    pools = {pool.id for pool in parsed.pools}
    rows = await planned_maintenance(conn)
    kept = tuple(row for row in rows if row.pool in pools)
    known = _maintained.get(key)
    if known is not None and known[0] is parsed and known[1] == kept:
        return known[2]
    made = replace(parsed, reservations=(*parsed.reservations, *kept))
    _maintained.clear()
    _maintained[key] = parsed, kept, made
    return made


async def revision_in_force(conn: AsyncConnection) -> int | None:
    """Return the number of the policy in force, without reading it."""
    latest: int | None = (await conn.execute(select(func.max(policies.c.revision)))).scalar_one()
    return latest


# Parsing is a pure function of the text, so its results may outlive any one database.
# One policy value for as long as nothing changes: whoever compares by identity sees no change.
_maintained: dict[tuple[str, int], tuple[Policy, tuple[Reservation, ...], Policy]] = {}
_known: dict[tuple[int, str], Policy] = {}
_KEPT = 8


async def _parsed(conn: AsyncConnection, revision: int, sha256: str) -> Policy:
    policy = _known.get((revision, sha256))
    if policy is None:
        stored = select(policies.c.document).where(policies.c.revision == revision)
        policy = policy_file.load((await conn.execute(stored)).scalar_one(), revision)
        while len(_known) >= _KEPT:
            _known.pop(next(iter(_known)))
        _known[revision, sha256] = policy
    return policy
