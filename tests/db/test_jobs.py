import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.lifecycle import JobState
from scheduler.core.model import PriorityClass, Shape, Tier
from scheduler.db.jobs import (
    DuplicateJob,
    NewJob,
    Owner,
    cancel_job,
    delete_job,
    events_of,
    find_job,
    insert_job,
    list_jobs,
    pending_count,
)
from scheduler.db.packages import find_package, package_allowed, save_package
from scheduler.db.shapes import shape_key
from tests.build import NOON
from tests.db.small_hub import Hub

JOB = NewJob(
    id="j1",
    user="ann",
    submission_id="mine",
    request_sha256="0" * 64,
    account="own",
    shape=Shape(2, 4, gpu_models=frozenset({"H100", "A100"}), tier_max=Tier.FRONTIER),
    priority=PriorityClass.HIGH,
    time_limit=timedelta(hours=2),
    submitted_at=NOON,
    entrypoint="python train.py",
    idempotency_key="key",
    runtime_env={"working_dir": "gcs://x.zip"},
    metadata={"a": "b"},
    entrypoint_options={"num_cpus": 1.5},
    packages=({"uri": "gcs://x.zip", "sha256": "f" * 64, "size": 3},),
)


async def insert(db, job):
    async with db.transaction() as conn:
        return await insert_job(conn, job)


async def find(db, key, user="ann"):
    async with db.reading() as conn:
        return await find_job(conn, key, user and Owner(user))


async def test_what_was_asked_for_is_what_is_read(db):
    row = await insert(db, JOB)
    assert row == await find(db, "j1")
    asked = {name: getattr(row, name) for name in NewJob.__slots__}
    assert NewJob(**asked) == JOB
    assert (row.state, row.attempt, row.preemptions) == (JobState.PENDING, 1, 0)


async def test_a_job_is_found_by_either_name_by_its_owner_alone(db):
    await insert(db, JOB)
    assert (await find(db, "mine")).id == (await find(db, "j1")).id == "j1"
    assert await find(db, "j1", "bob") is None
    assert (await find(db, "mine", None)).id == "j1"


async def test_an_id_goes_before_a_submission_id_that_looks_like_it(db):
    await insert(db, JOB)
    await insert(db, replace(JOB, id="j2", submission_id="j1", idempotency_key=None))
    assert (await find(db, "j1")).id == "j1"


@pytest.mark.parametrize(
    ("again", "by"),
    [
        pytest.param({"submission_id": "other"}, "idempotency_key", id="the same key"),
        pytest.param({"idempotency_key": "other"}, "submission_id", id="the same id"),
        pytest.param({}, "idempotency_key", id="both: the key is what a retry means"),
    ],
)
async def test_a_second_submission_gives_the_first_job_back(db, again, by):
    await insert(db, JOB)
    with pytest.raises(DuplicateJob) as duplicate:
        await insert(db, replace(JOB, id="j2", **again))
    assert (duplicate.value.existing.id, duplicate.value.by) == ("j1", by)


async def test_of_eight_submissions_at_once_one_becomes_a_job(db):
    async def submit(number):
        try:
            return (await insert(db, replace(JOB, id=f"j{number}"))).id
        except DuplicateJob as duplicate:
            return duplicate.existing.id

    winners = await asyncio.gather(*(submit(number) for number in range(8)))
    assert len(set(winners)) == 1
    async with db.reading() as conn:
        assert len(await list_jobs(conn, owner=Owner("ann"))) == 1
        assert len(await events_of(conn, winners[0])) == 1


async def test_two_people_may_use_one_submission_id(db):
    await insert(db, JOB)
    await insert(db, replace(JOB, id="j2", user="bob"))
    assert (await find(db, "mine", "bob")).id == "j2"


async def test_pages_go_back_in_time_without_gaps_or_repeats(db):
    for number in range(7):
        name = f"j{number}"
        await insert(db, replace(JOB, id=name, submission_id=name, idempotency_key=None))
    pages, before = [], None
    async with db.reading() as conn:
        while page := await list_jobs(conn, owner=Owner("ann"), before=before, limit=3):
            pages.append([job.id for job in page])
            before = page[-1].sequence
    assert pages == [["j6", "j5", "j4"], ["j3", "j2", "j1"], ["j0"]]


