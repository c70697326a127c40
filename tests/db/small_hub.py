"""A hub without its process, for tests: a database, the leader's world, one site, and a time."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from scheduler.core.model import (
    AccountName,
    Budget,
    BudgetId,
    PoolId,
    PriorityClass,
    Reservation,
    ReservationId,
    Sector,
    Shape,
)
from scheduler.core.plan import plan as decide
from scheduler.core.policy import Policy
from scheduler.core.world import World
from scheduler.db.engine import Database
from scheduler.db.jobs import NewJob, cancel_job, events_of, find_job, insert_job, runs_of
from scheduler.db.lending import lend, take_back
from scheduler.db.nodes import mark_stale, save_reports
from scheduler.db.planning import commit_plan, load_snapshot, take_changes
from scheduler.db.sites import desired_leases, record_sync
from scheduler.db.watching import Watch, mark_silent_sites, watch_runs
from scheduler.wire.reports import GpuReport, NodeReport
from tests import build
from tests.build import MINUTE, NOON
from tests.db.fake_site import FakeSite
from tests.db.store import empty, put_in_force


def budget(name, account, hours=10_000, days=1):
    """Return a budget that begins at NOON."""
    ends = NOON + timedelta(days=days)
    return Budget(BudgetId(name), AccountName(account), hours, NOON, ends)


POLICY = build.policy(
    [
        build.account("national", None),
        build.account("own", members=("ann",)),
        build.account("guest", sector=Sector.INDUSTRY, members=("bob",)),
    ],
    [build.pool(nodes=2, gpus_per_node=2)],
    [build.quota("own", 4), build.quota("guest", 0, borrow=4)],
    budgets=(budget("all", "national"), budget("own", "own", hours=500)),
)
RESERVATION = Reservation(
    id=ReservationId("exercise"),
    pool=PoolId("hub"),
    account=AccountName("own"),
    node_count=1,
    starts_at=NOON + 20 * MINUTE,
    ends_at=NOON + 90 * MINUTE,
    no_show=15 * MINUTE,
)
RESERVED = replace(POLICY, reservations=(RESERVATION,))
LOST = timedelta(minutes=2)


@dataclass
class Hub:
    """A hub without its process: the database, the leader's world, a site, and a time."""

    db: Database
    policy: Policy = POLICY
    site: FakeSite = field(default_factory=FakeSite)
    now: datetime = NOON
    world: World | None = None
    submitted: int = 0
    reports: int = 0

    async def begin(self):
        async with self.db.transaction() as conn:
            await empty(conn)
            await put_in_force(conn, self.policy)
        await self.nodes_report(0)

    async def submit(self, value, reservation=None):
        who, gpus, background = value
        self.submitted += 1
        name = f"j{self.submitted}"
        async with self.db.transaction() as conn:
            await insert_job(
                conn,
                NewJob(
                    id=name,
                    user="ann" if who == "own" else "bob",
                    submission_id=name,
                    request_sha256="0" * 64,
                    account=who,
                    shape=Shape(1, gpus, background=background, reservation=reservation),
                    priority=PriorityClass.BACKGROUND if background else PriorityClass.STANDARD,
                    time_limit=timedelta(minutes=30),
                    submitted_at=self.now,
                    entrypoint="true",
                    name=f"{who}'s",
                    predicted=MINUTE * self.submitted,
                ),
            )

    async def come(self, gpus):
        """Submit a job of the reservation, which is the first account's."""
        await self.submit(("own", gpus, False), RESERVATION.id)

    async def apply(self, policy):
        """Put another policy in force; the leader reads everything anew."""
        self.policy, self.world = policy, None
        async with self.db.transaction() as conn:
            await put_in_force(conn, policy)

    async def nodes_report(self, value=None):
        del value
        self.reports += 1
        reports = [
            NodeReport(
                node=f"hub-{n}",
                pool="hub",
                boot_id="boot",
                sequence=self.reports,
                sampled_at=self.now,
                gpus=[GpuReport(index=i, uuid=f"{n}-{i}", model="H100") for i in range(2)],
            )
            for n in (1, 2)
        ]
        async with self.db.transaction() as conn:
            await save_reports(conn, reports, self.policy, self.now)

    async def cycle(self, value=None):
        del value
        world = await self.look()
        plan = decide(world, self.policy, self.now)
        async with self.db.transaction() as conn:
            committed = await commit_plan(conn, plan, self.policy)
        assert (committed.plan, committed.stale) == (plan, 0)
        world.advance(plan)

    async def look(self) -> World:
        """Bring the world forward, as the leader does."""
        async with self.db.transaction() as conn:
            if self.world is None:
                self.world = World(self.policy, await load_snapshot(conn, self.policy))
            for event in (await take_changes(conn, self.policy)).events:
                self.world.apply(event)
        return self.world

    async def wait(self, minutes):
        self.now += MINUTE * minutes

    async def watch(self, value=None):
        del value
        async with self.db.transaction() as conn:
            await mark_stale(conn, self.now, timedelta(minutes=5))
            await mark_silent_sites(conn, Watch(self.now, LOST))
            await watch_runs(conn, self.policy, Watch(self.now, LOST))

    async def cancel(self, index):
        if self.submitted:
            async with self.db.transaction() as conn:
                await cancel_job(conn, f"j{1 + index % self.submitted}", self.now, "ann")

    async def lend(self, index):
        """Lend the lease of a run that works, as if its GPUs had done nothing."""
        await self.look()
        works = [r for r in self.world.runs.values() if r.state == "running" and not r.lent]
        works = [r for r in works if not (r.shape.background or r.over or r.draining)]
        if works:
            run = sorted(works, key=lambda r: r.id)[index % len(works)]
            async with self.db.transaction() as conn:
                await lend(conn, run.id, self.now)

    async def take_back(self, index):
        """Take a lent lease back, as if its run worked again."""
        await self.look()
        lent = sorted(run.id for run in self.world.runs.values() if run.lent)
        if lent:
            async with self.db.transaction() as conn:
                await take_back(conn, lent[index % len(lent)], "it works", self.now, self.policy)

    async def orders(self, value=None):
        del value
        async with self.db.reading() as conn:
            leases = await desired_leases(conn, "site", self.policy)
        self.site.obey(leases, self.now)

    async def well(self, index):
        self.site.move(index, self.now, well=True)

    async def ill(self, index):
        self.site.move(index, self.now, well=False)

    async def turn(self, value=None):
        """Let hub and site talk once, in order."""
        await self.cycle(value)
        await self.orders(value)
        await self.sync(value)

    async def tell(self, index):
        """Let a run take a step, and the site say so."""
        await self.well(index)
        await self.sync(None)

    async def sync(self, value=None):
        del value
        await self._deliver(self.site.message(self.now))

    async def again(self, index):
        await self._deliver(self.site.older(index))

    async def foreign(self, index):
        await self._deliver(self.site.foreign(index))

    async def _deliver(self, message):
        if message is not None:
            async with self.db.transaction() as conn:
                await record_sync(conn, "site", message, self.now)

    async def job(self, name):
        async with self.db.reading() as conn:
            return await find_job(conn, name, None)

    async def run(self, name, attempt=1):
        async with self.db.reading() as conn:
            return (await runs_of(conn, [name]))[name][attempt - 1]

    async def history(self, name):
        async with self.db.reading() as conn:
            return [(event.event, event.sentence) for event in await events_of(conn, name)]

    async def leases(self):
        async with self.db.reading() as conn:
            return {lease.run: lease for lease in await desired_leases(conn, "site", self.policy)}
