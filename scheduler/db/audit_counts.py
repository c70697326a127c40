"""How many rows the audit log has by day and action: for pictures, and for who looks for a peak."""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import ColumnElement, String, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.audit import Wanted, conditions_of
from scheduler.db.audit_tables import audit_log

_DATE = 10


@dataclass(frozen=True, slots=True)
class Counted:
    """How often something was done on a day, in UTC."""

    day: date
    action: str
    count: int


async def count_rows(conn: AsyncConnection, wanted: Wanted) -> list[Counted]:
    """Return the number of rows by day and action, the oldest day first."""
    day = _day(conn)
    query = (
        select(day, audit_log.c.action, func.count())
        .where(*conditions_of(wanted))
        .group_by(day, audit_log.c.action)
        .order_by(day, audit_log.c.action)
    )
    return [
        Counted(date.fromisoformat(at), action, many)
        for at, action, many in await conn.execute(query)
    ]


def _day(conn: AsyncConnection) -> ColumnElement[str]:
    """Return the day of a row as text; SQLite keeps instants as UTC's text already."""
    at: ColumnElement[object] = audit_log.c.at
    if conn.dialect.name != "sqlite":
        at = func.timezone("UTC", audit_log.c.at)
    return func.substr(cast(at, String), 1, _DATE)
