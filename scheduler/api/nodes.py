"""Nodes: what reporters tell, and what people see of them and of their pools."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples
from scheduler.api.auth import Caller
from scheduler.api.deps import current_user, hub_of, require
from scheduler.api.openapi import accepts, answers
from scheduler.core.policy import Policy
from scheduler.db.accounts import pool_views
from scheduler.db.nodes import list_nodes, save_reports
from scheduler.errors import Refused
from scheduler.wire.accounts import NodePage, PoolList, Scope
from scheduler.wire.nodes import NodeReportReply, NodeReports

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
    async with hub_of(request).db.reading() as conn:
        found = await list_nodes(conn, pool=query.pool, after=query.after, limit=query.limit + 1)
    page = tuple(found[: query.limit])
    more = page[-1].node if len(found) > query.limit else None
    return body.reply(NodePage(nodes=page, next=more))


@router.post(
    "/nodes/report",
    response_model=NodeReportReply,
    openapi_extra=accepts(NodeReports, examples.NODE_REPORTS),
    responses=answers(examples.NODE_REPORT_REPLY),
)
async def report_nodes(
    request: Request, caller: Annotated[Caller, Depends(require(Scope.NODE))]
) -> Response:
    """Take reports of a site's nodes; a token speaks only for the pools of its site."""
    message = await body.read(request, NodeReports)
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        policy = await hub.policies.current(conn)
        if caller.scope is not Scope.ADMIN:
            _check_site(message, policy, caller.subject)
        accepted = await save_reports(conn, message.reports, policy, hub.clock.now())
    hub.wake.ring("cycle")
    return body.reply(
        NodeReportReply(accepted=accepted, next_report_seconds=hub.settings.node_report_seconds)
    )


def _check_site(message: NodeReports, policy: Policy, site: str) -> None:
    sites = {pool.id: pool.site for pool in policy.pools}
    for place, report in enumerate(message.reports):
        # A pool that no policy names is for `save_reports` to refuse, in the same words for all.
        if sites.get(report.pool, site) != site:  # type: ignore[call-overload]  # NewType keys
            raise Refused(
                title="Not this site's pool",
                detail=f"Pool {report.pool} belongs to another site than this token's.",
                status=403,
                field=f"reports.{place}.pool",
                value=report.pool,
                limit=f"pools of site {site}",
                next_step="Use a token of that site.",
            )
