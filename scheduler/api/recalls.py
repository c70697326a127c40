"""How long owners waited for what they had lent, per lender: everybody may hold us to it (R10)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from scheduler import metrics
from scheduler.api import body, examples_planner
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.openapi import answers
from scheduler.core.recalls import Published, Recalls, published
from scheduler.db.recalls import recalls_since
from scheduler.wire.diagnostics import RecallPage, RecallView

router = APIRouter(prefix="/v1", tags=["diagnostics"])

WINDOW = timedelta(days=30)
"""What metrics look back on, and answers where nothing else is asked."""


class WindowQuery(BaseModel):
    """How far back to look; a parameter that is not here is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(default=WINDOW.days, ge=1, le=366)


@router.get("/recalls", response_model=RecallPage, responses=answers(examples_planner.RECALL_PAGE))
async def recalls(
    request: Request,
    _: Annotated[Caller, Depends(current_user)],
    query: Annotated[WindowQuery, Query()],
) -> Response:
    """Say how long owners waited for what they lent, against the promised notice (R10)."""
    hub = hub_of(request)
    now = hub.clock.now()
    since = now - timedelta(days=query.days)
    found = await _published(hub, since, now)
    return body.reply(
        RecallPage(
            since=since,
            until=now,
            lenders=views_of(found.lenders),
            pools=views_of(found.pools),
            pairs=views_of(found.pairs),
        )
    )


async def gauge(hub: HubState) -> None:
    """Bring the metrics of recalls up to now: every hub of one database shows the same."""
    now = hub.clock.now()
    found = await _published(hub, now - WINDOW, now)
    seconds: dict[tuple[str, ...], float] = {}
    outcomes: dict[tuple[str, ...], float] = {}
    for one in found.pairs:
        names = (str(one.lender), str(one.pool))
        for part, took in (("50", one.p50), ("99", one.p99)):
            if took is not None:
                seconds[*names, part] = took.total_seconds()
        for outcome, count in (("kept", one.kept), ("late", one.late), ("given_up", one.given_up)):
            outcomes[*names, outcome] = count
    metrics.RECALL_SECONDS.show(seconds)
    metrics.RECALLS.show(outcomes)


async def _published(hub: HubState, since: datetime, now: datetime) -> Published:
    async with hub.db.reading() as conn:
        return published(await recalls_since(conn, since), now)


def views_of(rows: Sequence[Recalls]) -> tuple[RecallView, ...]:
    """Return sums of recalls as messages."""
    return tuple(
        RecallView(
            lender=one.lender,
            pool=one.pool,
            recalls=one.count,
            started=one.started,
            given_up=one.given_up,
            kept=one.kept,
            late=one.late,
            p50_seconds=None if one.p50 is None else one.p50.total_seconds(),
            p99_seconds=None if one.p99 is None else one.p99.total_seconds(),
            longest_notice_seconds=one.longest_notice.total_seconds(),
        )
        for one in rows
    )
