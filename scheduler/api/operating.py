"""What operators do to nodes: drain, resume, plan maintenance (R7, R19)."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body
from scheduler.api import examples_operating as examples
from scheduler.api.audited import who
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, current_user, hub_of, require
from scheduler.api.launches import launcher_view
from scheduler.api.nodes import as_heard
from scheduler.api.openapi import accepts, answers
from scheduler.core.audit import Entry, Values
from scheduler.core.health import HEALTH, PROBE, Clears, Cordon
from scheduler.core.model import Reservation
from scheduler.core.roles import Action
from scheduler.db import audit
from scheduler.db.maintenance import (
    Window,
    cancel_maintenance,
    plan_maintenance,
    planned_maintenance,
)
from scheduler.db.node_states import (
    DrainOrder,
    cordon_of_node,
    drain_node,
    events_of_node,
    resume_node,
)
from scheduler.db.nodes import one_node
from scheduler.wire.accounts import Scope
from scheduler.wire.operating import (
    CordonView,
    DrainRequest,
    MaintenanceList,
    MaintenanceRequest,
    MaintenanceWindow,
    NodeDetail,
    NodeEvent,
    ResumeRequest,
)

router = APIRouter(prefix="/v1", tags=["operating"])
Operator = Annotated[Caller, Depends(require(Scope.ADMIN, action=Action.OPERATE_NODES))]


@router.get("/nodes/{node}", response_model=NodeDetail, responses=answers(examples.NODE_DETAIL))
async def node_detail(
    node: str, request: Request, caller: Annotated[Caller, Depends(current_user)]
) -> Response:
    """Show a node, why it takes no work, what its launcher does, and what last happened to it."""
    return await _detail(hub_of(request), node, caller)


@router.post(
    "/nodes/{node}/drain",
    response_model=NodeDetail,
    openapi_extra=accepts(DrainRequest, examples.DRAIN_REQUEST),
    responses=answers(examples.NODE_DETAIL),
)
async def drain(node: str, request: Request, caller: Operator) -> Response:
    """Take a node out of work: its runs are told, and requeued when they have ended."""
    asked = await body.read(request, DrainRequest)
    hub = hub_of(request)
    notice = None if asked.notice_seconds is None else timedelta(seconds=asked.notice_seconds)
    order = DrainOrder(caller.subject, asked.reason, asked.until, notice)
    async with hub.db.transaction() as conn:
        now, policy = hub.clock.now(), await hub.policies.current(conn)
        before = _state(await cordon_of_node(conn, node))
        sites = await drain_node(conn, node, order, policy, now)
        after = {"until": asked.until, "notice_seconds": asked.notice_seconds, "told": sites}
        entry = Entry(now, who(caller), "node.drain", f"node:{node}", before, after, asked.reason)
        await audit.record(conn, [entry])
    for site in sites:
        hub.wake.ring(f"site:{site}")
    hub.wake.ring("cycle")
    return await _detail(hub, node, caller)


@router.post(
    "/nodes/{node}/resume",
    response_model=NodeDetail,
    openapi_extra=accepts(ResumeRequest, examples.RESUME_REQUEST, required=False),
    responses=answers(examples.NODE_DETAIL),
)
async def resume(node: str, request: Request, caller: Operator) -> Response:
    """End a node's cordon, whoever said so; it works again from its next report on."""
    said = await request.body()
    asked = await body.read(request, ResumeRequest) if said else ResumeRequest()
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        now = hub.clock.now()
        before = _state(await cordon_of_node(conn, node))
        if await resume_node(conn, node, caller.subject, now, asked.reason):
            entry = Entry(
                now, who(caller), "node.resume", f"node:{node}", before, reason=asked.reason
            )
            await audit.record(conn, [entry])
    hub.fleet.doubt(node)
    hub.wake.ring("cycle")
    return await _detail(hub, node, caller)


