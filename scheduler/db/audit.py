"""The audit log in SQL: append in the transaction of what is done, list, follow.

There is one chain, so whoever appends holds its head until the transaction ends. For that
to be short, and for nobody to wait in a circle, `record` is a transaction's last call.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, insert, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.audit import Entry, Head, Row, seal
from scheduler.db.audit_tables import audit_head, audit_log, audit_objects
from scheduler.errors import StorageUnavailable

_NAMES = tuple(field.name for field in fields(Row))
_COLUMNS = tuple(audit_log.c[name] for name in _NAMES)
_HEAD = select(audit_head.c.sequence, audit_head.c.hash).where(audit_head.c.id == 1)
_ONLY = update(audit_head).where(audit_head.c.id == 1)
_PIECE = 2_000


async def record(conn: AsyncConnection, entries: Sequence[Entry]) -> None:
    """Append entries to the chain; the transaction's last call, and its only one of this.

    Raises:
        StorageUnavailable: the log has no head, so nothing may be done that it should hold.
    """
    if not entries:
        return
    # SQLite's writers are alone already; PostgreSQL's take turns here, until they commit.
    found = (await conn.execute(_HEAD.with_for_update())).one_or_none()
    if found is None:
        raise StorageUnavailable("the audit log has lost its head; nothing was stored")
    rows = list(seal(entries, Head(*found)))
    await conn.execute(
        insert(audit_log), [{name: getattr(row, name) for name in _NAMES} for row in rows]
    )
    more = [
        {"object": name, "sequence": row.sequence}
        for entry, row in zip(entries, rows, strict=True)
        for name in dict.fromkeys(entry.about)
    ]
    if more:
        await conn.execute(insert(audit_objects), more)
    last = rows[-1].head
    await conn.execute(_ONLY.values(sequence=last.sequence, hash=last.hash))


async def head_of(conn: AsyncConnection) -> Head:
    """Return where the chain ends: what a checkpoint is made of."""
    found = (await conn.execute(_HEAD)).one_or_none()
    return Head() if found is None else Head(*found)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows to list. An action that ends with `.` is all of its kind, as `node.`."""

    actor: str | None = None
    action: str | None = None
    object: str | None = None
    decision: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_rows(
    conn: AsyncConnection, wanted: Wanted, before: int | None, limit: int
) -> list[Row]:
    """Return a page of rows, newest first; the next begins `before` the last one's number."""
    query = _narrowed(wanted)
    if before is not None:
        query = query.where(audit_log.c.sequence < before)
    found = await conn.execute(query.order_by(audit_log.c.sequence.desc()).limit(limit))
    return [Row(*row) for row in found]


def _narrowed(wanted: Wanted) -> Select[Any]:
    return select(*_COLUMNS).where(*conditions_of(wanted))


def conditions_of(wanted: Wanted) -> list[ColumnElement[bool]]:
    """Return what holds of the rows that are wanted."""
    log = audit_log.c
    conditions: list[ColumnElement[bool]] = [true()]
    if wanted.actor is not None:
        conditions.append(or_(log.actor == wanted.actor, log.on_behalf_of == wanted.actor))
    if wanted.action is not None:
        whole_kind = wanted.action.endswith(".")
        alike = log.action.startswith(wanted.action, autoescape=True)
        conditions.append(alike if whole_kind else log.action == wanted.action)
    if wanted.object is not None:
        named = select(audit_objects.c.sequence).where(audit_objects.c.object == wanted.object)
        conditions.append(or_(log.object == wanted.object, log.sequence.in_(named)))
    if wanted.decision is not None:
        conditions.append(log.decision == wanted.decision)
    if wanted.since is not None:
        conditions.append(log.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(log.at < wanted.until)
    return conditions


async def pieces(
    conn: AsyncConnection, first: int = 1, last: int | None = None
) -> AsyncIterator[list[Row]]:
    """Yield the rows from one number to another in order, piece by piece."""
    after = first - 1
    while True:
        query = select(*_COLUMNS).where(audit_log.c.sequence > after)
        if last is not None:
            query = query.where(audit_log.c.sequence <= last)
        found = await conn.execute(query.order_by(audit_log.c.sequence).limit(_PIECE))
        piece = [Row(*row) for row in found]
        if piece:
            yield piece
        if len(piece) < _PIECE:
            return
        after = piece[-1].sequence


async def row_at(conn: AsyncConnection, sequence: int) -> Row | None:
    """Return one row by its number."""
    query = select(*_COLUMNS).where(audit_log.c.sequence == sequence)
    found = (await conn.execute(query)).one_or_none()
    return None if found is None else Row(*found)
