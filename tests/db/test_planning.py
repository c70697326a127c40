from dataclasses import replace

from hypothesis import HealthCheck, given, settings, target
from sqlalchemy import delete, select, update

from scheduler.core.decisions import Plan, Preempt, Start, apply
from scheduler.core.lifecycle import JobState
from scheduler.core.model import JobId, NodeId, PoolId, QuotaClass, RunState, Slot, StopReason
from scheduler.core.plan import plan as decide
from scheduler.core.snapshot import Turnover
from scheduler.db.jobs import events_of, find_job, hold_of, runs_of
from scheduler.db.planning import commit_plan, load_snapshot
from scheduler.db.tables import holds, jobs, lease_gpus, nodes, outbox, usage_intervals
from tests import build, strategies
from tests.build import MINUTE, NOON
from tests.db import rich
from tests.db.store import empty, store

ON_ONE_DATABASE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@ON_ONE_DATABASE
@given(scene=strategies.scenes())
async def test_what_is_stored_is_what_is_loaded(db, scene):
    async with db.transaction() as conn:
        await empty(conn)
        await store(conn, scene.snapshot, scene.policy)
    async with db.reading() as conn:
        assert await load_snapshot(conn, scene.policy) == scene.snapshot


@ON_ONE_DATABASE
@given(scene=strategies.scenes())
async def test_loading_what_was_committed_is_applying_the_plan(db, scene):
    """The commuting square: load(commit(plan(s))) == apply(s, plan(s)) (scheduling.md §2)."""
    plan = decide(scene.world(), scene.policy, scene.now)
    async with db.transaction() as conn:
        await empty(conn)
        await store(conn, scene.snapshot, scene.policy)
        committed = await commit_plan(conn, plan, scene.policy)
    assert (committed.plan, committed.stale) == (plan, 0)
    async with db.reading() as conn:
        assert await load_snapshot(conn, scene.policy) == apply(scene.snapshot, plan)


@ON_ONE_DATABASE
@given(scene=rich.scenes())
async def test_the_square_commutes_with_budgets_reservations_and_all_that_jobs_ask_for(db, scene):
    """R4, R7, R9, R15: what was spent, who came and who lost GPUs to shares are stored too."""
    plan = decide(scene.world(), scene.policy, scene.now)
    async with db.transaction() as conn:
        await empty(conn)
        await store(conn, scene.snapshot, scene.policy)
        assert await load_snapshot(conn, scene.policy) == scene.snapshot
        committed = await commit_plan(conn, plan, scene.policy)
    assert (committed.plan, committed.stale) == (plan, 0)
    after = apply(scene.snapshot, plan)
    async with db.reading() as conn:
        assert await load_snapshot(conn, scene.policy) == after
    target(len(plan.starts) + 5 * len(after.claims) + 5 * len(after.turnovers))


@ON_ONE_DATABASE
@given(scene=strategies.scenes())
async def test_every_waiting_job_finds_its_verdict_after_a_cycle(db, scene):
    plan = decide(scene.world(), scene.policy, scene.now)
    async with db.transaction() as conn:
        await empty(conn)
        await store(conn, scene.snapshot, scene.policy)
        await commit_plan(conn, plan, scene.policy)
        await commit_plan(conn, replace(plan, starts=(), preempts=()), scene.policy)
    world = scene.world()
    world.advance(plan)
    async with db.reading() as conn:
        for job_id in world.jobs:
            hold = await hold_of(conn, await find_job(conn, job_id, None))
            assert hold is not None
            assert hold.verdicts
            assert hold.position == world.position(job_id)
        stored = (await conn.execute(select(holds.c.id))).all()
    assert len(stored) == len(plan.holds)


HUB = build.policy([build.account("national", None)], [build.pool(nodes=2)])
TWO_GPUS = (Slot(NodeId("hub-1"), (0, 1)),)


def start(job="j1", slots=TWO_GPUS, **more):
    return Start(JobId(job), PoolId("hub"), slots, QuotaClass.IN_QUOTA, "it is its turn", **more)


def plan_of(*starts, **more):
    return Plan(now=NOON, policy_revision=1, starts=starts, **more)


async def given_jobs(conn, *names, **more):
    waiting = [build.job(name, gpus=2) for name in names]
    await store(conn, build.snapshot(build.nodes(), waiting, **more), HUB)


async def test_a_start_becomes_a_run_with_leased_gpus_and_a_line_of_history(db):
    async with db.transaction() as conn:
        await given_jobs(conn, "j1")
        committed = await commit_plan(conn, plan_of(start()), HUB)
    async with db.reading() as conn:
        (run,) = (await runs_of(conn, ["j1"]))["j1"]
        job = await find_job(conn, "j1", None)
        events = [(e.event, e.sentence) for e in await events_of(conn, "j1")]
        interval = (await conn.execute(select(usage_intervals))).one()
    assert (run.id, run.slots, run.token, run.why) == ("cp-j1-1", TWO_GPUS, 1, "it is its turn")
    assert run.bind_by == NOON + HUB.rules.bind_within
    assert job.state is JobState.STARTING
    assert events == [("leased", "got 2 GPUs on hub-1 (hub): it is its turn")]
    assert (interval.gpus, interval.factor, interval.started_at) == (2, 1000, NOON)
    assert (committed.sites, committed.jobs) == ({"site"}, {"j1"})


