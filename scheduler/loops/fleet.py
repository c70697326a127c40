"""What follows from reports over time: silence, doubts, and rollups; in every process that hears.

Unlike planning this needs no leader. Each process watches the nodes that speak to it, and
leaves alone what another has heard since.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from scheduler import metrics
from scheduler.clock import Clock
from scheduler.config import HubSettings
from scheduler.db.engine import Database
from scheduler.db.node_states import doubtful_nodes, heard, mark_silent, usable_nodes
from scheduler.db.rollups import CHUNK, Stretch, holders, prune_rollups, save_rollups
from scheduler.fleet.memory import Fleet
from scheduler.fleet.use import GpuRollup
from scheduler.wake import Wake

log = structlog.get_logger("fleet")

_KEEP = timedelta(days=35)
# Bounds how many nodes are looked at between two turns of others.
_NODES = 200
_DAY_SECONDS = 86_400


class FleetLoop:
    """Watches the nodes that speak to this process."""

    name = "fleet"
    bell = "fleet"

    def __init__(
        self, db: Database, fleet: Fleet, wake: Wake, clock: Clock, settings: HubSettings
    ) -> None:
        self._db, self._fleet, self._wake, self._clock = db, fleet, wake, clock
        self._stale = settings.node_stale_seconds
        self._every = min(5.0, settings.node_stale_seconds / 4)
        self._rollup = settings.rollup_seconds
        self._rolled_up_at: float | None = None
        self._pruned_at: float | None = None

    def reset(self) -> None:
        """Take over the nodes that a process before this one heard, where there was but one."""
        self._rolled_up_at = None

    async def step(self) -> float:
        """Look once; return the seconds until the next look."""
        now = self._clock.now().timestamp()
        if self._rolled_up_at is None:
            await self._begin(now)
        if self._rolled_up_at is None or now - self._rolled_up_at >= self._rollup:
            await self._roll_up(now)
        await self._silence(now)
        async with self._db.reading() as conn:
            for name in await doubtful_nodes(conn):
                self._fleet.doubt(name)
        return self._every

    async def _begin(self, now: float) -> None:
        """Expect the nodes that are in planning: on SQLite nobody else can be hearing them."""
        self._rolled_up_at = now
        if self._db.dialect != "sqlite":
            return
        async with self._db.reading() as conn:
            for name, pool in await usable_nodes(conn):
                self._fleet.expect(name, pool, now)

    async def _silence(self, now: float) -> None:
        silent = self._fleet.silent(now - self._stale)
        if not silent:
            return
        since = {name: datetime.fromtimestamp(at, UTC) for name, at in silent.items()}
        # What they did until then would be lost with what is known of them.
        await self._write_rollups(list(silent), now)
        async with self._db.transaction() as conn:
            marked = await mark_silent(conn, since)
        for name, at in silent.items():
            if self._fleet.heard_at(name) in (at, None):
                self._fleet.forget(name)
        metrics.WATCHED.labels("stale_node").inc(len(marked))
        if marked:
            log.warning("nodes_silent", count=len(marked), nodes=",".join(marked[:10]))
            self._wake.ring("cycle")

    async def _roll_up(self, now: float) -> None:
        await self._write_rollups(self._fleet.names(), now)
        self._rolled_up_at = now
        if self._pruned_at is None or now - self._pruned_at > _DAY_SECONDS:
            self._pruned_at = now
            async with self._db.transaction() as conn:
                await prune_rollups(conn, datetime.fromtimestamp(now, UTC) - _KEEP)

    async def _write_rollups(self, names: Sequence[str], now: float) -> None:
        """Write what GPUs did, a few nodes at a time, with a rest for others in between."""
        since = self._rolled_up_at or now
        stretch = Stretch(datetime.fromtimestamp(now, UTC), round(now - since))
        async with self._db.reading() as conn:
            held = await holders(conn)
        for start in range(0, len(names), _NODES):
            part = names[start : start + _NODES]
            rows = [row for name in part for row in self._fleet.rolled_up(name)]
            await self._write(part, rows, held, stretch)
            await asyncio.sleep(0)

    async def _write(
        self,
        names: Sequence[str],
        rows: Sequence[GpuRollup],
        held: dict[tuple[str, int], str],
        stretch: Stretch,
    ) -> None:
        for start in range(0, len(rows), CHUNK):
            async with self._db.transaction() as conn:
                await save_rollups(conn, rows[start : start + CHUNK], held, stretch)
        seats = [(name, self._fleet.seat(name)) for name in names]
        last = {
            name: (seat.sequence, datetime.fromtimestamp(seat.heard, UTC))
            for name, seat in seats
            if seat is not None and seat.boot_id
        }
        async with self._db.transaction() as conn:
            await heard(conn, last)
