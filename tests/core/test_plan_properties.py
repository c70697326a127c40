"""What `plan` promises for every world (scheduling.md §2 and style.md, safety properties)."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.decisions import Plan, apply
from scheduler.core.explain import Reason
from scheduler.core.forecast import forecast
from scheduler.core.index import PolicyIndex
from scheduler.core.model import QuotaClass
from scheduler.core.plan import plan
from scheduler.core.snapshot import Snapshot
from scheduler.core.world import World
from tests.core import oracle
from tests.strategies import Scene, Step, moments, policies, scenes, steps

SLOW = settings(max_examples=40, deadline=None)
# A recall is rare in a random world: look longer where it is what the property is about.
LONGER = settings(max_examples=120, deadline=None)


def planned(scene: Scene) -> Plan:
    return plan(scene.world(), scene.policy, scene.now)


@SLOW
@given(scenes())
def test_a_plan_never_oversubscribes_gpus_quotas_agreements_or_people(scene: Scene):
    """R1, R5; usage counted twice or never cleared: Kueue #12786."""
    assert oracle.problems(scene.policy, scene.snapshot) == []
    after = apply(scene.snapshot, planned(scene))
    assert oracle.problems(scene.policy, after) == []


@SLOW
@given(scenes())
def test_a_start_takes_free_gpus_of_usable_nodes_or_those_of_its_own_victims(scene: Scene):
    """R5, R8.6, R19; on a lent lease, GPUs of its host that no other guest has (R18)."""
    result = planned(scene)
    layers: dict[bool, set[tuple[str, int]]] = {True: set(), False: set()}
    for start in result.starts:
        taken = layers[start.over is not None]
        held = {
            (slot.node, gpu)
            for run in scene.snapshot.runs.values()
            if run.id not in start.after and run.id != start.over
            for slot in run.slots
            for gpu in slot.gpus
        }
        for slot in start.slots:
            node = scene.snapshot.nodes[slot.node]
            assert node.usable
            assert node.pool == start.pool
            gpus = {(slot.node, gpu) for gpu in slot.gpus}
            assert gpus <= {(node.id, g.index) for g in node.gpus if g.healthy}
            assert not gpus & held
            assert not gpus & taken
            taken |= gpus


@SLOW
@given(scenes())
def test_a_gang_starts_whole_on_different_nodes(scene: Scene):
    """R5; part of a gang: Volcano #3729; admission by sums: Kueue #4329."""
    for start in planned(scene).starts:
        shape = scene.snapshot.jobs[start.job].shape
        assert len({slot.node for slot in start.slots}) == shape.nodes
        assert all(len(slot.gpus) == shape.gpus_per_node for slot in start.slots)


@SLOW
@given(scenes())
def test_every_pending_job_starts_or_has_exactly_one_verdict(scene: Scene):
    """Complete (scheduling.md §2): its own, else its (account, shape) group's."""
    result = planned(scene)
    started = [start.job for start in result.starts]
    own = [hold.job for hold in result.holds if hold.job is not None]
    groups = [(hold.account, hold.shape) for hold in result.holds if hold.job is None]
    assert len(set(started)) == len(started)
    assert len(set(own)) == len(own)
    assert len(set(groups)) == len(groups)
    assert not set(own) & set(started)
    waiting = {
        (job.account, job.shape)
        for job in scene.snapshot.jobs.values()
        if job.id not in started and job.id not in own
    }
    assert waiting == set(groups)
    assert all(hold.verdicts for hold in result.holds)
    assert set(own) | set(started) <= set(scene.snapshot.jobs)


@SLOW
@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(scene: Scene, rng):
    """Same input, same plan (scheduling.md §2)."""

    def shuffled(rows):
        items = list(rows.items())
        rng.shuffle(items)
        return dict(items)

    s = scene.snapshot
    mixed = Snapshot(shuffled(s.jobs), shuffled(s.runs), shuffled(s.nodes), shuffled(s.usage))
    tables = ("accounts", "users", "pools", "quotas", "agreements", "tiers")
    rows = {name: list(getattr(scene.policy, name)) for name in tables}
    for table in rows.values():
        rng.shuffle(table)
    policy = replace(scene.policy, **{name: tuple(table) for name, table in rows.items()})
    assert plan(World(policy, mixed), policy, scene.now) == planned(scene)


@SLOW
@given(scenes())
def test_planning_leaves_the_world_as_it_was_and_replays_alike(scene: Scene):
    world = scene.world()
    before = world.state()
    first = plan(world, scene.policy, scene.now)
    assert world.state() == before
    assert plan(world, scene.policy, scene.now) == first
    assert planned(scene) == first


@SLOW
@given(policies(), steps())
def test_a_world_brought_forward_equals_one_built_anew(policy, history: list[Step]):
    """`World(s).apply(e) == World(apply_event(s, e))`, and so after its own plans."""
    world: World | None = None
    for scene, happens in moments(policy, history):
        world = world or scene.world()
        assert world.state() == scene.world().state()
        if isinstance(happens, Plan):
            world.advance(happens)
        elif happens is not None:
            world.apply(happens)


