"""What accounts were leased against what their GPUs did with it (R18)."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples_operating
from scheduler.api.auth import Caller
from scheduler.api.deps import current_user, hub_of
from scheduler.api.openapi import answers
from scheduler.core.waste import waste
from scheduler.db.waste import leased_since, seen_since
from scheduler.wire.operating import WastePage, WasteView

router = APIRouter(prefix="/v1", tags=["operating"])


class WasteQuery(BaseModel):
    """How far back to look; rollups are kept for 35 days."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(default=7, ge=1, le=31)


@router.get("/waste", response_model=WastePage, responses=answers(examples_operating.WASTE_PAGE))
async def waste_report(
    request: Request,
    _: Annotated[Caller, Depends(current_user)],
    query: Annotated[WasteQuery, Query()],
) -> Response:
    """Say how many GPU-hours each account was leased, and how many of them its GPUs worked."""
    hub = hub_of(request)
    until = hub.clock.now()
    since = until - timedelta(days=query.days)
    async with hub.db.reading() as conn:
        rows = waste(await leased_since(conn, since), await seen_since(conn, since), since, until)
    accounts = tuple(
        WasteView(
            account=row.account,
            leased_gpu_hours=round(row.leased, 3),
            measured_gpu_hours=round(row.measured, 3),
            used_gpu_hours=round(row.used, 3),
            share_used=None if row.share_used is None else round(row.share_used, 4),
        )
        for row in rows
    )
    return body.reply(WastePage(since=since, until=until, accounts=accounts))
