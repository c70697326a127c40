"""Leases of a window by account, for who had how many GPUs when."""

from collections.abc import AsyncIterator
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.tables import nodes, runs, usage_intervals

_AT_ONCE = 1_000


async def leases_since(
    conn: AsyncConnection, since: datetime
) -> AsyncIterator[tuple[str, int, datetime, datetime | None]]:
    """Yield account, GPUs, start and end of each lease in use since then, but of guests (R18)."""
    times = usage_intervals.c
    query = (
        select(times.account, times.gpus, times.started_at, times.ended_at)
        .join(runs, runs.c.id == times.run_id)
        .where(or_(times.ended_at.is_(None), times.ended_at > since), runs.c.over.is_(None))
    )
    async with conn.stream(query) as rows:
        async for page in rows.partitions(_AT_ONCE):
            for row in page:
                yield row[0], row[1], row[2], row[3]


async def has_simulated_nodes(conn: AsyncConnection) -> bool:
    """Return whether any node is a simulated one."""
    found = await conn.execute(select(nodes.c.id).where(nodes.c.simulated).limit(1))
    return found.first() is not None