@SLOW
@given(policies(), steps())
def test_an_event_that_comes_twice_changes_nothing(policy, history: list[Step]):
    """Level-triggered: what is, never what changed."""
    for scene, happens in moments(policy, history):
        if happens is not None and not isinstance(happens, Plan):
            world = scene.world()
            world.apply(happens)
            once = world.state()
            world.apply(happens)
            assert world.state() == once


@LONGER
@given(scenes())
def test_an_owner_below_nominal_is_never_refused_for_a_borrower(scene: Scene):
    """R10: whoever waits in quota could not start even if borrowers were recalled, legally.

    Held against a search over all sets of victims, once cycles have come to rest: one start's
    victims may bring another account below its nominal, which is served in the next cycle. A
    planned start of someone in quota may stand in the way, and only that.
    """
    result = planned(scene)
    after = apply(scene.snapshot, result)
    while result.starts:
        result = plan(World(scene.policy, after), scene.policy, scene.now)
        after = apply(after, result)
    in_quota = {start.job for start in result.starts if start.quota_class is QuotaClass.IN_QUOTA}
    index = PolicyIndex(scene.policy)
    promised = {reserve.job for reserve in result.reserves}
    for hold in result.holds:
        if hold.job is None or hold.job not in after.jobs or _waits_for_itself(hold):
            continue
        job = after.jobs[hold.job]
        pools = index.candidates(job.account, job.shape, job.time_limit).pools
        if scene.policy.rules.spill_after or _held_back(hold):
            continue
        for pool in pools:
            if not _fits_its_cells(job, pool, index):
                continue
            assert oracle.legal_recall(scene.policy, pool, after, job) is None, (pool, in_quota)
        assert job.id not in in_quota
        assert promised <= set(after.jobs)


def _waits_for_itself(hold) -> bool:
    return hold.verdicts[0].reason in (Reason.USER_LIMIT, Reason.NOT_BEFORE)


def _fits_its_cells(job, pool, index) -> bool:
    """Whether as many whole nodes are guaranteed to the account as the gang is spread over."""
    row = index.quotas.get((job.account, pool.id))
    nominal = pool.capacity if pool.owner == job.account else row.nominal if row else 0
    return job.shape.nodes == 1 or job.shape.nodes <= nominal // pool.gpus_per_node


def _held_back(hold) -> bool:
    """A planned start is in the way, the cells of others (R11), or a budget (R4).

    Where nodes are broken, the verdict names those, though it is cells that they lack (R19).
    """
    out = (Reason.RESERVED, Reason.CELL, Reason.BUDGET, Reason.NODES_UNUSABLE)
    return any(verdict.reason in out for verdict in hold.verdicts)


@LONGER
@given(scenes())
def test_victims_are_legal_whole_and_only_those_that_are_needed(scene: Scene):
    """R8.1 to R8.6: checked by a second implementation, victim by victim."""
    snapshot = scene.snapshot
    result = planned(scene)
    by_job = {start.job: start for start in result.starts}
    after = apply(snapshot, result)
    for preempt in result.preempts:
        start = by_job[preempt.by]
        victim = snapshot.runs[preempt.run]
        assert start.quota_class < victim.quota_class or (
            start.quota_class is victim.quota_class is QuotaClass.BORROWED
        )
        assert preempt.run in start.after
        assert victim.quota_class is not QuotaClass.IN_QUOTA
        assert not victim.draining
        assert after.runs[preempt.run].draining
    victims = [preempt.run for preempt in result.preempts]
    assert len(set(victims)) == len(victims)
    awaited = {run for start in result.starts for run in start.after}
    assert awaited >= set(victims)
    assert all(snapshot.runs[run].draining for run in awaited - set(victims))


@LONGER
@given(scenes())
def test_each_recall_is_legal_at_the_moment_it_is_decided(scene: Scene):
    """R8.5, pitfall Kueue #14543: replayed decision by decision, starts in their order."""
    result = planned(scene)
    snapshot = scene.snapshot
    pools = {pool.id: pool for pool in scene.policy.pools}
    for start in result.starts:
        victims = [p for p in result.preempts if p.by == start.job]
        job = snapshot.jobs[start.job]
        left = [r for r in snapshot.runs.values() if r.id not in start.after]
        for preempt in victims:
            run = snapshot.runs[preempt.run]
            if run.quota_class is QuotaClass.BACKGROUND:
                assert start.quota_class is not QuotaClass.BACKGROUND
                continue
            assert oracle.is_legal_victim(scene.policy, pools[start.pool], [*left, run], run, job)
        one = replace(result, starts=(start,), preempts=tuple(victims))
        snapshot = apply(snapshot, one)


