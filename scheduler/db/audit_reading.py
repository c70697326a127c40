"""Follow the audit log's chain in a database, and write it out, piece by piece.

The hub does it for whoever may read the log, and `commonpool audit` on the database itself,
for an auditor who does not take the hub's word for it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from hashlib import sha256

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.audit import GENESIS, Broken, Chain, Head, Row
from scheduler.db.audit import head_of, pieces, row_at
from scheduler.wire.audit import AuditFault, AuditRow, AuditSeal, AuditVerdict, Checkpoint


def view_of(row: Row) -> AuditRow:
    """Return a row as a message."""
    return AuditRow(
        sequence=row.sequence,
        at=row.at,
        actor=row.actor,
        on_behalf_of=row.on_behalf_of,
        session=row.session,
        source=row.source,
        action=row.action,
        object=row.object,
        before=_value(row.before),
        after=_value(row.after),
        reason=row.reason,
        decision=row.decision,
        previous=row.previous,
        hash=row.hash,
    )


def _value(text: str | None) -> object:
    """Return what a row keeps; of a row that was changed, whatever stands there."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


async def verify(
    conn: AsyncConnection, first: int = 1, last: int | None = None, known: Head | None = None
) -> AuditVerdict:
    """Follow the chain between two rows, and against a checkpoint; name the first bad row.

    A part is trusted to begin where the row before it ends. Cut-off tails are looked for where
    the part has no end, and up to the checkpoint.
    """
    before = Head() if first <= 1 else await _before(conn, first)
    chain = Chain(before, known)
    broken: Broken | None = None
    async for piece in pieces(conn, first, last):
        broken = await asyncio.to_thread(chain.follow, piece)
        if broken is not None:
            break
    if broken is None:
        broken = chain.ends(await head_of(conn) if last is None else None)
    end = chain.head or Head()
    return AuditVerdict(
        first=first,
        last=end.sequence,
        rows=chain.count,
        hash=end.hash,
        against_checkpoint=known is not None,
        fault=None if broken is None else fault_of(broken),
    )


async def _before(conn: AsyncConnection, first: int) -> Head | None:
    row = await row_at(conn, first - 1)
    return None if row is None else row.head


def fault_of(broken: Broken) -> AuditFault:
    """Return a break of the chain as a message."""
    return AuditFault(sequence=broken.sequence, wrong=broken.wrong.value, sentence=broken.sentence)


async def lines(
    conn: AsyncConnection, first: int = 1, last: int | None = None
) -> AsyncIterator[str]:
    """Yield an export: a line of JSON per row as it is stored, and a seal over all of them."""
    digest, count = sha256(), 0
    previous, end = GENESIS, Head()
    at = None
    async for piece in pieces(conn, first, last):
        if count == 0:
            previous = piece[0].previous
        text = "".join(f"{_line(row)}\n" for row in piece)
        digest.update(text.encode())
        count, end, at = count + len(piece), piece[-1].head, piece[-1].at
        yield text
    if at is not None:
        last_row = Checkpoint(sequence=end.sequence, hash=end.hash, at=at)
        seal = AuditSeal(rows=count, sha256=digest.hexdigest(), previous=previous, last=last_row)
        yield f"{seal.model_dump_json()}\n"


def _line(row: Row) -> str:
    """Return a row as it is stored: `before` and `after` stay text, for the hash is of them."""
    said = {name: getattr(row, name) for name in Row.__slots__}
    return json.dumps(
        {**said, "at": row.at.isoformat(timespec="microseconds")}, separators=(",", ":")
    )
