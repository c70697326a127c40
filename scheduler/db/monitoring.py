"""What Prometheus asks the database for: nodes and site agents by state, and whom to scrape."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.health import HEALTH, Action
from scheduler.db.nodes import SILENT, SITE_SILENT, WITH_SITE
from scheduler.db.tables import nodes, sites
from scheduler.metrics import NodeState

_STATE = case(
    (nodes.c.usable & ~SITE_SILENT, NodeState.HEALTHY.value),
    (nodes.c.usable, NodeState.SITE_SILENT.value),
    (nodes.c.why_unusable.startswith(SILENT), NodeState.STALE.value),
    (nodes.c.cordon_action.is_(None), NodeState.UNUSABLE.value),
    (nodes.c.cordon_by != HEALTH, NodeState.DRAINED.value),
    (nodes.c.cordon_action >= int(Action.DRAIN), NodeState.DRAINING.value),
    else_=NodeState.CORDONED.value,
)


@dataclass(frozen=True, slots=True)
class Counted:
    """Nodes by (site, pool, state), and whether each site's agent is silent."""

    nodes: Mapping[tuple[str, str, str], int]
    silent: Mapping[str, bool]


async def counted(conn: AsyncConnection) -> Counted:
    """Count nodes by what they are to planning, and look which sites are heard."""
    state = _STATE.label("state")
    query = select(nodes.c.site, nodes.c.pool, state, func.count()).select_from(WITH_SITE)
    rows = await conn.execute(query.group_by(nodes.c.site, nodes.c.pool, state))
    heard = await conn.execute(select(sites.c.id, sites.c.silent))
    return Counted(
        {(site, pool, what): count for site, pool, what, count in rows},
        {site: bool(silent) for site, silent in heard},
    )


@dataclass(frozen=True, slots=True)
class Scraped:
    """A node with an exporter. `exporter` is HOST:PORT or :PORT as its agent says; or empty."""

    site: str
    pool: str
    node: str
    simulated: bool
    exporter: str


async def scraped_nodes(
    conn: AsyncConnection, of_site: str | None, site: str | None, pool: str | None
) -> list[Scraped]:
    """Return the nodes with an exporter by site, pool and name: real ones, and others that say so.

    Silent ones are among them: that nobody answers there is what is to be seen. `of_site` is
    the site whose nodes a token may see; None is every site's.
    """
    columns = (nodes.c.site, nodes.c.pool, nodes.c.id, nodes.c.simulated, nodes.c.exporter)
    query = select(*columns).where(~nodes.c.simulated | (nodes.c.exporter != ""))
    for column, wanted in ((nodes.c.site, of_site), (nodes.c.site, site), (nodes.c.pool, pool)):
        if wanted is not None:
            query = query.where(column == wanted)
    rows = await conn.execute(query.order_by(nodes.c.site, nodes.c.pool, nodes.c.id))
    return [Scraped(*row) for row in rows]