async def test_lists_are_narrowed_by_state_and_account(db):
    await insert(db, JOB)
    async with db.transaction() as conn:
        await cancel_job(conn, "j1", NOON, "ann")
    await insert(db, replace(JOB, id="j2", submission_id="x", idempotency_key=None))
    async with db.reading() as conn:
        stopped = await list_jobs(conn, owner=None, state=JobState.STOPPED)
        elsewhere = await list_jobs(conn, owner=Owner("ann"), account="other")
        assert await pending_count(conn, "ann") == 1
    assert ([job.id for job in stopped], elsewhere) == (["j1"], [])


async def test_cancelling_a_waiting_job_ends_it_and_says_who_did(db):
    await insert(db, JOB)
    async with db.transaction() as conn:
        assert await cancel_job(conn, "j1", NOON, "ann") is JobState.STOPPED
        assert await cancel_job(conn, "j1", NOON, "ann") is JobState.STOPPED
        events = [event.sentence for event in await events_of(conn, "j1")]
    assert events[1:] == ["cancelled by ann while it waited"]


async def test_cancelling_a_running_job_tells_its_run_to_stop_now(db):
    hub = Hub(db)
    await hub.begin()
    await hub.submit(("own", 2, False))
    await hub.turn()
    await hub.tell(0)
    async with db.transaction() as conn:
        assert await cancel_job(conn, "j1", NOON, "ann") is JobState.STOPPING
    run = await hub.run("j1")
    assert (run.stop_reason, run.stop_at) == ("cancelled", NOON)


async def test_cancelling_what_does_not_exist_is_an_error(db):
    with pytest.raises(KeyError):
        async with db.transaction() as conn:
            await cancel_job(conn, "nope", NOON, "ann")


async def test_only_an_ended_job_can_be_deleted_and_its_id_is_never_anothers(db):
    async with db.transaction() as conn:
        await insert_job(conn, JOB)
        assert not await delete_job(conn, "j1", NOON)
        await cancel_job(conn, "j1", NOON, "ann")
        assert await delete_job(conn, "j1", NOON)
        assert not await delete_job(conn, "j1", NOON)
    assert await find(db, "mine") is None
    with pytest.raises(DuplicateJob) as duplicate:
        await insert(db, replace(JOB, id="j2"))
    assert duplicate.value.existing.deleted_at == NOON


async def test_packages_are_each_tenants_own(db):
    async with db.transaction() as conn:
        await save_package(conn, "ann", "x.zip", "a" * 64, 3, NOON)
        await save_package(conn, "ann", "x.zip", "b" * 64, 4, NOON)
        assert (await find_package(conn, "ann", "x.zip")).sha256 == "b" * 64
        assert await find_package(conn, "bob", "x.zip") is None


async def test_a_site_may_fetch_what_its_open_runs_refer_to_and_nothing_else(db):
    hub = Hub(db)
    await hub.begin()
    await insert(db, replace(JOB, shape=Shape(1, 2), time_limit=timedelta(minutes=10)))
    await hub.cycle()
    async with db.reading() as conn:
        assert await package_allowed(conn, "site", "f" * 64)
        assert not await package_allowed(conn, "site", "e" * 64)
        assert not await package_allowed(conn, "elsewhere", "f" * 64)


SHAPES = st.builds(
    Shape,
    st.integers(1, 2),
    st.integers(1, 2),
    gpu_models=st.frozensets(st.sampled_from(["H100", "A100"])),
    tier_max=st.sampled_from(Tier),
    preemptible=st.booleans(),
    background=st.booleans(),
)


@given(SHAPES, SHAPES)
def test_keys_are_equal_exactly_for_equal_shapes(one, other):
    assert (shape_key(one) == shape_key(other)) == (one == other)
