"""Who has which GPUs of a site, for its agents to hold processes against."""

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.tables import lease_gpus, runs
from scheduler.wire.nodes import NodeLease

Marker = tuple[int, object]


async def marker_of(conn: AsyncConnection, site: str) -> Marker:
    """Return what is another as soon as a site's leases are: how many, and when the last began.

    A lease that ends makes it fewer, and one that begins makes the last one later.
    """
    query = select(func.count(), func.max(runs.c.leased_at)).where(
        runs.c.site == site, ~runs.c.acknowledged, runs.c.ended_at.is_(None)
    )
    count, last = (await conn.execute(query)).one()
    return count, last


async def leases_of_site(conn: AsyncConnection, site: str) -> Mapping[str, list[NodeLease]]:
    """Return the leases of each node by run; nodes without any are left out."""
    query = (
        select(lease_gpus.c.node_id, runs.c.id, runs.c.token, lease_gpus.c.gpu)
        .join(runs, runs.c.id == lease_gpus.c.run_id)
        .where(runs.c.site == site, ~runs.c.acknowledged)
        .order_by(lease_gpus.c.node_id, runs.c.id, lease_gpus.c.gpu)
    )
    gpus: dict[tuple[str, str, int], list[int]] = {}
    for node, run, token, gpu in await conn.execute(query):
        gpus.setdefault((node, run, token), []).append(gpu)
    found: dict[str, list[NodeLease]] = {}
    for (node, run, token), held in gpus.items():
        found.setdefault(node, []).append(NodeLease(run=run, token=token, gpus=tuple(held)))
    return found
