"""The planning cycle: what changed -> world -> plan -> what still holds, stored.

The world is built once and brought forward by the outbox and by its own plans. Whenever
anything goes wrong in between, it is thrown away and read anew: the database is right.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from secrets import token_hex

import structlog
from structlog.contextvars import bound_contextvars

from scheduler import metrics
from scheduler.clock import Clock
from scheduler.core.decided import decided
from scheduler.core.decisions import Plan, Reserve
from scheduler.core.model import AccountName, Job
from scheduler.core.plan import plan as decide
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Event, Put, Snapshot
from scheduler.core.verdicts import Holds
from scheduler.core.world import World
from scheduler.db import audit
from scheduler.db.engine import Database
from scheduler.db.holds import Some, Told, by_account
from scheduler.db.planning import (
    Committed,
    commit_plan,
    has_changes,
    load_snapshot,
    take_changes,
)
from scheduler.db.policies import policy_in_force, revision_in_force
from scheduler.errors import Refused
from scheduler.garbage import keep_what_is_there, undisturbed
from scheduler.loops.gauges import forget, gauge
from scheduler.loops.report import observe_waits, report, slow
from scheduler.loops.telling import FEW, Telling
from scheduler.replay.recorder import Recorder
from scheduler.wake import Wake

log = structlog.get_logger("cycle")

# Below this a cycle is shorter than the way to another thread and back is worth.
_LARGE = 1000
# A busy hub plans half of the time at most, so that submissions get their turn.
_LONGEST_REST = 0.25
# Other replicas' bells are not heard, so on PostgreSQL the outbox is looked at this often.
_LOOK_SECONDS = 1.0
# A large world's gauges are brought up to date this often.
_GAUGE_SECONDS = 5.0


class CycleLoop:
    """Plans while this process leads. `step` is one cycle."""

    name = "cycle"
    bell = "cycle"

    def __init__(
        self,
        db: Database,
        wake: Wake,
        clock: Clock,
        cycle_seconds: float,
        recorder: Recorder | None = None,
    ) -> None:
        """Plan at least every `cycle_seconds`; write each cycle's input down where asked."""
        self._recorder = recorder
        self._db = db
        self._wake = wake
        self._clock = clock
        self._cycle_seconds = cycle_seconds
        self._look = min(cycle_seconds, _LOOK_SECONDS if db.dialect == "postgresql" else 3600)
        self._world: World | None = None
        self._reserves: Sequence[Reserve] | None = None
        self._stored = Told()
        self._telling = Telling(clock)
        self._planned_at = self._gauged_at = -float("inf")
        self._ungauged = False
        # While a plan is made in another thread, the world is not what it seems.
        self._planning = asyncio.Lock()
        # A cycle's id, on its lines in the log and on the exemplars of its times.
        self._process, self._count, self._id = token_hex(4), 0, ""
        self._took: dict[str, float] = {}

    def reset(self) -> None:
        """Forget the world: another process may have planned meanwhile."""
        self._world = None
        self._reserves = None
        self._stored.reset()
        self._telling.reset()
        self._gauged_at = -float("inf")
        forget()

    async def step(self) -> float:
        """Run one cycle; return the seconds that the next one may wait for a bell."""
        began = self._clock.monotonic()
        try:
            self._count += 1
            self._id, self._took = f"{self._process}-{self._count}", {}
            async with self._planning:
                with bound_contextvars(cycle=self._id):
                    again = await self._cycle(began)
        except BaseException:
            metrics.CYCLES.labels("failed").inc()
            self.reset()
            raise
        if not again:
            return self._look
        await asyncio.sleep(min(self._clock.monotonic() - began, _LONGEST_REST))
        return 0.0

    async def looked_at(self) -> tuple[Policy, Snapshot] | None:
        """Return what the last cycle went by; None while this process does not lead."""
        async with self._planning:
            world = self._world
            return None if world is None else (world.policy, world.snapshot())

    async def _cycle(self, began: float) -> bool:
        """Return whether there is more to do at once."""
        with self._timed("load"):
            changed, more = await self._bring_forward()
        world = self._world
        if world is None:
            return more
        self._ungauged |= changed
        self._gauge(world)
        behind = self._telling.is_behind(world.waiting.accounts())
        if not changed and not behind and began - self._planned_at < self._cycle_seconds:
            return more
        self._planned_at = began
        if not world.jobs and self._reserves == () and not self._stored.accounts():
            return more
        again = await self._decide(world, idle=not changed)
        self._observe("whole", self._clock.monotonic() - began)
        slow(self._took.pop("whole"), self._took)
        return again or more

    async def _decide(self, world: World, *, idle: bool) -> bool:
        """Plan, carry it out, and tell as many as there is time for; return whether to go on."""
        with self._timed("plan"):
            plan = await self._plan(world)
        await self._record(world, plan)
        with self._timed("verdicts"):
            some = await self._verdicts(world, plan, idle=idle)
        stale = 0
        if not self._is_news(plan, some):
            metrics.CYCLES.labels("unchanged").inc()
        else:
            committed = await self._carry_out(world, plan, some)
            if committed is None:
                self.reset()
                return True
            stale = committed.stale
        self._telling.told(some, world.waiting.accounts())
        return bool(stale) or self._telling.is_behind(world.waiting.accounts())

    async def _carry_out(self, world: World, plan: Plan, some: Some) -> Committed | None:
        """Store the plan and bring the world forward by it; None: another policy is in force."""
        started = {world.jobs[start.job].account for start in plan.starts}
        with self._timed("commit"):
            committed = await self._commit(world, plan, some)
        if committed is None:
            return None
        observe_waits(world, committed.plan)
        world.advance(committed.plan)
        if self._recorder is not None:
            self._recorder.carried_out(committed.plan)
        self._reserves = tuple(plan.reserves)
        if plan.starts or plan.preempts:
            self._telling.heard(started, self._planned_at)
        report(committed, some, self._wake)
        self._ungauged = True
        self._gauge(world)
        return committed

    async def _bring_forward(self) -> tuple[bool, bool]:
        """Return whether the world is another than before, and whether more has changed."""
        built = self._world is None
        if built:
            await self._build()
        if self._world is None:
            return False, False
        async with self._db.reading() as conn:
            if not await has_changes(conn):
                return built, False
        async with self._db.transaction() as conn:
            changes = await take_changes(conn, self._world.policy)
        if changes.policy_changed:
            await self._build()
            return True, changes.more
        for event in changes.events:
            self._world.apply(event)
        self._telling.heard(_submitters(changes.events), self._clock.monotonic())
        metrics.EVENTS.inc(len(changes.events))
        if self._recorder is not None:
            self._recorder.heard(changes.events)
        return True, changes.more

    async def _build(self) -> None:
        async with self._db.reading() as conn:
            try:
                policy = await policy_in_force(conn)
            except Refused:
                return  # A hub without a policy plans nothing, and says so to whoever asks.
            snapshot = await load_snapshot(conn, policy)
        self._world = World(policy, snapshot)
        if len(snapshot.jobs) + len(snapshot.runs) + len(snapshot.nodes) >= _LARGE:
            # Most of it is there to stay, and would be looked through at each collection.
            keep_what_is_there()
        self._reserves = None
        self._telling.reset()
        log.info(
            "world_built",
            policy=policy.revision,
            jobs=len(snapshot.jobs),
            runs=len(snapshot.runs),
            nodes=len(snapshot.nodes),
        )

    async def _plan(self, world: World) -> Plan:
        now = self._clock.now()
        told = len(world.jobs) <= FEW or self._recorder is not None
        with undisturbed():
            if len(world.jobs) + len(world.runs) < _LARGE:
                return decide(world, world.policy, now, told=told)
            return await asyncio.to_thread(decide, world, world.policy, now, told=told)

    async def _record(self, world: World, plan: Plan) -> None:
        """Write the cycle down while the world is still as it was planned on."""
        if self._recorder is not None:
            with self._timed("record"):
                await asyncio.to_thread(self._recorder.planned, world, plan)

    async def _verdicts(self, world: World, plan: Plan, *, idle: bool) -> Some:
        """Work out verdicts of those whose turn it is; nobody's are older than a minute or so."""
        accounts = [*world.waiting.accounts(), *map(AccountName, self._stored.accounts())]
        turn = self._telling.turn(accounts, len(world.jobs), self._planned_at, idle=idle)
        if len(world.jobs) < _LARGE:
            return _holds_of(plan, turn)
        return await asyncio.to_thread(_holds_of, plan, turn)

    def _is_news(self, plan: Plan, some: Some) -> bool:
        decides = bool(plan.starts or plan.preempts) or self._reserves != tuple(plan.reserves)
        return decides or not self._stored.says(some)

    async def _commit(self, world: World, plan: Plan, some: Some) -> Committed | None:
        """Store the plan; None where another policy came into force meanwhile."""
        async with self._db.transaction() as conn:
            if await revision_in_force(conn) != plan.policy_revision:
                return None
            committed = await commit_plan(conn, plan, world.policy, self._stored, some)
            entry = decided(world, committed.plan, self._id)
            await audit.record(conn, () if entry is None else (entry,))
            return committed

    def _gauge(self, world: World) -> None:
        """Show what has changed; of a large world seldom, for all of it is counted."""
        now = self._clock.monotonic()
        large = len(world.jobs) + len(world.runs) + len(world.floor.nodes) >= _LARGE
        if self._ungauged and (not large or now - self._gauged_at >= _GAUGE_SECONDS):
            self._gauged_at, self._ungauged = now, False
            gauge(world, self._clock.now())

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = self._clock.monotonic()
        yield
        self._observe(phase, self._clock.monotonic() - began)

    def _observe(self, phase: str, seconds: float) -> None:
        self._took[phase] = seconds
        metrics.CYCLE_SECONDS.labels(phase).observe(seconds, self._id)


def _submitters(events: Iterable[Event]) -> set[AccountName]:
    """Return the accounts whose waiting jobs came or changed."""
    return {
        event.entity.account
        for event in events
        if isinstance(event, Put) and isinstance(event.entity, Job)
    }


def _holds_of(plan: Plan, accounts: Iterable[AccountName]) -> Some:
    if isinstance(plan.holds, Holds):
        return plan.holds.of(accounts)
    held = by_account(plan.holds)
    return {account: held.get(account, ()) for account in accounts}