async def _becomes_stale(db, change, *starts):
    async with db.transaction() as conn:
        await given_jobs(conn, "j1", "j2")
        await conn.execute(change)
        committed = await commit_plan(conn, plan_of(*(starts or (start(),))), HUB)
    async with db.reading() as conn:
        again = {(row.kind, row.key) for row in await conn.execute(select(outbox))}
    return committed, again


async def test_a_start_of_a_cancelled_job_is_dropped_and_looked_at_again(db):
    cancelled = update(jobs).where(jobs.c.id == "j1").values(state="stopped")
    committed, again = await _becomes_stale(db, cancelled)
    assert (committed.stale, committed.plan.starts) == (1, ())
    assert again == {("job", "j1"), ("node", "hub-1")}


async def test_a_start_on_a_node_that_fell_silent_is_dropped(db):
    silent = update(nodes).where(nodes.c.id == "hub-1").values(usable=False)
    committed, _ = await _becomes_stale(db, silent)
    assert committed.stale == 1


async def test_a_start_on_a_node_that_is_gone_is_dropped(db):
    committed, _ = await _becomes_stale(db, delete(nodes).where(nodes.c.id == "hub-1"))
    assert committed.stale == 1


async def test_a_start_on_a_gpu_that_broke_is_dropped(db):
    broken = [{"index": i, "uuid": f"u{i}", "healthy": i != 1} for i in range(8)]
    committed, _ = await _becomes_stale(db, update(nodes).values(gpus=broken))
    assert committed.stale == 1


async def test_two_starts_on_one_gpu_are_never_both_stored(db):
    async with db.transaction() as conn:
        await given_jobs(conn, "j1", "j2")
        committed = await commit_plan(conn, plan_of(start("j1"), start("j2")), HUB)
    assert [each.job for each in committed.plan.starts] == ["j1"]
    assert committed.stale == 1
    async with db.reading() as conn:
        assert (await find_job(conn, "j2", None)).state is JobState.PENDING


async def test_a_refusal_by_the_index_drops_that_start_alone(db, monkeypatch):
    """The check in Python is switched off: the unique index is what stands behind it."""
    monkeypatch.setattr("scheduler.db.planning.holds_still", lambda *_: True)
    other = start("j3", (Slot(NodeId("hub-2"), (0,)),))
    async with db.transaction() as conn:
        await given_jobs(conn, "j1", "j2", "j3")
        committed = await commit_plan(conn, plan_of(start("j1"), start("j2"), other), HUB)
    assert [each.job for each in committed.plan.starts] == ["j1", "j3"]
    assert committed.stale == 1
    async with db.reading() as conn:
        held = (await conn.execute(select(lease_gpus.c.run_id))).scalars().all()
        states = {row.id: row.state for row in await conn.execute(select(jobs.c.id, jobs.c.state))}
    assert sorted(held) == ["cp-j1-1", "cp-j1-1", "cp-j3-1"]
    assert states == {"j1": "starting", "j2": "pending", "j3": "starting"}


def _running(count):
    return [build.run(f"j{n}", "national", {"hub-1": [n]}, sequence=n + 1) for n in range(count)]


async def test_one_that_may_not_be_recalled_any_more_keeps_no_other_victim_of_a_reservation(db):
    """R7: victims of a window make room for no job, so each stands for itself."""
    told = {"by": None, "reason": StopReason.RESERVED, "notice": MINUTE, "why": "maintenance"}
    runs = _running(2)
    gone = replace(runs[0], state=RunState.STOPPING)
    async with db.transaction() as conn:
        await store(conn, build.snapshot(build.nodes(), [gone, runs[1]]), HUB)
        plan = plan_of(preempts=tuple(Preempt(run=run.id, **told) for run in runs))
        committed = await commit_plan(conn, plan, HUB)
    assert [each.run for each in committed.plan.preempts] == ["cp-j1-1"]
    assert committed.stale == 1


async def test_those_who_lose_their_gpus_to_smaller_shares_are_counted_by_the_hour(db):
    """R9: share-driven preemption is rate-limited, also over a restart of the hub."""
    told = {"by": None, "reason": StopReason.SHARES, "notice": MINUTE, "why": "a smaller share"}
    counted = []
    async with db.transaction() as conn:
        running = _running(3)
        await store(conn, build.snapshot(build.nodes(), running), HUB)
        for run, minutes in zip(running, (0, 30, 61), strict=True):
            plan = plan_of(preempts=(Preempt(run=run.id, **told),))
            await commit_plan(conn, replace(plan, now=NOON + MINUTE * minutes), HUB)
            counted += (await load_snapshot(conn, HUB)).turnovers.values()
    assert counted == [
        Turnover("hub", NOON, 1),
        Turnover("hub", NOON, 2),
        Turnover("hub", NOON + MINUTE * 61, 1),
    ]
