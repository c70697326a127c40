"""What agents are told of the leases on their nodes, in the reply to their reports."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from scheduler.api.deps import HubState
from scheduler.db.leases import leases_of_site, marker_of
from scheduler.errors import StorageUnavailable
from scheduler.wire.nodes import NodeLeases, NodeRefused
from scheduler.wire.reports import SaidReport

log = structlog.get_logger("leases")


@dataclass(frozen=True, slots=True)
class Told:
    """The lists that changed, and how old all that is told or left out may be, in seconds."""

    leases: tuple[NodeLeases, ...] = ()
    seconds_old: float | None = None


async def told(hub: HubState, found: Sequence[SaidReport], refused: Sequence[NodeRefused]) -> Told:
    """Return what the agents of these reports do not know yet; nothing to those refused."""
    outside = {one.node for one in refused}
    # Nothing is looked up of nodes that do not exist: no process is on them.
    real = [one for one in found if not one.simulated and one.node not in outside]
    if not real:
        return Told()
    sites = await hub.pool_sites.known(hub)
    concerned = sorted({sites[one.pool] for one in real if one.pool in sites})
    for site in concerned:
        await _look(hub, site)
    now = hub.clock.monotonic()
    ages = [hub.leases.age(site, now) for site in concerned]
    known = [age for age in ages if age is not None]
    if not known or len(known) < len(ages):
        return Told()
    news = (hub.leases.news(sites[one.pool], one.node, one.lease_digest) for one in real
            if one.pool in sites)  # fmt: skip
    return Told(tuple(one for one in news if one is not None), round(max(known), 3))


async def _look(hub: HubState, site: str) -> None:
    began = hub.clock.monotonic()
    if not hub.leases.begin_look(site, began):
        return
    try:
        async with hub.db.reading() as conn:
            marker = await marker_of(conn, site)
            if not hub.leases.is_as_before(site, marker, began):
                hub.leases.put(site, marker, await leases_of_site(conn, site), began)
    except StorageUnavailable as error:
        # The reports are taken all the same; how old the leases are is told with them.
        log.warning("leases_not_read", site=site, why=str(error))
    finally:
        hub.leases.end_look(site)