@router.get(
    "/maintenance",
    response_model=MaintenanceList,
    responses=answers(examples.MAINTENANCE_LIST),
)
async def maintenance(request: Request, _: Annotated[Caller, Depends(current_user)]) -> Response:
    """List the maintenance that operators planned; the policy may hold more."""
    return await _windows(hub_of(request))


@router.post(
    "/maintenance",
    response_model=MaintenanceList,
    openapi_extra=accepts(MaintenanceRequest, examples.MAINTENANCE_REQUEST),
    responses=answers(examples.MAINTENANCE_LIST),
)
async def plan_window(request: Request, caller: Operator) -> Response:
    """Keep nodes free of work for a time: nothing that would still run then is started there."""
    asked = await body.read(request, MaintenanceRequest)
    hub = hub_of(request)
    window = Window(asked.nodes, asked.starts_at, asked.ends_at, asked.reason, caller.subject)
    async with hub.db.transaction() as conn:
        now = hub.clock.now()
        names = await plan_maintenance(conn, window, now)
        after = {"names": names, "nodes": asked.nodes, "from": asked.starts_at, "to": asked.ends_at}
        about = tuple(f"node:{node}" for node in asked.nodes)
        entry = Entry(
            at=now,
            who=who(caller),
            action="maintenance.plan",
            object=f"maintenance:{names[0]}",
            after=after,
            reason=asked.reason,
            about=about,
        )
        await audit.record(conn, [entry])
    hub.wake.ring("cycle")
    return await _windows(hub)


@router.delete(
    "/maintenance/{name}",
    response_model=MaintenanceList,
    responses=answers(examples.MAINTENANCE_LIST),
)
async def cancel_window(name: str, request: Request, caller: Operator) -> Response:
    """Undo planned maintenance."""
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        now = hub.clock.now()
        await cancel_maintenance(conn, name, caller.subject, now)
        entry = Entry(now, who(caller), "maintenance.cancel", f"maintenance:{name}")
        await audit.record(conn, [entry])
    hub.wake.ring("cycle")
    return await _windows(hub)


def _state(cordon: Cordon | None) -> Values | None:
    if cordon is None:
        return None
    return {"action": cordon.action.name.lower(), "why": cordon.why, "by": cordon.by}


async def _detail(hub: HubState, node: str, caller: Caller) -> Response:
    async with hub.db.reading() as conn:
        view = await one_node(conn, node)
        cordon = await cordon_of_node(conn, node)
        events = await events_of_node(conn, node)
        launcher = await launcher_view(hub, conn, node, caller)
    history = tuple(NodeEvent(at=at, event=event, sentence=said) for at, event, said in events)
    shown = None if cordon is None else _cordon_view(cordon)
    return body.reply(
        NodeDetail(node=as_heard(hub, view), cordon=shown, launcher=launcher, history=history)
    )


def _cordon_view(cordon: Cordon) -> CordonView:
    return CordonView(
        action=cordon.action.name.lower(),
        why=cordon.why,
        by=cordon.by,
        at=cordon.at,
        until=cordon.until,
        returns=_returns(cordon),
    )


def _returns(cordon: Cordon) -> str:
    probe = f"{int(PROBE.total_seconds() // 60)} minutes without a finding"
    if cordon.by == HEALTH and cordon.clears is Clears.FACTS:
        return f"{probe}, or `commonpool node resume`"
    if cordon.by == HEALTH and cordon.clears is Clears.RESTART:
        return f"a reset and a new start of its agent, then {probe}; or `commonpool node resume`"
    until = "" if cordon.until is None else f"{cordon.until:%Y-%m-%d %H:%M} UTC, or "
    return f"{until}`commonpool node resume`"


async def _windows(hub: HubState) -> Response:
    async with hub.db.reading() as conn:
        rows = await planned_maintenance(conn)
    now = hub.clock.now()
    return body.reply(MaintenanceList(windows=tuple(_window(r) for r in rows if r.ends_at > now)))


def _window(row: Reservation) -> MaintenanceWindow:
    return MaintenanceWindow(
        name=row.id,
        pool=row.pool,
        nodes=tuple(sorted(row.nodes)),
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        reason=row.reason,
    )
