"""Is it alive, is it ready, and what does it count."""

import asyncio
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from scheduler.api import prometheus, recalls
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, hub_of, require
from scheduler.api.openapi import answers
from scheduler.errors import Refused, StorageUnavailable
from scheduler.wire.accounts import Scope

log = structlog.get_logger("ops")
router = APIRouter(tags=["ops"])
DATABASE_SECONDS = 5.0


@router.get("/healthz", responses=answers({"status": "alive"}))
async def healthz() -> Response:
    """Say that the process answers; nothing else is looked at."""
    return JSONResponse({"status": "alive"})


@router.get(
    "/readyz",
    responses=answers({"status": "ready"})
    | answers({"status": "not ready", "why": ["the disk is full"]}, 503, "Not ready, and why"),
)
async def readyz(request: Request) -> Response:
    """Say whether work can be taken: the database answers and the loops are alive."""
    hub = hub_of(request)
    faults = [fault for fault in (await _database_fault(hub), hub.loops_fault()) if fault]
    if faults:
        return JSONResponse({"status": "not ready", "why": faults}, status_code=503)
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": "commonpool_leader 1.0"}}}},
)
async def metrics_page(
    request: Request, _: Annotated[Caller, Depends(require(Scope.METRICS))]
) -> Response:
    """Return what is counted, for Prometheus; as OpenMetrics, with exemplars, where accepted."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            await recalls.gauge(hub_of(request))
            await prometheus.gauge(hub_of(request))
    except (StorageUnavailable, TimeoutError, Refused) as error:
        # What this process counts is worth most where the database is in trouble.
        log.warning("gauges_not_read", why=str(error) or "the database did not answer in time")
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    # A tenth of a second where there are thousands of quotas: nobody else is to wait for it.
    page = await asyncio.to_thread(encode, REGISTRY)
    return Response(page, headers={"Content-Type": media_type})


async def _database_fault(hub: HubState) -> str | None:
    try:
        async with asyncio.timeout(DATABASE_SECONDS), hub.db.reading() as conn:
            await conn.execute(text("SELECT 1"))
    except StorageUnavailable as error:
        return str(error)
    except TimeoutError:
        return f"the database did not answer within {DATABASE_SECONDS:.0f} s"
    return None
