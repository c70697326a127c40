"""What a Ray head can do wrong, and what must come of it. Source: notes/ray.md §4."""

import asyncio
import os
import re
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from agents.site import processes
from agents.site.backends.base import Gone, Silent
from agents.site.backends.ray_shared import RayShared, confirmation
from agents.site.failures import BackendRejected
from agents.site.ray_jobs import RayHead, http_client
from agents.site.records import Phase, RecordStore, RunRecord
from scheduler.clock import SystemClock
from scheduler.core.model import Backend, RunState, StopReason
from scheduler.wire.sites import PackageRef
from tests.agents.fake_hub import NOW, FakeHub, a_lease
from tests.agents.fake_ray_head import FakeRayHead, serving
from tests.agents.site import a_site, fake_ray, settings_of
from tests.waiting import eventually

RUN = "cp-jf1-1"


@pytest.fixture
def hub():
    return FakeHub()


@pytest.fixture
async def head(scratch):
    fake = FakeRayHead(scratch / "head")
    async with serving(fake) as address:
        fake.address = address
        yield fake


@pytest.fixture
def settings(scratch, head):
    return settings_of(scratch / "site", shared_ray=head.address, scratch=scratch)


@pytest.fixture(autouse=True)
async def nothing_left():
    yield
    assert await processes.end_all(RUN, None, SystemClock(), 10)


def program(command: str, **changes):
    return a_lease(RUN, backend=Backend.RAY_SHARED, entrypoint=command, **changes)


async def running(hub):
    return await eventually(lambda: RunState.RUNNING in hub.states(RUN), 30)


async def end_of(hub, seconds: float = 40):
    return await eventually(lambda: hub.end_of(RUN), seconds)


