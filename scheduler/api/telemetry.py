"""The fleet as it is now: values from this process's memory, leases from the database.

On PostgreSQL with several hubs each hears some of the nodes; of the others it shows what the
database knows, and says that it did not measure them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body
from scheduler.api import examples_telemetry as examples
from scheduler.api.auth import Caller
from scheduler.api.cleared import is_cleared
from scheduler.api.deps import HubState, hub_of, require
from scheduler.api.openapi import answers
from scheduler.api.prometheus import EVERY_SITE
from scheduler.core.model import Pool, Tier
from scheduler.core.policy import Policy
from scheduler.db.telemetry import Asked, HeldGpu, KnownGpu, KnownNode, held_gpus, known_nodes
from scheduler.fleet.latest import GpuNow, Said
from scheduler.wire.accounts import Scope
from scheduler.wire.telemetry import (
    ForeignProcesses,
    GpuTelemetry,
    Holding,
    NodeTelemetry,
    TelemetryPage,
)

router = APIRouter(prefix="/v1", tags=["nodes"])


class TelemetryQuery(BaseModel):
    """Which nodes to show; a parameter that is not here is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    tier: Tier | None = None
    site: str | None = Field(default=None, max_length=63, examples=["national"])
    pool: str | None = Field(default=None, max_length=63, examples=["national-hub"])
    account: str | None = Field(
        default=None,
        max_length=120,
        examples=["arl"],
        description="Nodes where it, or an account below it, has a lease",
    )
    after: str | None = Field(default=None, max_length=63, examples=["national-1"])
    limit: int = Field(default=100, ge=1, le=500)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who is shown the fleet, by the labels of the policy in force (R14)."""

    caller: Caller
    policy: Policy

    def may_see(self, held: Sequence[HeldGpu]) -> bool:
        """Return whether they may know what a GPU does that these runs have."""
        return all(is_cleared(self.policy, self.caller, one.user, one.label) for one in held)


@router.get("/telemetry", response_model=TelemetryPage, responses=answers(examples.TELEMETRY_PAGE))
async def telemetry(
    request: Request,
    caller: Annotated[Caller, Depends(require(Scope.USER, Scope.METRICS))],
    query: Annotated[TelemetryQuery, Query()],
) -> Response:
    """Show nodes by name with their GPUs: how busy, how well, and who has them."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        pools = {str(pool.id): pool for pool in policy.pools if _is_shown(pool, query, caller)}
        below = None if query.account is None else _below(policy, query.account)
        asked = Asked(tuple(pools), below, query.after, query.limit + 1)
        found = await known_nodes(conn, asked)
        page = found[: query.limit]
        held = _by_gpu(await held_gpus(conn, [node.name for node in page]))
    return body.reply(
        TelemetryPage(
            at=hub.clock.now(),
            nodes=tuple(
                _node(hub, node, pools[node.pool], held, Reader(caller, policy)) for node in page
            ),
            next=page[-1].name if len(found) > query.limit else None,
        )
    )


def _is_shown(pool: Pool, query: TelemetryQuery, caller: Caller) -> bool:
    if caller.scope is Scope.METRICS and caller.subject not in {pool.site, EVERY_SITE}:
        return False
    wanted = ((query.tier, pool.tier), (query.site, pool.site), (query.pool, pool.id))
    return all(asked is None or asked == is_ for asked, is_ in wanted)


def _below(policy: Policy, account: str) -> tuple[str, ...]:
    """Return an account and all below it; itself alone where the policy does not know it."""
    found, fresh = {account}, {account}
    while fresh:
        fresh = {str(a.name) for a in policy.accounts if a.parent in fresh} - found
        found |= fresh
    return tuple(sorted(found))


def _by_gpu(held: Sequence[HeldGpu]) -> Mapping[tuple[str, int], list[HeldGpu]]:
    found: dict[tuple[str, int], list[HeldGpu]] = {}
    for one in held:
        found.setdefault((one.node, one.gpu), []).append(one)
    return found


def _node(
    hub: HubState,
    node: KnownNode,
    pool: Pool,
    held: Mapping[tuple[str, int], Sequence[HeldGpu]],
    reader: Reader,
) -> NodeTelemetry:
    seat, heard = hub.fleet.seat(node.name), hub.fleet.heard_at(node.name)
    said = seat.said if seat is not None and seat.said is not None else Said()
    at = node.reported_at if heard is None else datetime.fromtimestamp(heard, UTC)
    return NodeTelemetry(
        node=node.name,
        pool=node.pool,
        site=pool.site,
        tier=pool.tier,
        gpu_model=pool.gpu_model,
        usable=node.usable,
        why_unusable=node.why_unusable,
        sampler=said.sampler.value,
        simulated=node.simulated,
        measured=heard is not None,
        reported_at=max(at, node.reported_at),
        gpus=tuple(
            _gpu(hub, node.name, gpu, said, held.get((node.name, gpu.index), ()), reader)
            for gpu in node.gpus
        ),
    )


def _holding(one: HeldGpu, caller: Caller) -> Holding:
    if caller.sees_job(one.user, one.account):
        return Holding(
            account=one.account,
            run=one.run,
            job=one.job,
            user=one.user,
            draining=one.draining,
            guest=one.guest,
        )
    return Holding(account=one.account, draining=one.draining, guest=one.guest)


def _gpu(
    hub: HubState,
    node: str,
    gpu: KnownGpu,
    said: Said,
    held: Sequence[HeldGpu],
    reader: Reader,
) -> GpuTelemetry:
    is_shown, caller = reader.may_see(held), reader.caller
    now = hub.fleet.now(node, gpu.index) if is_shown else GpuNow()
    known = gpu.index < len(said.memory_mib)
    return GpuTelemetry(
        index=gpu.index,
        uuid=gpu.uuid,
        healthy=gpu.healthy,
        why_unhealthy="".join(one.why for one in said.ailments if one.gpu == gpu.index),
        sm_active=now.sm_active,
        tensor_active=now.tensor_active,
        memory_used_mib=now.memory_mib,
        memory_mib=said.memory_mib[gpu.index] if known else None,
        power_watts=now.power_watts,
        temperature_celsius=now.temperature_celsius,
        idle_since=_idle_since(hub, node, gpu, held) if is_shown else None,
        held_by=tuple(_holding(one, caller) for one in held),
        foreign=tuple(
            ForeignProcesses(
                processes=one.processes, run=one.run or None if caller.sees is None else None
            )
            for one in said.foreign
            if one.gpu == gpu.index
        ),
        withheld=not is_shown,
    )


def _idle_since(
    hub: HubState, node: str, gpu: KnownGpu, held: Sequence[HeldGpu]
) -> datetime | None:
    """Return since when a GPU idles, for whoever has it: what was before is not their idleness."""
    idle = hub.fleet.idle_since(node, gpu.index)
    if idle is None:
        return None
    return max([datetime.fromtimestamp(idle, UTC), *(one.leased_at for one in held)])
