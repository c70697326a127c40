"""What a site says, and what follows from it."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from scheduler.core.lifecycle import JobState
from scheduler.core.model import RunState, StopReason
from scheduler.db.ending import End, end_run, open_runs
from scheduler.db.sites import record_sync
from scheduler.db.tables import lease_gpus, nodes, outbox, runs, usage, usage_intervals
from scheduler.wire.sites import ObservedRun, SiteSync, Wanted
from tests.build import MINUTE, NOON
from tests.db.small_hub import POLICY, Hub

OWN, GUEST = ("own", 2, False), ("guest", 2, False)
LATER = NOON + 5 * MINUTE


@pytest.fixture
async def hub(db):
    hub = Hub(db)
    await hub.begin()
    return hub


@pytest.fixture
async def working(hub):
    """A hub on which `cp-j1-1` runs since NOON, on two GPUs."""
    await hub.submit(OWN)
    await hub.turn()
    await hub.tell(0)
    hub.now = LATER
    return hub


async def say(hub, state, sequence=100, run="cp-j1-1", **more):
    """Deliver one message about one run, and return the jobs that it changed."""
    fields = {"token": 1, "observed_at": hub.now, **more}
    observed = ObservedRun(run=run, state=state, **fields)
    message = SiteSync(instance="agent", sequence=sequence, runs=(observed,))
    async with hub.db.transaction() as conn:
        return await record_sync(conn, "site", message, hub.now)


async def everything(hub):
    """Return all that a report could change, but who spoke when."""
    tables = (runs, lease_gpus, usage, usage_intervals, outbox)
    async with hub.db.reading() as conn:
        rows = [(await conn.execute(select(table))).all() for table in tables]
    return rows, await hub.job("j1"), await hub.history("j1")


async def held(hub):
    async with hub.db.reading() as conn:
        return len((await conn.execute(select(lease_gpus))).all())


async def test_a_run_that_starts_is_told_and_its_limit_counts_from_then(hub):
    await hub.submit(OWN)
    await hub.turn()
    hub.now = LATER
    assert await say(hub, "running", started_at=LATER) == ["j1"]
    run, job = await hub.run("j1"), await hub.job("j1")
    assert (run.started_at, run.ends_by) == (LATER, LATER + 30 * MINUTE)
    assert (job.state, job.started_at) == (JobState.RUNNING, LATER)
    assert [event for event, _ in await hub.history("j1")] == [
        "submitted",
        "leased",
        "starting",
        "running",
    ]


@pytest.mark.parametrize("state", ["succeeded", "failed", "stopped", "preempted", "lost"])
async def test_an_end_frees_no_gpu_before_it_is_fenced(working, state):
    assert await say(working, state) == []
    assert await held(working) == 2
    assert (await working.job("j1")).state is JobState.RUNNING


async def test_a_fenced_end_frees_the_gpus_and_settles_the_lease(working):
    end = {"message": "done", "exit_code": 0, "fenced": True}
    assert await say(working, "succeeded", **end) == ["j1"]
    job = await working.job("j1")
    assert (job.state, job.ended_at, job.message) == (JobState.SUCCEEDED, LATER, "done")
    assert await held(working) == 0
    async with working.db.reading() as conn:
        spent = (await conn.execute(select(usage.c.h100e_seconds))).scalar_one()
    assert spent == pytest.approx(2 * 300, rel=1e-3)


async def test_the_same_report_twice_changes_nothing_the_second_time(working):
    await say(working, "succeeded", fenced=True)
    once = await everything(working)
    working.now += MINUTE
    assert await say(working, "succeeded", fenced=True) == []
    assert await say(working, "failed", fenced=True) == []
    assert await everything(working) == once


async def test_a_report_that_a_newer_one_overtook_is_ignored(working):
    await say(working, "running", sequence=200)
    before = await everything(working)
    assert await say(working, "succeeded", sequence=199, fenced=True) == []
    assert await everything(working) == before


async def test_a_report_under_a_lower_fencing_token_is_ignored(working):
    async with working.db.transaction() as conn:
        await conn.execute(update(runs).values(token=2))
    assert await say(working, "succeeded", token=1, fenced=True) == []
    assert (await working.job("j1")).state is JobState.RUNNING


async def test_a_site_speaks_for_its_own_runs_only(working):
    message = SiteSync(
        instance="agent",
        sequence=1,
        runs=(
            ObservedRun(run="cp-j1-1", token=1, state="succeeded", observed_at=LATER, fenced=True),
        ),
    )
    async with working.db.transaction() as conn:
        assert await record_sync(conn, "elsewhere", message, LATER) == []
    assert (await working.job("j1")).state is JobState.RUNNING


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        pytest.param(LATER - 2 * MINUTE, LATER - 2 * MINUTE, id="an honest clock is believed"),
        pytest.param(LATER + 60 * MINUTE, LATER, id="no end is in the future"),
        pytest.param(NOON - 60 * MINUTE, NOON, id="no end is before the start"),
    ],
)
async def test_ends_are_bounded_by_what_can_be(working, said, stored):
    await say(working, "succeeded", fenced=True, observed_at=said)
    assert (await working.run("j1")).ended_at == stored


async def test_an_ended_run_is_to_be_forgotten_until_the_site_has(working):
    await say(working, "succeeded", fenced=True)
    assert (await working.leases())["cp-j1-1"].wanted is Wanted.FORGET
    async with working.db.transaction() as conn:
        silence = SiteSync(instance="agent", sequence=101)
        await record_sync(conn, "site", silence, working.now)
    assert await working.leases() == {}


async def test_a_lease_names_all_that_the_site_needs(working):
    lease = (await working.leases())["cp-j1-1"]
    assert (lease.job, lease.attempt, lease.token, lease.entrypoint) == ("j1", 1, 1, "true")
    assert [(node.node, node.gpus, node.gpu_uuids) for node in lease.nodes] == [
        ("hub-1", (0, 1), ("1-0", "1-1"))
    ]
    assert (lease.time_limit_seconds, lease.grace_seconds) == (1800, 1800)


@pytest.fixture
async def recalled(hub):
    """Two guests borrow everything and work; the owner's job has taken one's GPUs back."""
    for _ in range(2):
        await hub.submit(GUEST)
    await hub.turn()
    for index in range(2):
        await hub.tell(index)
    hub.now = LATER
    await hub.submit(OWN)
    await hub.cycle()
    return hub


async def victim_of(hub):
    states = {name: (await hub.job(name)).state for name in ("j1", "j2")}
    (victim,) = [name for name, state in states.items() if state is JobState.STOPPING]
    return victim


async def test_a_recall_is_told_with_its_time_and_the_successor_waits(recalled):
    victim = await victim_of(recalled)
    leases = await recalled.leases()
    assert "cp-j3-1" not in leases
    order = leases[f"cp-{victim}-1"]
    assert (order.wanted, order.stop_reason) == (Wanted.STOP, StopReason.RECALLED)
    assert order.stop_at == LATER + timedelta(minutes=30)
    event, sentence = (await recalled.history(victim))[-1]
    assert event == "recalled"
    assert sentence.startswith("recalled by own: checkpoint by 12:35:00 UTC (own takes its GPUs")


async def test_a_preempted_run_is_requeued_with_its_age_behind_its_successor(recalled):
    victim = await victim_of(recalled)
    before = await recalled.job(victim)
    recalled.now += 2 * MINUTE
    await say(recalled, "preempted", run=f"cp-{victim}-1", fenced=True)
    job, successor = await recalled.job(victim), await recalled.run("j3")
    assert (job.state, job.attempt, job.preemptions) == (JobState.PENDING, 2, 1)
    assert (job.submitted_at, job.sequence) == (before.submitted_at, before.sequence)
    assert successor.bind_by == recalled.now + POLICY.rules.bind_within
    assert job.not_before == successor.bind_by
    assert "cp-j3-1" in await recalled.leases()
    assert (await recalled.history(victim))[-1] == (
        "requeued",
        "its GPUs were recalled; requeued as attempt 2, keeps its place",
    )


async def test_a_preempted_job_competes_again_once_its_successor_has_begun(recalled):
    victim = await victim_of(recalled)
    await say(recalled, "preempted", run=f"cp-{victim}-1", fenced=True)
    await say(recalled, "starting", sequence=101, run="cp-j3-1")
    assert (await recalled.job(victim)).not_before is None


async def test_only_one_of_victim_and_successor_pays_for_the_notice(recalled):
    victim = await victim_of(recalled)
    recalled.now += 2 * MINUTE
    await say(recalled, "preempted", run=f"cp-{victim}-1", fenced=True)
    async with recalled.db.reading() as conn:
        rows = {row.run_id: row for row in await conn.execute(select(usage_intervals))}
    assert rows["cp-j3-1"].started_at == rows[f"cp-{victim}-1"].ended_at == recalled.now


@pytest.mark.parametrize("state", ["succeeded", "failed"])
async def test_a_result_stands_although_the_run_was_recalled(recalled, state):
    victim = await victim_of(recalled)
    await say(recalled, state, run=f"cp-{victim}-1", fenced=True)
    job = await recalled.job(victim)
    assert (job.state, job.attempt) == (JobState(state), 1)


async def test_cancelling_a_recalled_job_ends_it_for_good(recalled):
    victim = await victim_of(recalled)
    await recalled.cancel(int(victim[1:]) - 1)
    order = (await recalled.leases())[f"cp-{victim}-1"]
    assert (order.stop_reason, order.stop_at) == (StopReason.CANCELLED, LATER)
    await say(recalled, "stopped", run=f"cp-{victim}-1", fenced=True)
    assert (await recalled.job(victim)).state is JobState.STOPPED


async def test_cancelling_a_lease_that_no_site_was_told_of_ends_it_at_once(recalled):
    await recalled.cancel(2)
    job, run = await recalled.job("j3"), await recalled.run("j3")
    assert (job.state, run.state) == (JobState.STOPPED, RunState.STOPPED)
    async with recalled.db.reading() as conn:
        left = (await conn.execute(select(lease_gpus.c.run_id).distinct())).scalars().all()
        row = (
            await conn.execute(select(usage_intervals).where(usage_intervals.c.run_id == "cp-j3-1"))
        ).one()
    assert sorted(left) == ["cp-j1-1", "cp-j2-1"]
    assert row.started_at == row.ended_at


async def test_a_lost_run_is_requeued_without_counting_as_preempted(working):
    await say(working, "lost", message="its node went dark", fenced=True)
    job = await working.job("j1")
    assert (job.state, job.attempt, job.preemptions) == (JobState.PENDING, 2, 0)
    assert (await working.history("j1"))[-1][1] == (
        "its node went dark; requeued as attempt 2, keeps its place"
    )


async def test_a_job_whose_runs_are_lost_again_and_again_fails_and_says_what_to_do(working):
    """R19: it may be the job that brings its nodes down."""
    most = POLICY.rules.max_lost
    for attempt in range(1, most + 1):
        assert (await working.job("j1")).attempt == attempt
        run = await working.run("j1", attempt)
        async with working.db.transaction() as conn:
            (held,) = await open_runs(conn, runs.c.id == run.id)
            await end_run(conn, held, End(RunState.LOST, working.now, "it went dark"), working.now)
        await working.turn()
    job, where = await working.job("j1"), run.slots[0].node
    assert (job.state, job.attempt, job.error_type) == (JobState.FAILED, most, "runs_lost")
    assert job.message.startswith(f"{most} of its runs were lost, the last on {where}: it went")
    assert job.message.endswith("then submit it again")


async def test_an_unlisted_end_without_a_reason_is_the_end(working):
    await say(working, "stopped", fenced=True)
    assert (await working.job("j1")).state is JobState.STOPPED


async def test_a_checkpoint_is_noted_and_told_at_the_requeue(working):
    await say(working, "running", checkpointed_at=LATER)
    assert (await working.run("j1")).checkpointed_at == LATER
    await say(working, "lost", sequence=101, fenced=True)
    assert "keeps its checkpoint and its place" in (await working.history("j1"))[-1][1]


async def test_an_unbound_lease_is_released_once_the_site_spoke_without_it(hub):
    await hub.submit(OWN)
    await hub.cycle()
    await hub.sync()
    hub.now += 11 * MINUTE
    await hub.sync()
    await hub.watch()
    job = await hub.job("j1")
    assert (job.state, job.attempt) == (JobState.PENDING, 2)
    assert await held(hub) == 0
    assert (await hub.history("j1"))[-1][1].startswith(
        "site site did not start it by 12:10:00 UTC; requeued as attempt 2"
    )


async def test_an_unbound_lease_of_a_silent_site_stays_until_the_lease_is_over(hub):
    await hub.submit(OWN)
    await hub.cycle()
    await hub.sync()
    hub.now += 11 * MINUTE
    await hub.watch()
    assert (await hub.run("j1")).state is RunState.UNKNOWN
    # A site that began it at the last moment would run it from 12:10 to 12:40, and 30 min notice.
    hub.now = NOON + timedelta(minutes=71)
    await hub.watch()
    assert await held(hub) == 2
    hub.now = NOON + timedelta(minutes=73)
    await hub.watch()
    assert await held(hub) == 0
    assert (await hub.job("j1")).state is JobState.PENDING


async def test_a_run_of_a_site_that_comes_back_goes_on(working):
    working.now += 30 * MINUTE
    await working.watch()
    assert (await working.run("j1")).state is RunState.UNKNOWN
    assert await held(working) == 2
    await say(working, "running")
    assert (await working.run("j1")).state is RunState.RUNNING
    assert (await working.history("j1"))[-1][1] == "the site sees it again: runs on hub-1 (hub)"


async def test_nodes_of_a_silent_site_take_no_work_until_it_speaks(working):
    working.now += 3 * MINUTE
    await working.nodes_report()
    await working.watch()
    world = await working.look()
    assert {node.why_unusable for node in world.snapshot().nodes.values()} == {
        "site site's agent is silent"
    }
    await working.sync()
    world = await working.look()
    assert all(node.usable for node in world.snapshot().nodes.values())


async def test_a_node_that_stops_reporting_takes_no_work_until_it_reports(hub):
    hub.now += 6 * MINUTE
    await hub.watch()
    assert {n.why_unusable for n in (await hub.look()).snapshot().nodes.values()} == {
        "silent since 12:00:00 UTC"
    }
    await hub.nodes_report()
    assert all(node.usable for node in (await hub.look()).snapshot().nodes.values())


async def test_a_run_that_the_site_prepares_for_ever_is_stopped_and_requeued(hub):
    await hub.submit(OWN)
    await hub.turn()
    hub.now += 11 * MINUTE
    await hub.sync()
    await hub.watch()
    order = (await hub.leases())["cp-j1-1"]
    assert (order.wanted, order.stop_reason) == (Wanted.STOP, StopReason.BIND_EXPIRED)
    await say(hub, "stopped", fenced=True)
    assert (await hub.job("j1")).state is JobState.PENDING


async def test_a_site_that_forgets_the_time_limit_is_told_to_stop(working):
    working.now = NOON + timedelta(minutes=63)
    await say(working, "running")
    await working.watch()
    order = (await working.leases())["cp-j1-1"]
    assert (order.wanted, order.stop_reason) == (Wanted.STOP, StopReason.TIME_LIMIT)
    await say(working, "stopped", sequence=101, fenced=True)
    job = await working.job("j1")
    assert (job.state, job.message) == (JobState.FAILED, "it reached its time limit")


async def test_a_cancelled_run_of_a_silent_site_ends_cancelled_after_its_lease(working):
    await working.cancel(0)
    working.now = NOON + timedelta(hours=3)
    await working.watch()
    assert (await working.job("j1")).state is JobState.STOPPED


async def test_a_node_that_was_taken_out_is_dropped_from_the_world(hub):
    await hub.look()
    async with hub.db.transaction() as conn:
        await conn.execute(nodes.delete().where(nodes.c.id == "hub-2"))
        await conn.execute(outbox.insert().values(kind="node", key="hub-2"))
    assert set((await hub.look()).snapshot().nodes) == {"hub-1"}
