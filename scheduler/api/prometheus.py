"""What Prometheus scrapes: the nodes' exporters by site and pool, and gauges of nodes by state.

The list is Prometheus' HTTP service discovery: always whole, a group of targets for each
pool, so that 44,000 nodes are less than a megabyte. One Prometheus is for one site; where
that is too much for it, several take a shard each.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Annotated
from zlib import crc32

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from scheduler import metrics
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, hub_of, require
from scheduler.core.policy import Policy
from scheduler.db.monitoring import Counted, Scraped, counted, scraped_nodes
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope

router = APIRouter(prefix="/v1/prometheus", tags=["ops"])

EVERY_SITE = "all-sites"
"""The subject of a token that sees the nodes of every site; any other is a site's name."""
_HOST = r"^[A-Za-z0-9.-]*$"
_EXAMPLE = [
    {
        "targets": ["gpu-1.state-u.example:9400", "gpu-2.state-u.example:9400"],
        "labels": {"site": "state-u", "pool": "state-u-hpc", "tier": "institution"},
    }
]


class TargetGroup(msgspec.Struct, frozen=True, gc=False):
    """Targets of one pool, with the labels that all of them get."""

    targets: list[str]
    labels: dict[str, str]


class TargetQuery(BaseModel):
    """Which nodes, and how they are reached; what is not here is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    site: str | None = Field(default=None, max_length=63, examples=["state-u"])
    pool: str | None = Field(default=None, max_length=63, examples=["state-u-hpc"])
    port: int = Field(
        default=9400, ge=1, le=65_535, description="Of exporters whose agents do not say theirs"
    )
    domain: str = Field(
        default="", max_length=200, pattern=_HOST, description="Put behind each node's name"
    )
    simulated: bool = Field(default=True, description="Simulated nodes too, where they have one")
    shard: int = Field(default=0, ge=0, le=999, description="From 0; below `shards`")
    shards: int = Field(default=1, ge=1, le=1000)


@router.get("/targets", responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}})
async def targets(
    request: Request,
    caller: Annotated[Caller, Depends(require(Scope.METRICS))],
    query: Annotated[TargetQuery, Query()],
) -> Response:
    """List the nodes' exporters for Prometheus' `http_sd_configs`.

    A token of a site sees that site's nodes; one of `all-sites` sees all.

    Nodes that are simulated have groups of their own, for several of them share an address.
    """
    if query.shard >= query.shards:
        raise Refused(
            title="No such shard",
            detail=f"shard {query.shard} of {query.shards}: they are counted from 0",
            field="shard",
            value=str(query.shard),
            limit=f"0 to {query.shards - 1}",
        )
    hub = hub_of(request)
    whole = caller.scope is Scope.ADMIN or caller.subject == EVERY_SITE
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        found = await scraped_nodes(conn, None if whole else caller.subject, query.site, query.pool)
    tiers = {str(pool.id): pool.tier.value for pool in policy.pools}
    groups = list(_groups(found, tiers, query))
    return Response(msgspec.json.encode(groups), media_type="application/json")


def _groups(
    found: Iterable[Scraped], tiers: dict[str, str], query: TargetQuery
) -> Iterator[TargetGroup]:
    mine = (one for one in found if crc32(one.node.encode()) % query.shards == query.shard)
    for (site, pool), nodes in groupby(mine, key=lambda one: (one.site, one.pool)):
        labels = {"site": site, "pool": pool, "tier": tiers.get(pool, "")}
        real: list[Scraped] = []
        simulated: list[Scraped] = []
        for one in nodes:
            (simulated if one.simulated else real).append(one)
        if real:
            yield TargetGroup([_address(one, query) for one in real], labels)
        for one in simulated if query.simulated else ():
            # Several of them are behind one address, each under its own name.
            names = {"node": one.node, "__param_node": one.node}
            yield TargetGroup([one.exporter], labels | names)


def _address(one: Scraped, query: TargetQuery) -> str:
    """Return a real machine's: it says its port, and is reached by its name alone."""
    _, _, port = one.exporter.rpartition(":")
    domain = f".{query.domain.strip('.')}" if query.domain else ""
    return f"{one.node}{domain}:{port or query.port}"


async def gauge(hub: HubState) -> None:
    """Bring nodes and site agents by state up to now: every hub of one database shows the same."""
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        found = await counted(conn)
    _show(policy, found)


def _show(policy: Policy, found: Counted) -> None:
    pools = {(str(pool.site), str(pool.id)) for pool in policy.pools}
    seen = pools | {(site, pool) for site, pool, _ in found.nodes}
    metrics.NODES.show(
        {
            (site, pool, state.value): found.nodes.get((site, pool, state.value), 0)
            for site, pool in seen
            for state in metrics.NodeState
        }
    )
    rows: dict[tuple[str, ...], float] = {}
    for one in policy.sites:
        # A site that never spoke is as silent as one that stopped.
        silent = found.silent.get(str(one.id), True)
        rows[one.id, metrics.AgentState.SILENT.value] = silent
        rows[one.id, metrics.AgentState.HEARD.value] = not silent
    metrics.SITE_AGENTS.show(rows)
