"""Maintenance of named nodes, planned by operators beside the policy (R7).

Rows are added and never changed: what cancels a window is a row too, so the highest id says
whether anything is different from before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.model import NodeId, PoolId, Reservation, ReservationId
from scheduler.db.node_tables import maintenance
from scheduler.db.outbox import note_changes
from scheduler.db.tables import nodes
from scheduler.errors import Refused, no_such_node

LAST_CHANGE = select(func.max(maintenance.c.id)).scalar_subquery()
_LONGEST = timedelta(days=90)
_PREFIX = "maintenance-"


@dataclass(frozen=True, slots=True)
class Window:
    """What an operator plans: these nodes do no work from one time to another."""

    nodes: Sequence[str]
    starts_at: datetime
    ends_at: datetime
    reason: str
    by: str


async def plan_maintenance(conn: AsyncConnection, window: Window, now: datetime) -> list[str]:
    """Store a window, one reservation for each pool; return their names.

    Raises:
        Refused: it is over already, ends before it begins, is longer than 90 days, or names a
            node that has never reported.
    """
    _check_times(window, now)
    query = select(nodes.c.id, nodes.c.pool).where(nodes.c.id.in_(window.nodes))
    pools = {row.id: row.pool for row in await conn.execute(query)}
    if unknown := sorted(set(window.nodes) - set(pools)):
        raise no_such_node(unknown[0])
    names = []
    for pool in sorted(set(pools.values())):
        mine = sorted(name for name, of in pools.items() if of == pool)
        added = await conn.execute(
            insert(maintenance)
            .values(
                pool=pool,
                nodes=mine,
                starts_at=window.starts_at,
                ends_at=window.ends_at,
                reason=window.reason,
                planned_at=now,
                by=window.by,
            )
            .returning(maintenance.c.id)
        )
        names.append(f"{_PREFIX}{added.scalar_one()}")
    await note_changes(conn, [("policy", _PREFIX)])
    return names


def _check_times(window: Window, now: datetime) -> None:
    wrong = None
    if window.ends_at <= max(now, window.starts_at):
        wrong = "ends_at", window.ends_at, "after its start, and after now"
    elif window.ends_at - max(now, window.starts_at) > _LONGEST:
        wrong = "ends_at", window.ends_at, f"at most {_LONGEST.days} days long"
    if wrong is not None:
        field, value, limit = wrong
        raise Refused(
            title="Not a window",
            detail=f"maintenance cannot end at {value:%Y-%m-%d %H:%M} UTC",
            field=field,
            value=value.isoformat(),
            limit=limit,
        )


async def cancel_maintenance(conn: AsyncConnection, name: str, by: str, now: datetime) -> None:
    """Undo a window.

    Raises:
        Refused: 404, there is none of that name.
    """
    found = next((row for row in await planned_maintenance(conn) if row.id == name), None)
    if found is None:
        raise Refused(
            title="No such maintenance",
            detail=f"there is no maintenance of the name {name}",
            status=404,
            field="name",
            value=name,
        )
    await conn.execute(
        insert(maintenance).values(
            pool=found.pool,
            nodes=[],
            starts_at=now,
            ends_at=now,
            reason="",
            planned_at=now,
            by=by,
            cancels=int(name.removeprefix(_PREFIX)),
        )
    )
    await note_changes(conn, [("policy", _PREFIX)])


async def planned_maintenance(conn: AsyncConnection) -> tuple[Reservation, ...]:
    """Return the windows in force, without those that were over at the last change."""
    rows = (await conn.execute(_planned())).mappings().all()
    cancelled = {row["cancels"] for row in rows if row["cancels"] is not None}
    return tuple(
        Reservation(
            id=ReservationId(f"{_PREFIX}{row['id']}"),
            pool=PoolId(row["pool"]),
            account=None,
            node_count=len(row["nodes"]),
            starts_at=row["starts_at"],
            ends_at=row["ends_at"],
            nodes=frozenset(NodeId(name) for name in row["nodes"]),
            reason=row["reason"],
        )
        for row in rows
        if row["cancels"] is None and row["id"] not in cancelled
    )


def _planned() -> Select[tuple[object, ...]]:
    last = select(func.max(maintenance.c.planned_at)).scalar_subquery()
    over = maintenance.c.cancels.is_(None) & (maintenance.c.ends_at <= last)
    return select(maintenance).where(~over).order_by(maintenance.c.id)
