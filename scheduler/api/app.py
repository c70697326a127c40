"""Compose the API: every router, the frame around them, and what errors become."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from scheduler.api import (
    accounts,
    again,
    audit,
    cards,
    development,
    devices,
    diagnostics,
    drafts,
    dry_run,
    identities,
    job_logs,
    job_reports,
    jobs,
    ledger,
    ledger_files,
    ledger_pairs,
    linking,
    nodes,
    openapi,
    operating,
    ops,
    overview,
    personal_tokens,
    policy,
    policy_texts,
    precedents,
    problems,
    projects,
    prometheus,
    ray_jobs,
    ray_jobs_socket,
    recalls,
    requests,
    sector_use,
    sessions,
    sign_in,
    sites,
    telemetry,
    tokens,
    usage,
    waste,
    what_if,
)
from scheduler.api.deps import HubState
from scheduler.api.frame import Frame
from scheduler.api.usage_lately import usage_lately

_ROOMS = (
    # Paths are tried in this order, and a fleet's reports are most of what comes.
    nodes,
    sites,
    jobs,
    job_logs,
    dry_run,
    ray_jobs,
    ray_jobs_socket,
    accounts,
    policy,
    tokens,
    ops,
    sessions,
    identities,
    personal_tokens,
    sign_in,
    linking,
    cards,
    devices,
    development,
    again,
    audit,
    diagnostics,
    drafts,
    job_reports,
    ledger,
    ledger_files,
    ledger_pairs,
    operating,
    overview,
    policy_texts,
    precedents,
    projects,
    prometheus,
    recalls,
    requests,
    sector_use,
    telemetry,
    usage,
    waste,
    what_if,
)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(hub: HubState, lifespan: Lifespan | None = None) -> FastAPI:
    """Return the hub's application. `lifespan` starts and stops what runs beside it.

    There is no `/docs` page: FastAPI's loads scripts from the internet, which a hub behind
    a firewall has not. `/openapi.json` says everything.
    """
    app = FastAPI(
        title="Commonpool",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        generate_unique_id_function=openapi.operation_id,
        # Ray's client turns a redirected POST into a GET.
        redirect_slashes=False,
        lifespan=_settled(hub, lifespan or _nothing_beside),
    )
    app.state.hub = hub
    app.state.sector_uses = sector_use.sector_uses(hub)
    app.state.usage_lately = usage_lately(hub)
    app.state.pools_lately = overview.pools_lately(hub)
    for room in _ROOMS:
        app.include_router(room.router)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(Frame, settings=hub.settings, clock=hub.clock)
    return app


def _settled(hub: HubState, beside: Lifespan) -> Lifespan:
    """Finish what requests left behind before what runs beside them, and the database, ends."""

    @asynccontextmanager
    async def settled(app: FastAPI) -> AsyncIterator[None]:
        async with beside(app):
            try:
                yield
            finally:
                await hub.settle()

    return settled


@asynccontextmanager
async def _nothing_beside(app: FastAPI) -> AsyncIterator[None]:
    del app
    yield
