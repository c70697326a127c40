"""What takes nodes out of work besides their own reports, and what brings them back (R19).

A node returns by speaking: what ends a silence or a cordon here only asks for its next
report, which finds out what is so now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, String, and_, bindparam, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.health import HEALTH, PROBE, Action, Clears, Cordon, is_over
from scheduler.core.policy import Policy
from scheduler.db.draining import drain_runs
from scheduler.db.health import cordon_columns, cordon_of, event_row, said_of
from scheduler.db.node_tables import node_events
from scheduler.db.nodes import SILENT
from scheduler.db.outbox import note_changes
from scheduler.db.tables import UtcDateTime, nodes
from scheduler.errors import no_such_node

AWAITED = "its next report is awaited"
_CHUNK = 500

_NOW = bindparam("now", type_=UtcDateTime())
_CLEAN_BEFORE = bindparam("clean_before", type_=UtcDateTime())
IS_OVER = and_(
    nodes.c.cordon_action.is_not(None),
    or_(
        nodes.c.cordon_until <= _NOW,
        and_(
            nodes.c.cordon_by == HEALTH,
            nodes.c.cordon_clears == Clears.FACTS.value,
            nodes.c.clean_since <= _CLEAN_BEFORE,
        ),
    ),
)
"""The same as `core.health.is_over`, for a look at all nodes at once."""


def over_times(now: datetime) -> dict[str, datetime]:
    """Return the parameters of `IS_OVER`."""
    return {"now": now, "clean_before": now - PROBE}


async def mark_silent(conn: AsyncConnection, silent: Mapping[str, datetime]) -> list[str]:
    """Take nodes out of planning that this process last heard then; return which.

    One that another process has heard since is left alone.
    """
    names = sorted(silent)
    marked: list[str] = []
    for start in range(0, len(names), _CHUNK):
        query = select(nodes.c.id, nodes.c.reported_at, nodes.c.cordon_action).where(
            nodes.c.id.in_(names[start : start + _CHUNK]), nodes.c.usable
        )
        rows = (await conn.execute(query.order_by(nodes.c.id).with_for_update())).all()
        marked += [row.id for row in rows if row.reported_at <= silent[row.id]]
    for name in marked:
        why = f"{SILENT} since {silent[name]:%H:%M:%S} UTC"
        values = {"usable": False, "why_unusable": why, "reported_at": silent[name]}
        await conn.execute(update(nodes).where(nodes.c.id == name).values(**values))
    await _write_events(conn, [event_row(n, silent[n], "silent", "it fell silent") for n in marked])
    await note_changes(conn, [("node", name) for name in marked])
    return marked


async def last_heard(conn: AsyncConnection, names: Sequence[str]) -> dict[str, datetime]:
    """Return when any process last heard these nodes, as far as it was stored."""
    found: dict[str, datetime] = {}
    for start in range(0, len(names), _CHUNK):
        query = select(nodes.c.id, nodes.c.reported_at)
        rows = await conn.execute(query.where(nodes.c.id.in_(names[start : start + _CHUNK])))
        found |= {row.id: row.reported_at for row in rows}
    return found


# One statement for all. Rows are locked in the order of names, as everywhere: no two writers wait
# in a circle.
_HEARD = """
    WITH said (id, seq, at) AS (SELECT * FROM unnest(%b::text[], %b::int8[], %b::timestamptz[])),
    held AS (SELECT nodes.id FROM nodes JOIN said USING (id) ORDER BY nodes.id FOR UPDATE OF nodes)
    UPDATE nodes SET reported_at = said.at, sequence = said.seq FROM said JOIN held USING (id)
    WHERE nodes.id = said.id AND nodes.reported_at < said.at
