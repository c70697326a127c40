"""Nodes as they report themselves. A report costs the planner nothing unless it changes facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, bindparam, delete, false, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.model import Pool
from scheduler.core.policy import Policy
from scheduler.db.health import Judged, carry_out, judge, said_of
from scheduler.db.outbox import note_changes
from scheduler.db.tables import lease_gpus, nodes, sites
from scheduler.errors import Refused, no_such_node
from scheduler.wire.accounts import NodeView
from scheduler.wire.reports import NodeReport

# The columns that planning reads: a change in one of them wakes it.
SILENT = "silent"
_FACTS = ("pool", "site", "block", "gpus", "simulated", "usable", "why_unusable")


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of reports: whose were news, whose facts are others, and which sites to tell."""

    news: frozenset[str]
    changed: frozenset[str]
    sites: Sequence[str]


async def save_reports(
    conn: AsyncConnection, reports: Sequence[NodeReport], policy: Policy, now: datetime
) -> Saved:
    """Store what nodes say and carry out what it means for their health (R19).

    A report that is older than the stored one of the same boot is ignored.

    Raises:
        Refused: an unknown pool, a GPU model or a size that the policy does not give the
            pool, more nodes than it has, or a node that belongs to another site.
            Nothing of the batch is stored then.
    """
    pools = {str(pool.id): pool for pool in policy.pools}
    for report in reports:
        _check(report, pools)
    names = sorted({report.node for report in reports})
    query = select(nodes).where(nodes.c.id.in_(names)).order_by(nodes.c.id).with_for_update()
    known = {row["id"]: dict(row) for row in (await conn.execute(query)).mappings()}
    news = _news(reports, known)
    judged = await judge(conn, news, now)
    rows = [
        (_columns(report, judged[report.node], now) | {"site": pools[report.pool].site}, old)
        for report, old in news
    ]
    # Known nodes first: one that speaks again must not give way to a new one.
    for new, old in rows:
        if old is not None:
            await _check_move(conn, old, new, pools)
    await _update(conn, [new for new, old in rows if old is not None])
    await _insert(conn, [new for new, old in rows if old is None], pools)
    changed = {
        new["id"]
        for new, old in rows
        if old is None or any(old[fact] != new[fact] for fact in _FACTS)
    }
    await note_changes(conn, [("node", name) for name in sorted(changed)])
    sites_told = await carry_out(conn, list(judged.values()), policy, now)
    return Saved(frozenset(report.node for report, _ in news), frozenset(changed), sites_told)


def _news(
    reports: Sequence[NodeReport], known: Mapping[str, Mapping[str, Any]]
) -> list[tuple[NodeReport, Mapping[str, Any] | None]]:
    """Return the reports that are not older than what is stored, the latest of each node."""
    latest: dict[str, NodeReport] = {}
    for report in reports:
        before, old = latest.get(report.node), known.get(report.node)
        if old is not None:
            _check_fence(report, old)
            if _is_stale(report, old):
                continue
        if before is None or before.sequence < report.sequence:
            latest[report.node] = report
    return [(report, known.get(name)) for name, report in latest.items()]


