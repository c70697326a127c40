"""What a person sees first: one answer in place of the many that Home is made of.

A page that asks for its parts one by one pays for finding the caller, a connection and a
transaction each time, and shows parts of different moments. Pools are counted for all who look
together: that reads every node.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body
from scheduler.api import examples_overview as examples
from scheduler.api.accounts import me_of
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.jobs import views_in
from scheduler.api.lately import Lately
from scheduler.api.openapi import answers
from scheduler.api.requests import RequestQuery, lines
from scheduler.core.approvals import RequestState
from scheduler.core.lifecycle import JobState
from scheduler.db.accounts import pool_views
from scheduler.db.job_counts import count_jobs
from scheduler.db.jobs import list_jobs
from scheduler.wire.accounts import PoolView
from scheduler.wire.overview import POOLS_SECONDS, JobCount, Overview

router = APIRouter(prefix="/v1", tags=["accounts"])

COUNTED = 50
ASKED = 5
PASSING = tuple(state for state in JobState if not state.is_terminal)


class OverviewQuery(BaseModel):
    """How many of the newest jobs to show."""

    model_config = ConfigDict(extra="forbid")

    jobs: int = Field(default=20, ge=0, le=100)


def pools_lately(hub: HubState) -> Lately[tuple[PoolView, ...]]:
    """Return where the pools are kept as they were within the last seconds."""
    return Lately(hub.clock, lambda _: POOLS_SECONDS)


async def _pools(hub: HubState) -> tuple[PoolView, ...]:
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        return await pool_views(conn, policy, hub.clock.now())


@router.get("/overview", response_model=Overview, responses=answers(examples.OVERVIEW))
async def overview(
    request: Request,
    caller: Annotated[Caller, Depends(current_user)],
    query: Annotated[OverviewQuery, Query()],
) -> Response:
    """Say who the caller is, their newest jobs, what waits for them, and what quotas have left."""
    hub = hub_of(request)
    # By policy: quotas of before it would be cut to the accounts that one has under it.
    revision = (await hub.policy()).revision
    pools = await request.app.state.pools_lately.of(revision, lambda: _pools(hub))
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        me = me_of(caller, policy)
        newest = await list_jobs(conn, owner=caller.own, limit=query.jobs)
        awaiting, more = await lines(hub, conn, caller, RequestQuery(awaiting="me", limit=COUNTED))
        open_ones = RequestQuery(who="me", state=RequestState.OPEN, limit=ASKED)
        asked, _ = await lines(hub, conn, caller, open_ones)
        return body.reply(
            Overview(
                me=me,
                jobs=await views_in(hub, conn, newest, caller),
                counts=await _counts(conn, caller),
                awaiting=len(awaiting),
                more_awaiting=more is not None,
                asked=asked,
                pools=_own(pools, frozenset(me.accounts)),
            )
        )


async def _counts(conn: AsyncConnection, caller: Caller) -> tuple[JobCount, ...]:
    found = await count_jobs(conn, caller.own, PASSING, at_most=COUNTED + 1)
    return tuple(
        JobCount(state=state, jobs=min(number, COUNTED), more=number > COUNTED)
        for state, number in found.items()
        if number
    )


def _own(pools: tuple[PoolView, ...], accounts: frozenset[str]) -> tuple[PoolView, ...]:
    """Return the pools where these accounts have quotas, each with these quotas only."""
    narrowed = (
        pool.model_copy(
            update={"quotas": tuple(each for each in pool.quotas if each.account in accounts)}
        )
        for pool in pools
    )
    return tuple(pool for pool in narrowed if pool.quotas)