def times(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


# A submission that goes wrong runs the program once or not at all


async def test_a_post_that_is_recorded_and_then_fails_is_adopted(hub, settings, head, scratch):
    head.knobs.fail_after_recording = 1
    hub.order(program(f"echo once >> {scratch}/ran"))
    async with a_site(settings, hub):
        assert (await end_of(hub)).state is RunState.SUCCEEDED
    assert (head.posts, times(scratch / "ran")) == (1, 1)


async def test_a_post_that_fails_is_tried_again_under_the_same_id(hub, settings, head, scratch):
    head.knobs.fail = {"POST /api/jobs/": "Traceback\nRpcError: not now"}
    hub.order(program(f"echo once >> {scratch}/ran"))
    async with a_site(settings, hub):
        await eventually(lambda: head.calls.count("POST /api/jobs/") >= 2)
        head.knobs.fail = {}
        assert (await end_of(hub)).state is RunState.SUCCEEDED
    assert times(scratch / "ran") == 1


async def test_a_request_that_the_head_never_takes_fails_with_its_last_line(hub, settings, head):
    head.knobs.fail = {
        "POST /api/jobs/": 'Traceback\n  File "/secret/path.py", line 1\nValueError: bad selector'
    }
    hub.order(program("true"))
    async with a_site(settings, hub):
        end = await end_of(hub)
    assert (end.state, end.error_type) == (RunState.FAILED, "COMMONPOOL_REJECTED")
    assert end.message == "Ray could not take the job: ValueError: bad selector"


async def test_a_head_without_an_agent_is_the_sites_fault_and_the_run_comes_back(
    hub, settings, head
):
    head.knobs.fail = {"POST /api/jobs/": "Traceback\nException: No available agent to submit job"}
    hub.order(program("true", bind_by=NOW() + timedelta(seconds=4)))
    async with a_site(settings, hub):
        end = await end_of(hub)
    assert (end.state, end.error_type) == (RunState.LOST, "COMMONPOOL_BIND_EXPIRED")


async def test_an_id_that_the_head_has_already_is_adopted(hub, settings, head, scratch):
    head.submit(
        {"submission_id": RUN, "entrypoint": f"echo once >> {scratch}/ran; sleep 1", "metadata": {}}
    )
    hub.order(program(f"echo twice >> {scratch}/ran"))
    async with a_site(settings, hub):
        assert (await end_of(hub)).state is RunState.SUCCEEDED
    assert (scratch / "ran").read_text() == "once\n"


async def test_an_agent_that_dies_between_record_and_post_posts_once(hub, settings, head, scratch):
    head.knobs.hang = ("POST /api/jobs/",)
    hub.order(program(f"echo once >> {scratch}/ran"))
    async with a_site(settings, hub):
        await eventually(lambda: "POST /api/jobs/" in head.calls)
    head.knobs.hang = ()
    async with a_site(settings, hub):
        assert (await end_of(hub)).state is RunState.SUCCEEDED
    assert times(scratch / "ran") == 1


async def test_no_more_than_four_submissions_are_under_way_at_a_head(hub, settings, head):
    head.knobs.hang = ("POST /api/jobs/",)
    hub.order(*(a_lease(f"cp-jm{i}-1", backend=Backend.RAY_SHARED) for i in range(9)))
    async with a_site(settings, hub):
        await eventually(lambda: head.calls.count("POST /api/jobs/") >= 4)
        await asyncio.sleep(0.5)  # The time in which nothing more must come.
        assert head.calls.count("POST /api/jobs/") == 4
        head.knobs.hang = ()


# A head that forgets, lies or falls silent


async def test_a_head_that_forgot_the_run_loses_it_only_once_the_orphan_is_dead(
    hub, settings, head
):
    hub.order(program("sleep 300 & sleep 300"))
    async with a_site(settings, hub):
        await running(hub)
        assert processes.of_run(RUN)
        head.restart()
        end = await end_of(hub)
        assert processes.of_run(RUN) == frozenset()
    assert (end.state, end.error_type) == (RunState.LOST, "COMMONPOOL_LOST")
    assert "restarted" in end.message
    assert not any(o.state is RunState.LOST and not o.fenced for o in hub.history)


async def test_running_on_a_dead_node_is_not_believed(hub, settings, head):
    hub.order(program("sleep 300"))
    async with a_site(settings, hub):
        await running(hub)
        head.knobs.dead_nodes = True
        end = await end_of(hub)
    assert end.state is RunState.LOST
    assert "is dead" in end.message


async def test_a_short_silence_changes_nothing(hub, settings, head):
    settings = settings.model_copy(update={"unknown_after": 30})
    hub.order(program("sleep 1.5"))
    async with a_site(settings, hub):
        await running(hub)
        head.knobs.fail = {"GET /api/jobs": "no"}
        await eventually(lambda: head.calls[-3:] == [f"GET /api/jobs/{RUN}"] * 3)
        head.knobs.fail = {}
        assert (await end_of(hub)).state is RunState.SUCCEEDED
    assert RunState.UNKNOWN not in hub.states(RUN)


async def test_a_longer_silence_is_unknown_and_the_run_may_come_back(hub, settings, head):
    settings = settings.model_copy(update={"unknown_after": 0.2, "lost_after": 60})
    hub.order(program("sleep 3"))
    async with a_site(settings, hub):
        await running(hub)
        head.knobs.fail = {"GET /api/jobs": "no"}
        await eventually(lambda: hub.states(RUN)[-1] is RunState.UNKNOWN)
        head.knobs.fail = {}
        assert (await end_of(hub)).state is RunState.SUCCEEDED
    assert f"GET /api/jobs/{RUN}/logs" in head.calls, "a head that is back is made to look"


async def test_a_head_that_is_dead_for_long_loses_its_runs_after_fencing(hub, scratch):
    fake = FakeRayHead(scratch / "other")
    async with serving(fake) as address:
        settings = settings_of(
            scratch / "site", shared_ray=address, unknown_after=0.2, lost_after=1
        )
        hub.order(program("sleep 300"))
        site = a_site(settings, hub)
        await site.__aenter__()
        await running(hub)
        fake.end_all = lambda: None  # type: ignore[method-assign]  # the programs are orphans
    end = await end_of(hub)
    assert processes.of_run(RUN) == frozenset()
    await site.__aexit__(None, None, None)
    assert end.state is RunState.LOST
    assert RunState.UNKNOWN in hub.states(RUN)


async def test_what_ray_still_holds_as_pending_is_not_fenced(shared):
    shared.head.knobs.stay_pending = True
    ledger = shared.ledger()
    await shared.backend.start(ledger)
    assert not await shared.backend.fence(ledger.record)
    shared.head.jobs[ledger.record.run].stopped = True
    assert await shared.backend.fence(ledger.record)


async def test_on_other_machines_a_lost_run_is_fenced_only_by_an_operators_word(
    shared, monkeypatch
):
    monkeypatch.setattr("agents.site.backends.ray_shared._is_here", lambda _: False)
    ledger = shared.ledger(entrypoint="sleep 300")
    await shared.backend.start(ledger)
    run = ledger.record.run
    assert await shared.backend.fence(ledger.record), "Ray's word is enough while it remembers"
    shared.head.restart()
    assert not await shared.backend.fence(ledger.record)
    confirmation(shared.signals.file(run)).touch()
    assert await shared.backend.fence(ledger.record)


async def test_a_wrong_token_for_the_head_is_silence_not_a_loss(scratch):
    fake = FakeRayHead(scratch / "head", token="right")  # noqa: S106  # a test's
    async with serving(fake) as address, http_client() as ray:
        for token, answer in (("wrong", Silent), ("right", Gone)):
            shared = RayShared(RayHead(ray, address, token), None, None, SystemClock(), 1)  # type: ignore[arg-type]  # not looked at
            seen = await shared.observe(RunRecord(lease=a_lease(RUN), reserved_at=NOW()))
            assert isinstance(seen, answer)


async def test_the_driver_is_pinned_to_the_leased_node_where_nodes_have_our_label(shared):
    shared.head.labels = [{}, {"commonpool.io/node": "n1"}]
    for wanted, given, sent in (
        ("n1", None, {"commonpool.io/node": "n1"}),
        ("n1", {"zone": "a"}, {"zone": "a"}),
    ):
        ledger = shared.ledger(entrypoint="true", entrypoint_label_selector=given)
        assert ledger.record.lease.nodes[0].node == wanted
        await shared.backend.start(ledger)
        request = shared.head.jobs[ledger.record.run].request
        assert request["entrypoint_label_selector"] == sent


async def test_without_our_labels_the_driver_is_not_pinned(shared):
    ledger = shared.ledger(entrypoint="true")
    await shared.backend.start(ledger)
    assert "entrypoint_label_selector" not in shared.head.jobs[ledger.record.run].request


# A private cluster that dies, and an agent that dies while it launches


def private(command: str, **changes):
    return a_lease(RUN, backend=Backend.RAY_PRIVATE, entrypoint=command, **changes)


def head_of(settings) -> int:
    file = settings.data / "records" / f"{RUN}.json"
    record = RunRecord.model_validate_json(file.read_text())
    assert record.engine is not None
    return record.engine.processes[0].pid


async def test_a_killed_head_leaves_an_orphan_that_is_fenced_before_the_run_is_lost(hub, scratch):
    settings = settings_of(scratch / "site", scratch=scratch)
    # No shell is left that could say of its `sleep` that it was killed.
    hub.order(private("echo said; exec sleep 300"))
    async with a_site(settings, hub, ray_command=fake_ray(scratch)):
        await running(hub)
        os.kill(head_of(settings), signal.SIGKILL)
        end = await end_of(hub)
        assert processes.of_run(RUN) == frozenset()
    assert end.state is RunState.LOST
    assert "Ray on n1 ended" in end.message
    assert bytes(hub.logs[RUN]) == b"said\n", "the log outlives its head"


async def test_an_agent_that_dies_while_it_launches_ends_that_and_starts_anew(hub, scratch):
    settings = settings_of(scratch / "site", scratch=scratch)
    hub.order(private(f"echo once >> {scratch}/ran; sleep 1"))
    async with a_site(settings, hub, ray_command=("/bin/sh", "-c", "sleep 300")):
        earlier = await eventually(lambda: processes.of_run(RUN))
    async with a_site(settings, hub, ray_command=fake_ray(scratch)):
        await running(hub)
        assert not earlier & processes.of_run(RUN), "what was launched first is gone by now"
        assert (await end_of(hub)).state is RunState.SUCCEEDED
    assert times(scratch / "ran") == 1


async def test_a_cluster_that_does_not_come_up_gives_the_lease_back_and_says_why(hub, scratch):
    settings = settings_of(scratch / "site", scratch=scratch)
    hub.order(private("true", bind_by=NOW() + timedelta(seconds=3)))
    broken = ("/bin/sh", "-c", "echo the port is taken; exit 1")
    async with a_site(settings, hub, ray_command=broken):
        end = await end_of(hub)
    assert end.state is RunState.LOST
    assert "Ray on n1 ended: the port is taken" in end.message


async def test_a_site_without_ray_says_what_to_install(hub, scratch, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(scratch / "python"))
    monkeypatch.setenv("PATH", str(scratch))
    settings = settings_of(scratch / "site", scratch=scratch)
    hub.order(private("true"))
    async with a_site(settings, hub):
        end = await end_of(hub)
    assert end.state is RunState.FAILED
    assert "pip install 'commonpool[site]'" in end.message


async def test_a_cancelled_launch_leaves_nothing(hub, scratch):
    settings = settings_of(scratch / "site", scratch=scratch)
    hub.order(private("true"))
    async with a_site(settings, hub, ray_command=("/bin/sh", "-c", "sleep 300")):
        await eventually(lambda: processes.of_run(RUN))
        hub.stop(RUN, StopReason.CANCELLED)
        end = await end_of(hub)
        assert processes.of_run(RUN) == frozenset()
    assert end.state is RunState.STOPPED


async def test_a_record_without_its_cluster_is_lost_not_started(hub, scratch):
    settings = settings_of(scratch / "site", scratch=scratch)
    store = RecordStore(settings.data)
    lease = private("true")
    store.save(RunRecord(lease=lease, reserved_at=NOW(), phase=Phase.SUBMITTING))
    store.close()
    hub.order(lease)
    async with a_site(settings, hub, ray_command=fake_ray(scratch)):
        assert (await end_of(hub)).state is RunState.LOST


async def test_a_package_that_the_hub_does_not_give_is_named(shared):
    missing = PackageRef(uri="gcs://_ray_pkg_00.zip", sha256="0" * 64, size=1)
    ledger = shared.ledger(packages=(missing,))
    with pytest.raises(BackendRejected, match=re.escape(missing.uri)):
        await shared.backend.start(ledger)