async def _update(conn: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        statement = update(nodes).where(nodes.c.id == bindparam("key"))
        await conn.execute(statement, [{"key": row["id"], **row} for row in rows])


async def _insert(
    conn: AsyncConnection, rows: Sequence[dict[str, Any]], pools: Mapping[str, Pool]
) -> None:
    """Add nodes, each pool's as long as it has room."""
    for name in sorted({row["pool"] for row in rows}):
        pool, mine = pools[name], [row for row in rows if row["pool"] == name]
        count = select(func.count()).select_from(nodes).where(nodes.c.pool == name)
        if (await conn.execute(count)).scalar_one() + len(mine) <= pool.node_count:
            await conn.execute(insert(nodes), mine)
            continue
        for row in mine:
            await _make_room(conn, pool, row["id"])
            await conn.execute(insert(nodes).values(**row))


def _check(report: NodeReport, pools: Mapping[str, Pool]) -> None:
    """Hold a report against the policy: what is not in the policy gets no work."""
    pool = pools.get(report.pool)
    if pool is None:
        raise _refused(report, "pool", report.pool, f"one of {', '.join(sorted(pools))}")
    models = sorted({gpu.model for gpu in report.gpus if gpu.model != pool.gpu_model})
    if models:
        raise _refused(report, "gpus.model", ", ".join(models), pool.gpu_model)
    if len(report.gpus) > pool.gpus_per_node:
        raise _refused(report, "gpus", str(len(report.gpus)), f"{pool.gpus_per_node} per node")
    if len({gpu.index for gpu in report.gpus}) < len(report.gpus):
        raise _refused(report, "gpus.index", "given twice", "each index once")


def _refused(report: NodeReport, field: str, value: str, limit: str) -> Refused:
    return Refused(
        title="Node does not fit its pool",
        detail=f"node {report.node} reports for pool {report.pool}: {field} {value}",
        field=field,
        value=value,
        limit=limit,
        next_step="correct the reporter's --pool, or have the policy changed",
    )


def _is_stale(report: NodeReport, old: Mapping[str, Any]) -> bool:
    return bool(old["boot_id"] == report.boot_id and report.sequence <= old["sequence"])


def _check_fence(report: NodeReport, old: Mapping[str, Any]) -> None:
    """Refuse an agent that began before the one that is heard: two speak for one node."""
    began = old["started_at"]
    if report.boot_id == old["boot_id"] or began is None or report.started_at is None:
        return
    silent = not old["usable"] and old["why_unusable"].startswith(SILENT)
    if (report.started_at, report.boot_id) < (began, old["boot_id"]) and not silent:
        raise fenced(report.node, began)


def fenced(node: str, began: datetime | None) -> Refused:
    """Return the refusal of an agent whose node has another, later one."""
    since = "" if began is None else f", which began at {began:%Y-%m-%d %H:%M:%S} UTC"
    return Refused(
        title="Another agent speaks for this node",
        detail=f"node {node} has a later agent{since}: this one is fenced",
        status=409,
        field="boot_id",
        value=node,
        next_step="stop one of the two, or give this machine a name of its own",
    )


def _columns(report: NodeReport, judged: Judged, now: datetime) -> dict[str, Any]:
    cordon = judged.cordon
    gpus = sorted(report.gpus, key=lambda gpu: gpu.index)
    return {
        "id": report.node,
        "pool": report.pool,
        "block": report.block,
        "gpus": [{"index": g.index, "uuid": g.uuid, "healthy": g.healthy} for g in gpus],
        "simulated": report.simulated,
        "usable": cordon is None,
        "why_unusable": "" if cordon is None else said_of(cordon)[:200],
        "boot_id": report.boot_id,
        "sequence": report.sequence,
        "reported_at": now,
        "started_at": report.started_at,
        "exporter": report.exporter,
        **judged.columns,
    }


async def _make_room(conn: AsyncConnection, pool: Pool, name: str) -> None:
    """Count a new node against its pool's size; a silent one without leases gives way to it."""
    rows = (
        await conn.execute(
            select(nodes.c.id, nodes.c.usable)
            .where(nodes.c.pool == pool.id)
            .order_by(nodes.c.usable, nodes.c.reported_at)
        )
    ).all()
    if len(rows) < pool.node_count:
        return
    leased = select(lease_gpus.c.node_id).distinct()
    silent = [row.id for row in rows if not row.usable]
    gone = (
        await conn.execute(
            delete(nodes)
            .where(nodes.c.id.in_(silent), nodes.c.id.not_in(leased))
            .returning(nodes.c.id)
        )
    ).scalars()
    dropped = list(gone)
    await note_changes(conn, [("node", node) for node in dropped])
    if len(rows) - len(dropped) >= pool.node_count:
        raise Refused(
            title="Pool is full",
            detail=f"node {name} is new to pool {pool.id}, which has all its nodes",
            field="node",
            value=name,
            limit=f"{pool.node_count} nodes",
            next_step="raise the pool's node_count in the policy, or stop another reporter",
        )


async def _check_move(
    conn: AsyncConnection,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    pools: Mapping[str, Pool],
) -> None:
    """Let a node change pools only within its site, and only while it is empty."""
    if old["pool"] == new["pool"]:
        return
    before, after = pools.get(old["pool"]), pools[new["pool"]]
    leased = await conn.execute(
        select(lease_gpus.c.gpu).where(lease_gpus.c.node_id == new["id"]).limit(1)
    )
    if (before is not None and before.site != after.site) or leased.first() is not None:
        raise Refused(
            title="Node belongs to another pool",
            detail=f"node {new['id']} is in pool {old['pool']}",
            status=409,
            field="pool",
            value=new["pool"],
            limit="an empty node may move within its site",
            next_step="give the node another name, or wait until its leases have ended",
        )
    await _make_room(conn, after, new["id"])


async def note_nodes_of(conn: AsyncConnection, site_ids: Sequence[str]) -> None:
    """Have the leader look again at every node of these sites."""
    if site_ids:
        found = await conn.execute(select(nodes.c.id).where(nodes.c.site.in_(site_ids)))
        await note_changes(conn, [("node", name) for name in sorted(found.scalars())])


# A node is as good as its site: nobody starts work where no agent answers.
SITE_SILENT = func.coalesce(sites.c.silent, false())
WITH_SITE = nodes.outerjoin(sites, sites.c.id == nodes.c.site)


_LEASED = (
    select(func.count(lease_gpus.c.gpu.distinct()))
    .where(lease_gpus.c.node_id == nodes.c.id)
    .scalar_subquery()
)
_VIEWS = select(nodes, _LEASED.label("leased"), SITE_SILENT.label("site_silent")).select_from(
    WITH_SITE
)


def why_unusable(row: RowMapping) -> str:
    """Return why a node takes no work, its own reason before its site's."""
    if row["usable"] and row["site_silent"]:
        return f"site {row['site']}'s agent is silent"
    return str(row["why_unusable"])


async def one_node(conn: AsyncConnection, name: str) -> NodeView:
    """Return a node.

    Raises:
        Refused: 404, no such node.
    """
    row = (await conn.execute(_VIEWS.where(nodes.c.id == name))).mappings().one_or_none()
    if row is None:
        raise no_such_node(name)
    return _view(row)


async def list_nodes(
    conn: AsyncConnection, *, pool: str | None = None, after: str | None = None, limit: int = 100
) -> list[NodeView]:
    """Return nodes by name, with the GPUs that no lease names; the next page is `after`."""
    query = _VIEWS.order_by(nodes.c.id).limit(limit)
    if pool is not None:
        query = query.where(nodes.c.pool == pool)
    if after is not None:
        query = query.where(nodes.c.id > after)
    return [_view(row) for row in (await conn.execute(query)).mappings()]


def _view(row: RowMapping) -> NodeView:
    why = why_unusable(row)
    usable = bool(row["usable"] and not row["site_silent"])
    return NodeView(
        node=row["id"],
        pool=row["pool"],
        gpus=len(row["gpus"]),
        free=max(0, len(row["gpus"]) - row["leased"]) if usable else 0,
        usable=usable,
        why_unusable=why,
        simulated=row["simulated"],
        reported_at=row["reported_at"],
    )


async def mark_stale(conn: AsyncConnection, now: datetime, older_than: timedelta) -> int:
    """Take nodes that no process has heard for long out of planning until they report (R19).

    `reported_at` is brought forward with the rollups only: who hears a node watches it closely.
    """
    silent = (
        await conn.execute(
            select(nodes.c.id, nodes.c.reported_at)
            .where(nodes.c.usable, nodes.c.reported_at < now - older_than)
            .order_by(nodes.c.id)
            .with_for_update()
        )
    ).all()
    for row in silent:
        await conn.execute(
            update(nodes)
            .where(nodes.c.id == row.id)
            .values(usable=False, why_unusable=f"{SILENT} since {row.reported_at:%H:%M:%S} UTC")
        )
    await note_changes(conn, [("node", row.id) for row in silent])
    return len(silent)