"""
_KEY, _SEQUENCE = bindparam("key", type_=String()), bindparam("seq", type_=BigInteger())
_HEARD_EACH = (
    update(nodes)
    .where(nodes.c.id == _KEY, nodes.c.reported_at < bindparam("at"))
    .values(reported_at=bindparam("at", type_=UtcDateTime()), sequence=_SEQUENCE)
)


async def heard(conn: AsyncConnection, last: Mapping[str, tuple[int, datetime]]) -> None:
    """Bring forward when nodes last spoke here, and how far they had counted."""
    if not last:
        return
    if conn.dialect.name == "postgresql":
        numbers, times = zip(*last.values(), strict=True)
        await conn.exec_driver_sql(_HEARD, (list(last), list(numbers), list(times)))
        return
    rows = [{"key": name, "seq": seq, "at": at} for name, (seq, at) in sorted(last.items())]
    await conn.execute(_HEARD_EACH, rows)


async def usable_nodes(conn: AsyncConnection) -> list[tuple[str, str]]:
    """Return the nodes that are in planning, each with its pool."""
    query = select(nodes.c.id, nodes.c.pool).where(nodes.c.usable)
    return [(row.id, row.pool) for row in await conn.execute(query)]


async def doubtful_nodes(conn: AsyncConnection) -> list[str]:
    """Return the nodes that are out of work for no reason that their report would not know."""
    query = select(nodes.c.id).where(~nodes.c.usable, nodes.c.cordon_action.is_(None))
    return list((await conn.execute(query)).scalars())


async def lift_cordons(conn: AsyncConnection, now: datetime) -> list[str]:
    """End the cordons whose time is up, or whose nodes were clean for long enough."""
    query = select(nodes).where(IS_OVER).order_by(nodes.c.id).with_for_update()
    lifted = []
    for row in (await conn.execute(query, over_times(now))).mappings():
        cordon = cordon_of(dict(row))
        if cordon is not None and is_over(cordon, now):
            await _lift(conn, row["id"], now, "it was clean for long enough, or its time is up")
            lifted.append(row["id"])
    return lifted


async def _lift(conn: AsyncConnection, name: str, now: datetime, why: str) -> None:
    values = {**cordon_columns(None), "usable": False, "why_unusable": AWAITED}
    await conn.execute(update(nodes).where(nodes.c.id == name).values(**values))
    await _write_events(conn, [event_row(name, now, "returned", why)])
    await note_changes(conn, [("node", name)])


async def _write_events(conn: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        await conn.execute(insert(node_events), list(rows))


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """What an operator asks: who, why, until when (None: until resumed), and with what notice."""

    by: str
    reason: str
    until: datetime | None = None
    notice: timedelta | None = None


async def drain_node(
    conn: AsyncConnection, name: str, order: DrainOrder, policy: Policy, now: datetime
) -> list[str]:
    """Take a node out of work by an operator's word; return the sites that have orders now.

    Raises:
        Refused: 404, no such node.
    """
    await _row(conn, name)
    cordon = Cordon(Action.DRAIN, order.reason, order.by, now, Clears.WORD, order.until)
    why = said_of(cordon)
    values = {**cordon_columns(cordon), "usable": False, "why_unusable": why[:200]}
    await conn.execute(update(nodes).where(nodes.c.id == name).values(**values))
    await _write_events(conn, [event_row(name, now, "drained", why)])
    await note_changes(conn, [("node", name)])
    return await drain_runs(conn, [name], policy, now, f"node {name} is {why}", order.notice)


async def resume_node(
    conn: AsyncConnection, name: str, by: str, now: datetime, why: str = ""
) -> bool:
    """End a node's cordon by an operator's word; False where it has none.

    Raises:
        Refused: 404, no such node.
    """
    row = await _row(conn, name)
    if row["cordon_action"] is None:
        return False
    await _lift(conn, name, now, f"resumed by {by}: {why}" if why else f"resumed by {by}")
    return True


async def _row(conn: AsyncConnection, name: str) -> Mapping[str, Any]:
    found = await conn.execute(select(nodes).where(nodes.c.id == name).with_for_update())
    row = found.mappings().one_or_none()
    if row is None:
        raise no_such_node(name)
    return dict(row)


async def cordon_of_node(conn: AsyncConnection, name: str) -> Cordon | None:
    """Return a node's cordon; None where it has none, or is not there."""
    found = await conn.execute(select(nodes).where(nodes.c.id == name))
    row = found.mappings().one_or_none()
    return None if row is None else cordon_of(dict(row))


async def events_of_node(
    conn: AsyncConnection, name: str, limit: int = 50
) -> list[tuple[datetime, str, str]]:
    """Return what last happened to a node, newest first: when, what, in a sentence."""
    query = select(node_events.c.at, node_events.c.event, node_events.c.sentence)
    query = query.where(node_events.c.node_id == name).order_by(node_events.c.id.desc())
    return [tuple(row) for row in await conn.execute(query.limit(limit))]
