"""What people who wait are told is what the last plan says, and only differences are written."""

from contextlib import contextmanager

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select

from scheduler.core.decisions import Hold, Plan, Reserve
from scheduler.core.explain import Reason, Verdict
from scheduler.core.model import NodeId, PoolId, Slot
from scheduler.db.holds import Told
from scheduler.db.rows import verdicts_of
from scheduler.db.shapes import shape_key
from scheduler.db.tables import holds, reservations
from tests import build
from tests.build import MINUTE, NOON
from tests.db.store import empty, store

JOBS = [build.job(f"j{n}") for n in range(3)]
SHAPES = [build.shape(), build.shape(2, 4), build.shape(memory_gib=80)]


def _verdicts(free):
    return (Verdict(Reason.CAPACITY, PoolId("hub"), (("free", free),)),)


HOLDS = st.dictionaries(
    st.tuples(
        st.sampled_from(["own", "guest"]),
        st.sampled_from(SHAPES),
        st.sampled_from([None, *(job.id for job in JOBS)]),
    ),
    st.integers(0, 2).map(_verdicts),
    max_size=8,
)
RESERVES = st.dictionaries(
    st.sampled_from([job.id for job in JOBS]),
    st.integers(1, 2).map(
        lambda n: (PoolId("hub"), (Slot(NodeId(f"hub-{n}"), (0,)),), NOON + MINUTE * n)
    ),
)
PLANS = st.lists(st.tuples(HOLDS, RESERVES, st.booleans()), min_size=1, max_size=5)


def _plan(said, reserved, minutes=0):
    return Plan(
        now=NOON + MINUTE * minutes,
        policy_revision=1,
        holds=tuple(Hold(*key[:2], verdicts, key[2]) for key, verdicts in said.items()),
        reserves=tuple(Reserve(job, *rest) for job, rest in reserved.items()),
    )


async def _stored(conn):
    rows = (await conn.execute(select(holds))).all()
    planned = (await conn.execute(select(reservations))).all()
    said = {
        (r.account, r.shape_key, r.job_id): (verdicts_of(r.verdicts), r.decided_at) for r in rows
    }
    assert len(said) == len(rows)
    return said, {row.job_id: row.start_at for row in planned}


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(plans=PLANS)
async def test_after_any_plans_the_last_one_is_told_since_its_verdicts_last_changed(db, plans):
    told, since = Told(), {}
    async with db.transaction() as conn:
        await empty(conn)
        await store(conn, build.snapshot(JOBS), build.policy())
        for minutes, (said, reserved, forgets) in enumerate(plans):
            if forgets:
                told.reset()
            plan = _plan(said, reserved, minutes)
            await told.store(conn, plan)
            since = {
                key: since[key]
                if key in since and since[key][0] == verdicts
                else (verdicts, plan.now)
                for key, verdicts in said.items()
            }
            stored, planned = await _stored(conn)
            assert stored == {(a, shape_key(s), job): row for (a, s, job), row in since.items()}
            assert planned == {job: rest[2] for job, rest in reserved.items()}


@contextmanager
def _statements(db):
    seen = []

    def note(*given):
        seen.append(given[2])

    event.listen(db.engine.sync_engine, "before_cursor_execute", note)
    yield seen
    event.remove(db.engine.sync_engine, "before_cursor_execute", note)


async def test_a_plan_that_says_the_same_costs_no_sql(db):
    said = {("own", shape, None): _verdicts(0) for shape in SHAPES}
    reserved = {JOBS[0].id: (PoolId("hub"), (Slot(NodeId("hub-1"), (0,)),), NOON)}
    told = Told()
    async with db.transaction() as conn:
        await store(conn, build.snapshot(JOBS), build.policy())
        await told.store(conn, _plan(said, reserved))
        with _statements(db) as seen:
            await told.store(conn, _plan(said, reserved, minutes=1))
            assert seen == []
            await told.store(conn, _plan(said | {("own", SHAPES[0], None): _verdicts(1)}, reserved))
    assert [statement.split()[0] for statement in seen] == ["UPDATE"]
