"""Sites: the long poll that tells them what should be, the logs and packages of their runs."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Message

from scheduler.api import body, examples
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, hub_of, require
from scheduler.api.launches import site_said
from scheduler.api.openapi import accepts, accepts_media, answers
from scheduler.core.model import Backend
from scheduler.core.policy import Policy
from scheduler.db.jobs import find_run
from scheduler.db.packages import package_allowed
from scheduler.db.sites import desired_leases, record_sync
from scheduler.errors import Refused
from scheduler.files import LogGap
from scheduler.wire.accounts import Scope
from scheduler.wire.sites import (
    DesiredLease,
    LogAppended,
    NodeLaunched,
    ObservedRun,
    SiteOrders,
    SiteSync,
    Wanted,
)

router = APIRouter(prefix="/v1/sites/{site}", tags=["sites"])

# Another replica's bell is not heard here, so the database is looked at this often anyway.
LOOK_SECONDS = 2.0
# On SQLite there is no other replica, and looking is most of what a hub at rest does.
ALONE_SECONDS = 15.0
SiteId = Annotated[str, Path(examples=["national"])]


async def site_agent(
    site: SiteId, caller: Annotated[Caller, Depends(require(Scope.SITE))]
) -> Caller:
    """Let in the agent of this very site.

    Raises:
        Refused: 403, the token speaks for another site.
    """
    if caller.scope is not Scope.ADMIN and caller.subject != site:
        raise Refused(
            title="Another site's token",
            detail=f"This token speaks for site {caller.subject}.",
            status=403,
            field="site",
            value=site,
            limit=caller.subject,
            next_step="Use the token of that site.",
        )
    return caller


Agent = Annotated[Caller, Depends(site_agent)]


@router.post(
    "/sync",
    response_model=SiteOrders,
    openapi_extra=accepts(SiteSync, examples.SITE_SYNC),
    responses=answers(examples.SITE_ORDERS),
)
async def sync(request: Request, _: Agent, site: SiteId) -> Response:
    """Take what the site sees, and answer what should be: at once if that is news, or later.

    The answer waits up to `wait_seconds` for desired leases that differ from `seen_revision`.
    """
    message = await body.read(request, SiteSync)
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        policy = await hub.policies.current(conn)
        _check_known(site, policy)
        changed = await record_sync(conn, site, message, hub.clock.now())
        await site_said(hub, conn, site, message, policy)
    for job in changed:
        hub.wake.ring(f"job:{job}")
    if changed:
        hub.wake.ring("cycle")
    return body.reply(await _news(request, hub, site, message))


async def _news(request: Request, hub: HubState, site: str, message: SiteSync) -> SiteOrders:
    """Return the orders once they differ from those that the agent has, or time is up."""
    until = hub.clock.monotonic() + message.wait_seconds
    look = LOOK_SECONDS if hub.db.dialect == "postgresql" else ALONE_SECONDS
    gone = asyncio.ensure_future(request.receive())
    try:
        while True:
            news = hub.wake.bell(f"site:{site}")
            orders = await _orders(hub, site, message.runs)
            left = until - hub.clock.monotonic()
            told = orders.revision != message.seen_revision
            if told or left <= 0 or gone.done() or hub.wake.stopping.is_set():
                return orders
            await _first((news, hub.wake.stopping), gone, min(left, look))
    finally:
        gone.cancel()


async def _first(
    bells: Sequence[asyncio.Event], gone: asyncio.Future[Message], seconds: float
) -> None:
    """Wait for a bell, the client's going away, or the time, whichever comes first."""
    rings = [asyncio.ensure_future(bell.wait()) for bell in bells]
    either: list[asyncio.Future[Any]] = [*rings, gone]
    try:
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for ring in rings:
            ring.cancel()


async def _orders(hub: HubState, site: str, observed: Sequence[ObservedRun]) -> SiteOrders:
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        leases = await desired_leases(conn, site, policy)
    known = {lease.run for lease in leases}
    strays = tuple(_stray(run) for run in observed if run.run not in known)
    leases = (*leases, *strays)
    launched = hub.launches.launched(site, hub.clock.monotonic())
    return SiteOrders(
        revision=revision_of(leases, launched),
        leases=leases,
        server_time=hub.clock.now(),
        launched=launched,
    )


def revision_of(leases: Sequence[DesiredLease], launched: Sequence[NodeLaunched] = ()) -> str:
    """Return a digest of what a site should do and know: equal exactly when nothing is new."""
    digest = hashlib.sha256()
    for said in (*leases, *launched):
        digest.update(said.model_dump_json().encode())
    return digest.hexdigest()[:32]


def _stray(observed: ObservedRun) -> DesiredLease:
    """Order the end of a run that the hub does not know, or has long forgotten."""
    return DesiredLease(
        run=observed.run,
        job="",
        attempt=0,
        token=observed.token,
        wanted=Wanted.FORGET if observed.state.is_terminal else Wanted.STOP,
        backend=Backend.RAY_PRIVATE,
        nodes=(),
        gpu_model="",
        entrypoint="",
        time_limit_seconds=0,
        grace_seconds=0,
        bind_by=observed.observed_at,
    )


@router.post(
    "/runs/{run}/log",
    response_model=LogAppended,
    openapi_extra=accepts_media("application/octet-stream", {"type": "string", "format": "binary"}),
    responses=answers(examples.LOG_APPENDED),
)
async def append_log(
    request: Request,
    _: Agent,
    site: SiteId,
    run: Annotated[str, Path(examples=["cp-jq4k2mzx7wab-1"])],
    offset: Annotated[int, Query(ge=0, le=2**53)],
) -> Response:
    """Append raw bytes to a run's log at `offset`; a piece that is there already is skipped."""
    data = await request.body()
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        job = await _job_of_run(conn, site, run)
    try:
        next_offset = await hub.files.append_log(job, run, offset, data)
    except LogGap as gap:
        raise Refused(
            title="A piece is missing",
            detail=f"{gap}.",
            status=409,
            field="offset",
            value=str(offset),
            limit=str(gap.next_offset),
            next_step=f"Send again from byte {gap.next_offset}.",
            next_offset=gap.next_offset,
        ) from None
    hub.wake.ring(f"job:{job}")
    return body.reply(LogAppended(next_offset=next_offset))


@router.get(
    "/packages/{sha256}",
    response_class=FileResponse,
    responses={
        200: {
            "description": "The package's bytes",
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def package(
    request: Request, _: Agent, site: SiteId, sha256: Annotated[str, Path(examples=["0" * 64])]
) -> Response:
    """Return a package that an open run of this site refers to."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        allowed = await package_allowed(conn, site, sha256)
    path = hub.files.package_path(sha256) if allowed else None
    if path is None or not path.is_file():
        raise Refused(
            title="Not found",
            detail="No open run of this site refers to a package of that SHA-256.",
            status=404,
            field="sha256",
            value=sha256,
        )
    return FileResponse(path, media_type="application/zip")


def _check_known(site: str, policy: Policy) -> None:
    known = sorted(s.id for s in policy.sites)
    if site not in known:
        raise Refused(
            title="Not found",
            detail="The policy has no such site.",
            status=404,
            field="site",
            value=site,
            limit=", ".join(known),
            next_step="An admin adds it with `commonpool policy apply FILE`.",
        )


async def _job_of_run(conn: AsyncConnection, site: str, run: str) -> str:
    found = await find_run(conn, run)
    if found is None or found.site != site:
        raise Refused(
            title="Not found",
            detail="This site has no such run.",
            status=404,
            field="run",
            value=run,
        )
    return found.job_id
