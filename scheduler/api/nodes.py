"""Nodes: what reporters tell, and what people see of them and of their pools."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples, launches, leases, reports
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, current_user, hub_of, require
from scheduler.api.openapi import accepts, answers
from scheduler.db.accounts import pool_views
from scheduler.db.nodes import list_nodes
from scheduler.wire.accounts import NodePage, NodeView, PoolList, Scope
from scheduler.wire.nodes import NodeReportReply
from scheduler.wire.reports import NodeReports

router = APIRouter(prefix="/v1", tags=["nodes"])


class NodeQuery(BaseModel):
    """Which nodes to list; a parameter that is not here is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    pool: str | None = Field(default=None, max_length=63, examples=["national-hub"])
    after: str | None = Field(default=None, max_length=63, examples=["national-1"])
    limit: int = Field(default=50, ge=1, le=500)


@router.get("/pools", response_model=PoolList, responses=answers(examples.POOL_LIST))
async def pools(request: Request, _: Annotated[Caller, Depends(current_user)]) -> Response:
    """List every pool with what is used and free, and each account's quota."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        return body.reply(PoolList(pools=await pool_views(conn, policy, hub.clock.now())))


@router.get("/nodes", response_model=NodePage, responses=answers(examples.NODE_PAGE))
async def nodes(
    request: Request,
    _: Annotated[Caller, Depends(current_user)],
    query: Annotated[NodeQuery, Query()],
) -> Response:
    """List nodes by name."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        found = await list_nodes(conn, pool=query.pool, after=query.after, limit=query.limit + 1)
    page = tuple(as_heard(hub, node) for node in found[: query.limit])
    more = page[-1].node if len(found) > query.limit else None
    return body.reply(NodePage(nodes=page, next=more))


def as_heard(hub: HubState, node: NodeView) -> NodeView:
    """Return a node with the time that it really spoke last, which seldom reaches the database."""
    at = hub.fleet.heard_at(node.node)
    if at is None or datetime.fromtimestamp(at, UTC) <= node.reported_at:
        return node
    return node.model_copy(update={"reported_at": datetime.fromtimestamp(at, UTC)})


@router.post(
    "/nodes/report",
    response_model=NodeReportReply,
    openapi_extra=accepts(NodeReports, examples.NODE_REPORTS),
    responses=answers(examples.NODE_REPORT_REPLY),
)
async def report_nodes(
    request: Request, caller: Annotated[Caller, Depends(require(Scope.NODE))]
) -> Response:
    """Take reports of nodes, all or none. A token speaks for its site's nodes, or for one node."""
    return await _reported(request, caller, apart=False)


@router.post(
    "/nodes/reports",
    response_model=NodeReportReply,
    openapi_extra=accepts(NodeReports, examples.NODE_REPORTS),
    responses=answers(examples.NODE_REPORT_REPLY),
)
async def report_site(
    request: Request, caller: Annotated[Caller, Depends(require(Scope.NODE))]
) -> Response:
    """Take what a gateway has gathered of its site: each report that is refused is named."""
    return await _reported(request, caller, apart=True)


async def _reported(request: Request, caller: Caller, *, apart: bool) -> Response:
    hub = hub_of(request)
    found = await reports.read(request)
    began = hub.clock.monotonic()
    taken = await reports.take(hub, caller, found, apart=apart)
    told = launches.Told() if apart else await launches.told(hub, found)
    leased = await leases.told(hub, found, taken.refused)
    ended = hub.clock.monotonic()
    hub.fleet.pace.took(ended - began, ended)
    seconds, soon = hub.fleet.pace.seconds(hub.settings.node_report_seconds), told.within_seconds
    return body.reply(
        NodeReportReply(
            accepted=taken.accepted,
            next_report_seconds=seconds if soon is None else min(seconds, soon),
            refused=tuple(taken.refused),
            notes=tuple(taken.notes),
            launches=told.orders,
            leases=leased.leases,
            leases_seconds_old=leased.seconds_old,
        )
    )
