"""The watch loop: what time alone changes is looked for every second, and is seldom there."""

from datetime import timedelta

import structlog

from scheduler import metrics
from scheduler.clock import Clock
from scheduler.config import HubSettings
from scheduler.db.engine import Database
from scheduler.db.node_states import lift_cordons
from scheduler.db.nodes import mark_stale
from scheduler.db.policies import policy_in_force
from scheduler.db.watching import Watch, glance, mark_silent_sites, watch_runs
from scheduler.errors import Refused
from scheduler.wake import Wake

log = structlog.get_logger("watch")

# Without runs only silence has to be noticed, and that takes a minute anyway.
_IDLE = 5


class WatchLoop:
    """Watches leases, sites and nodes while this process leads."""

    name = "watch"
    bell = "watch"

    def __init__(self, db: Database, wake: Wake, clock: Clock, settings: HubSettings) -> None:
        self._db = db
        self._wake = wake
        self._clock = clock
        self._seconds = settings.watch_seconds
        self._site_lost = timedelta(seconds=settings.site_lost_seconds)
        # The fleet loop of the process that hears a node is quicker; this is for those that
        # nobody hears any more, because that process is gone.
        unheard = 2 * settings.rollup_seconds + settings.node_stale_seconds
        self._node_stale = timedelta(seconds=unheard)

    def reset(self) -> None:
        """Nothing is remembered between rounds."""

    async def step(self) -> float:
        """Look once; write only where something has come due."""
        watch = Watch(self._clock.now(), self._site_lost)
        async with self._db.reading() as conn:
            seen = await glance(conn, watch, self._node_stale)
        if seen.due:
            await self._carry_out(watch)
        return self._seconds if seen.busy else self._seconds * _IDLE

    async def _carry_out(self, watch: Watch) -> None:
        async with self._db.transaction() as conn:
            stale = await mark_stale(conn, watch.now, self._node_stale)
            lifted = await lift_cordons(conn, watch.now)
            silent = await mark_silent_sites(conn, watch)
            try:
                policy = await policy_in_force(conn)
            except Refused:
                return  # Without a policy there are no leases.
            done = await watch_runs(conn, policy, watch)
        metrics.WATCHED.labels("stale_node").inc(stale)
        metrics.WATCHED.labels("silent_site").inc(len(silent))
        for site in silent:
            log.warning("site_silent", site=site, seconds=self._site_lost.total_seconds())
        if lifted:
            log.info("cordons_lifted", nodes=",".join(lifted))
        if stale:
            log.warning("nodes_silent", count=stale)
        for each in done:
            metrics.WATCHED.labels(each.what).inc()
            log.warning("run_overdue", what=each.what, run_id=each.run, site=each.site)
            self._wake.ring(f"job:{each.job}")
            self._wake.ring(f"site:{each.site}")
        if stale or silent or done or lifted:
            self._wake.ring("cycle")