@SLOW
@given(scenes())
def test_the_class_of_a_start_is_what_quota_says_at_that_moment(scene: Scene):
    """R1, R2: in quota only within every nominal; borrowed never without need or agreement."""
    result = planned(scene)
    snapshot = scene.snapshot
    pools = {pool.id: pool for pool in scene.policy.pools}
    for start in result.starts:
        job = snapshot.jobs[start.job]
        victims = tuple(p for p in result.preempts if p.by == start.job)
        left = [r for r in snapshot.runs.values() if r.id not in start.after]
        sums = oracle.Sums(scene.policy, pools[start.pool], left)
        inside = bool(sums.path(job.account))
        assert (start.agreement is None) == inside
        assert (start.quota_class is QuotaClass.BACKGROUND) == job.shape.background
        if inside and not job.shape.background:
            within = not sums.over(job.account, job.shape.gpus)
            wide = oracle.is_wide(scene.policy, pools[start.pool], job.account, len(start.slots))
            if not (within and wide):  # as more than it is guaranteed it borrows (R11)
                assert within == (start.quota_class is QuotaClass.IN_QUOTA)
            assert sums.available(job.account) >= job.shape.gpus
        if not job.shape.preemptible:
            assert start.quota_class is QuotaClass.IN_QUOTA
        snapshot = apply(snapshot, replace(result, starts=(start,), preempts=victims))


@SLOW
@given(scenes())
def test_no_start_delays_a_planned_one(scene: Scene):
    """R6 (EASY): at its planned time the named GPUs are free, if every run ends by its limit."""
    result = planned(scene)
    after = apply(scene.snapshot, result)
    for reserve in result.reserves:
        assert reserve.start_at > scene.now
        wanted = {(slot.node, gpu) for slot in reserve.slots for gpu in slot.gpus}
        for start in result.starts:
            run = next(r for r in after.runs.values() if r.job == start.job)
            if run.ends_by > reserve.start_at:
                held = {(slot.node, gpu) for slot in run.slots for gpu in slot.gpus}
                assert not held & wanted


@SLOW
@given(scenes())
def test_planned_starts_do_not_meet_on_a_gpu(scene: Scene):
    """R6: two reservations that name a GPU at the same time would be a promise too many."""
    result = planned(scene)
    jobs = scene.snapshot.jobs
    taken: list[tuple[object, object, set[tuple[str, int]]]] = []
    for reserve in result.reserves:
        ends = reserve.start_at + jobs[reserve.job].time_limit
        gpus = {(slot.node, gpu) for slot in reserve.slots for gpu in slot.gpus}
        assert len(gpus) == jobs[reserve.job].shape.gpus
        for since, until, others in taken:
            assert not (gpus & others) or ends <= since or until <= reserve.start_at
        taken.append((reserve.start_at, ends, gpus))


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_a_forecast_names_no_start_in_the_past_and_leaves_the_world_alone(scene: Scene):
    """R6: starts by limits; what starts now is forecast for now."""
    world = scene.world()
    before = world.state()
    expected = forecast(world, scene.policy, scene.now, limit_steps=6)
    assert world.state() == before
    assert all(start >= scene.now for start in expected.values())
    now = [s.job for s in plan(world, scene.policy, scene.now).starts if not s.after]
    assert all(expected[job] == scene.now for job in now)


@SLOW
@given(scenes())
def test_the_soonest_promise_is_kept_when_runs_use_all_their_time(scene: Scene):
    """R6, every hold ends: at its planned time the job starts, if nothing else has come since."""
    result = planned(scene)
    if not result.reserves or scene.policy.rules.spill_after:
        return
    soonest = min(result.reserves, key=lambda r: (r.start_at, r.job))
    after = apply(scene.snapshot, result)
    # Runs that were told to end do so then, and the others by their limit.
    left = {
        r.id: r
        for r in after.runs.values()
        if min(r.ends_by, r.stop_at or r.ends_by) > soonest.start_at
    }
    then = replace(after, runs=left, jobs={soonest.job: after.jobs[soonest.job]})
    user = next(u for u in scene.policy.users if u.name == after.jobs[soonest.job].user)
    if user.max_gpus is None:
        planned_then = plan(World(scene.policy, then), scene.policy, soonest.start_at)
        told = {v.reason for hold in planned_then.holds for v in hold.verdicts}
        if _is_owed_to_others(scene.policy, then, soonest):
            return
        assert [start.job for start in planned_then.starts] == [soonest.job], told


def _is_owed_to_others(policy, snapshot: Snapshot, reserve) -> bool:
    """By the oracle: a budget is spent, others keep theirs at home (R1), or it is their cells."""
    job = snapshot.jobs[reserve.job]
    if oracle.beyond_budget(policy, snapshot, job):
        return True
    pool = next(p for p in policy.pools if p.id == reserve.pool)
    sums = oracle.Sums(policy, pool, list(snapshot.runs.values()))
    if sums.available(job.account) < job.shape.gpus:
        return True
    # Until it is aged, a start that nobody may take back fits the account's own cells (R11),
    # of which some are missing where nodes are broken (R19).
    in_quota = bool(sums.path(job.account)) and not sums.over(job.account, job.shape.gpus)
    fits = oracle.Cells(policy, pool, snapshot).fits(job)
    return in_quota and not (fits and not oracle.broken_nodes(pool, snapshot))
