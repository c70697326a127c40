"""What follows from reports over time: silence, doubts, and rollups; in every process that hears.

Unlike planning this needs no leader. Each process watches the nodes that speak to it, and
leaves alone what another has heard since: a node whose reports go to several processes, which
the gaps in its numbers show, is told of in the database by each that hears it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from scheduler import metrics
from scheduler.clock import Clock
from scheduler.config import HubSettings
from scheduler.db.engine import Database
from scheduler.db.node_states import (
    doubtful_nodes,
    heard,
    last_heard,
    mark_silent,
    usable_nodes,
)
from scheduler.db.rollups import KEEP_DAYS, holders, prune_rollups, save_rollups
from scheduler.fleet.memory import Fleet
from scheduler.fleet.use import GpuRollup
from scheduler.wake import Wake

log = structlog.get_logger("fleet")

_KEEP = timedelta(days=KEEP_DAYS)
# Bounds how many nodes are looked at between two turns of others, and how many are written in
# one transaction: it costs about as much as a hundred nodes do.
_NODES, _TOGETHER = 100, 400
_DAY_SECONDS = 86_400
# Of the time that writing took: there is no hurry, and people wait for the same database.
_REST = 4
# In times of how long a node may be silent: nodes that speak to several processes are told of
# so often each; as long as one of them may still wait for the others' word, and longer than a
# process that no longer hears a node keeps it.
_TELL, _SPLIT, _KEEP_SPLIT = 4, 15, 5


class RollupLoop:
    """Writes what GPUs did, every few minutes."""

    name = "rollups"
    bell = "rollups"

    def __init__(self, db: Database, fleet: Fleet, clock: Clock, seconds: float) -> None:
        """Write every `seconds`."""
        self._db, self._fleet, self._clock = db, fleet, clock
        self._seconds = seconds
        self._since = clock.now().timestamp()
        self._pruned_at: float | None = None

    def reset(self) -> None:
        """Begin anew: what was taken from memory and not written is lost, and never doubled."""
        self._since = self._clock.now().timestamp()

    async def step(self) -> float:
        """Write if it is time; return the seconds until then."""
        now = self._clock.now().timestamp()
        left = self._since + self._seconds - now
        if left > 0:
            return left
        await self.write(self._fleet.names())
        self._since = now
        await self._prune(now)
        return max(0.0, self._seconds - (self._clock.now().timestamp() - now))

    async def write(self, names: Sequence[str]) -> None:
        """Write what these nodes' GPUs did, a few at a time, with a rest for others between.

        A node that was not heard since it was last written costs nothing.
        """
        at = self._clock.now()
        names = [name for name in names if self._fleet.is_unwritten(name)]
        if not names:
            return
        async with self._db.reading() as conn:
            held = await holders(conn)
        for start in range(0, len(names), _TOGETHER):
            part = names[start : start + _TOGETHER]
            began = self._clock.monotonic()
            await self._write(part, held, at)
            if start + _TOGETHER < len(names):
                await asyncio.sleep(_REST * (self._clock.monotonic() - began))

    async def _write(
        self, names: Sequence[str], held: Mapping[tuple[str, int], str], at: datetime
    ) -> None:
        rows: list[GpuRollup] = []
        last: dict[str, tuple[int, datetime]] = {}
        for start in range(0, len(names), _NODES):
            for name in names[start : start + _NODES]:
                rows += self._fleet.rolled_up(name)
                if (seat := self._fleet.seat(name)) is not None and seat.boot_id:
                    seat.written = seat.sequence
                    last[name] = seat.sequence, datetime.fromtimestamp(seat.heard, UTC)
            await asyncio.sleep(0)
        async with self._db.transaction() as conn:
            await save_rollups(conn, rows, held, at)
            await heard(conn, last)

    async def _prune(self, now: float) -> None:
        if self._pruned_at is None or now - self._pruned_at > _DAY_SECONDS:
            self._pruned_at = now
            async with self._db.transaction() as conn:
                await prune_rollups(conn, datetime.fromtimestamp(now, UTC) - _KEEP)


class FleetLoop:
    """Watches the nodes that speak to this process."""

    name = "fleet"
    bell = "fleet"

    def __init__(
        self, db: Database, fleet: Fleet, wake: Wake, clock: Clock, settings: HubSettings
    ) -> None:
        self._db, self._fleet, self._wake, self._clock = db, fleet, wake, clock
        self.rollups = RollupLoop(db, fleet, clock, settings.rollup_seconds)
        self._stale = settings.node_stale_seconds
        self._every = min(5.0, settings.node_stale_seconds / 4)
        self._began = False
        self._told_at = float("-inf")

    def reset(self) -> None:
        """Look again at which nodes there are."""
        self._began = False

    async def step(self) -> float:
        """Look once; return the seconds until the next look."""
        now = self._clock.now().timestamp()
        if not self._began:
            await self._begin(now)
        await self._tell(now)
        await self._silence(now)
        async with self._db.reading() as conn:
            for name in await doubtful_nodes(conn):
                self._fleet.doubt(name)
        return self._every

    async def _begin(self, now: float) -> None:
        """Expect the nodes that are in planning: on SQLite nobody else can be hearing them."""
        self._began = True
        if self._db.dialect != "sqlite":
            return
        async with self._db.reading() as conn:
            for name, pool in await usable_nodes(conn):
                self._fleet.expect(name, pool, now)

    async def _tell(self, now: float) -> None:
        """Store when nodes spoke that speak to other processes too, for those judge by it.

        A node that speaks here alone costs nothing between its rollups.
        """
        if self._db.dialect == "sqlite" or now - self._told_at < self._stale / _TELL:
            return
        began, self._told_at = self._told_at, now
        last = {
            name: (seat.sequence, datetime.fromtimestamp(seat.heard, UTC))
            for name, seat in self._fleet.split(now - _SPLIT * self._stale).items()
            if seat.heard >= began
        }
        names = sorted(last)
        for start in range(0, len(names), _NODES):
            async with self._db.transaction() as conn:
                await heard(conn, {name: last[name] for name in names[start : start + _NODES]})

    async def _silence(self, now: float) -> None:
        # Nodes that were asked to report seldom are given as much longer.
        silent = self._fleet.silent(now - self._stale * self._fleet.pace.factor)
        if not silent:
            return
        since = {name: datetime.fromtimestamp(at, UTC) for name, at in silent.items()}
        # What they did until then would be lost with what is known of them.
        await self.rollups.write(list(silent))
        async with self._db.transaction() as conn:
            marked = await mark_silent(conn, since)
            stored = await last_heard(conn, sorted(silent.keys() - set(marked)))
        for name in silent:
            at = stored[name].timestamp() if name in stored else None
            self._leave(name, at, now, silent[name])
        metrics.WATCHED.labels("stale_node").inc(len(marked))
        if marked:
            log.warning("nodes_silent", count=len(marked), nodes=",".join(marked[:10]))
            self._wake.ring("cycle")

    def _leave(self, name: str, elsewhere: float | None, now: float, known: float) -> None:
        """Forget a node, unless it speaks elsewhere and may well speak here again soon."""
        heard_at = self._fleet.heard_at(name)
        if elsewhere is not None and elsewhere > known and heard_at is not None:
            self._fleet.heard_elsewhere(name, elsewhere)
            if now - heard_at < _KEEP_SPLIT * self._stale:
                return
        if heard_at is None or heard_at <= known:
            self._fleet.forget(name)
