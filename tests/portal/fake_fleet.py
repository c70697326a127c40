"""The fake hub's pools, nodes, accounts and projects."""

from typing import Annotated

from fastapi import Depends

from scheduler.api.examples_projects import PROJECT_LIST
from scheduler.wire.accounts import AccountList, NodePage, PoolList
from scheduler.wire.telemetry import TelemetryPage
from tests.portal import busy_day, operated_days


def serve(app, hub, caller):
    """Serve the fleet as everybody sees it."""
    who = Annotated[str, Depends(caller)]

    @app.get("/v1/pools")
    def pools(_: who) -> PoolList:
        return PoolList(pools=tuple(hub.pools))

    @app.get("/v1/nodes")
    def nodes(_: who, pool: str | None = None, limit: int = 100) -> NodePage:
        found = [node for node in hub.nodes if pool in (None, node.pool)]
        return NodePage(nodes=tuple(found[:limit]))

    @app.get("/v1/telemetry")
    def telemetry(_: who, pool: str | None = None, limit: int = 100) -> TelemetryPage:
        found = [node for node in hub.nodes if pool in (None, node.pool)]
        known = busy_day.telemetry(found, hub.now)
        shown = tuple(operated_days.telemetry(hub, known))[:limit]
        return TelemetryPage(at=hub.now, nodes=shown)

    @app.get("/v1/projects")
    def projects() -> dict[str, object]:
        return PROJECT_LIST

    @app.get("/v1/accounts")
    def accounts(_: who) -> AccountList:
        return AccountList(accounts=tuple(hub.accounts))
