"""The hub's part in launches: what a node is told in the reply to its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.api.auth import Caller
from scheduler.api.deps import HubState
from scheduler.api.together import Together
from scheduler.core.policy import Policy
from scheduler.db.launches import placed_runs, whose
from scheduler.wire.nodes import LaunchOrders
from scheduler.wire.operating import LauncherView, LaunchView
from scheduler.wire.reports import SaidReport
from scheduler.wire.sites import SiteSync

_SOON_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a node is told, and how soon it should speak again, at most."""

    orders: LaunchOrders | None = None
    within_seconds: float | None = None


async def told(hub: HubState, found: Sequence[SaidReport]) -> Told:
    """Take in what the launcher of one node says, and return what should be there.

    Orders go to a node that speaks for itself, never in the answer to a batch: they carry the
    tokens of Ray clusters, and a gateway passes such a report on alone. And they go to the
    agent that is believed, so a second one that speaks for the same node can start nothing.
    """
    if len(found) != 1 or found[0].launcher is None:
        return Told()
    report, launcher = found[0], found[0].launcher
    seat = hub.fleet.seat(report.node)
    site = (await hub.pool_sites.known(hub)).get(report.pool)
    believed = seat is not None and (seat.boot_id, seat.sequence) == (
        report.boot_id,
        report.sequence,
    )
    if site is None or not believed:
        return Told()
    if hub.launches.is_stale(site, hub.clock.monotonic()):
        await _look(hub, site)
    now = hub.clock.monotonic()
    if hub.launches.node_says(report.node, launcher, now):
        hub.wake.ring(f"site:{site}")
    orders = hub.launches.orders(site, report.node, now, hub.clock.now())
    moving = hub.launches.is_moving(site, report.node, now)
    return Told(orders, _SOON_SECONDS if moving else None)


async def _look(hub: HubState, site: str) -> None:
    """Read a site's open runs anew: once for all its nodes that report at once."""

    async def look() -> None:
        async with hub.db.reading() as conn:
            await refresh(hub, conn, site, await hub.policies.current(conn))

    await hub.placing.setdefault(site, Together(look)).ask()


async def site_said(
    hub: HubState, conn: AsyncConnection, site: str, sync: SiteSync, policy: Policy
) -> None:
    """Take in which runs a site wants up on its nodes, where it has such."""
    if sync.launches is not None:
        hub.launches.site_says(site, sync.instance, sync.sequence, sync.launches)
        await refresh(hub, conn, site, policy)


async def launcher_view(
    hub: HubState, conn: AsyncConnection, node: str, caller: Caller
) -> LauncherView | None:
    """Return what a node's launcher prepares, runs or fences; None: none has spoken here."""
    if not hub.launches.has_launcher(node):
        return None
    standing = hub.launches.standing(node, hub.clock.monotonic())
    owners = await whose(conn, [one.run for one in standing])
    now, found = hub.clock.now(), []
    for one in standing:
        account, user = owners.get(one.run, ("", ""))
        found.append(
            LaunchView(
                run=one.run if caller.sees_job(user, account) else None,
                account=account,
                phase=one.phase,
                why=one.why,
                since=now - timedelta(seconds=one.seconds),
            )
        )
    return LauncherView(launches=tuple(found))


async def refresh(hub: HubState, conn: AsyncConnection, site: str, policy: Policy) -> None:
    """Read a site's open runs anew."""
    placed = await placed_runs(conn, site, policy)
    hub.launches.place(site, placed, hub.clock.monotonic())
