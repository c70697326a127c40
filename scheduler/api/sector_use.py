"""How many GPUs each sector had over the last days: the picture that everybody's Home shows."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples_ledger
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.lately import Lately
from scheduler.api.openapi import answers
from scheduler.core.model import Sector
from scheduler.core.policy import Policy
from scheduler.core.sector_use import SectorUse
from scheduler.db.sector_use import has_simulated_nodes, leases_since
from scheduler.wire.sector_use import SectorHours, SectorUsePage

router = APIRouter(prefix="/v1", tags=["ledger"])
KEEP_SECONDS, MOST_DAYS = 60.0, 31


class SectorUseQuery(BaseModel):
    """How many days to look back."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(default=14, ge=1, le=MOST_DAYS)


def sector_uses(hub: HubState) -> Lately[SectorUsePage]:
    """Return where answers of the last minute are kept: it reads every lease for each."""
    return Lately(hub.clock, lambda _: KEEP_SECONDS, MOST_DAYS)


@router.get(
    "/sector-use", response_model=SectorUsePage, responses=answers(examples_ledger.SECTOR_USE_PAGE)
)
async def sector_use(
    request: Request,
    _: Annotated[Caller, Depends(current_user)],
    query: Annotated[SectorUseQuery, Query()],
) -> Response:
    """Say how many GPUs each sector had, hour by hour, and how many there are."""
    hub, kept = hub_of(request), request.app.state.sector_uses
    question = (query.days, (await hub.policy()).revision)
    return body.reply(await kept.of(question, lambda: _looked_up(hub, query.days)))


async def _looked_up(hub: HubState, days: int) -> SectorUsePage:
    until = hub.clock.now()
    since = (until - timedelta(days=days)).replace(minute=0, second=0, microsecond=0)
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        found = SectorUse(since, until)
        sectors = {str(account.name): account.sector for account in policy.accounts}
        async for account, gpus, started_at, ended_at in leases_since(conn, since):
            if account in sectors:  # else the policy has dropped it, and its sector with it
                found.add(sectors[account], gpus, started_at, ended_at)
        simulated = await has_simulated_nodes(conn)
    return _page(found, policy, (since, until), simulated=simulated)


def _page(
    found: SectorUse, policy: Policy, window: tuple[datetime, datetime], *, simulated: bool
) -> SectorUsePage:
    means: dict[Sector, tuple[float, ...]] = found.means()
    return SectorUsePage(
        since=window[0],
        until=window[1],
        capacity=sum(pool.capacity for pool in policy.pools),
        simulated=simulated,
        sectors=tuple(SectorHours(sector=name, gpus=gpus) for name, gpus in means.items()),
    )
