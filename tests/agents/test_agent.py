"""The whole agent in one process: orders in, reports and logs out, whatever breaks."""

import asyncio
from datetime import timedelta

import pytest

from agents.hub import HubRefused
from agents.site.records import RecordStore
from scheduler.core.model import Backend, RunState, StopReason
from scheduler.wire.sites import Wanted
from tests.agents.fake_hub import NOW, FakeHub, a_lease
from tests.agents.fake_ray_head import FakeRayHead, serving
from tests.agents.site import a_site, settings_of
from tests.waiting import eventually

RUN = "cp-j1-1"
SECONDS = "commonpool.simulated_seconds"
STARTING, RUNNING, STOPPING, UNKNOWN = (
    RunState.STARTING,
    RunState.RUNNING,
    RunState.STOPPING,
    RunState.UNKNOWN,
)


def simulated(seconds: float, run: str = RUN, **changes):
    return a_lease(run, metadata={SECONDS: str(seconds)}, **changes)


@pytest.fixture
def hub():
    return FakeHub()


@pytest.fixture
def settings(tmp_path):
    return settings_of(tmp_path)


async def end_of(hub: FakeHub, run: str = RUN, seconds: float = 20):
    return await eventually(lambda: hub.end_of(run), seconds)


async def test_a_lease_becomes_a_run_with_its_log_and_is_forgotten_in_the_end(hub, settings):
    hub.order(simulated(0.3))
    async with a_site(settings, hub):
        end = await end_of(hub)
        assert end.state is RunState.SUCCEEDED
        assert hub.states(RUN)[-2:] == [RUNNING, RunState.SUCCEEDED]
        await eventually(lambda: not hub.leases and not hub.runs)
    log = bytes(hub.logs[RUN])
    assert log == b"[simulated] echo hello\n[simulated] on n1 [0, 1]\n[simulated] over\n"
    assert end.log_bytes == len(log)
    assert [f for f in settings.data.rglob("*") if RUN in f.name] == []


async def test_an_order_is_obeyed_at_once_although_a_long_poll_is_open(hub, settings):
    async with a_site(settings, hub):
        await eventually(lambda: hub.syncs and hub.syncs[-1].wait_seconds)
        given = NOW()
        hub.order(simulated(60))
        begun = await eventually(lambda: next((o for o in hub.history if o.run == RUN), None))
        assert begun.observed_at - given < timedelta(seconds=1)
        hub.stop(RUN, StopReason.CANCELLED)
        assert (await end_of(hub)).state is RunState.STOPPED


async def test_a_hub_at_rest_is_not_asked_more_often_than_it_wants(hub, settings):
    async with a_site(settings, hub):
        await eventually(lambda: hub.syncs and hub.syncs[-1].wait_seconds)
        before = len(hub.syncs)
        await asyncio.sleep(0.5)  # The time in which nothing must happen.
        assert len(hub.syncs) == before


async def test_many_runs_at_once_all_end(hub, settings):
    hub.order(*(simulated(0.2, f"cp-j{i}-1") for i in range(60)))
    async with a_site(settings, hub):
        await eventually(lambda: all(hub.end_of(f"cp-j{i}-1") for i in range(60)), 40)
        await eventually(lambda: not hub.leases)


async def test_a_recalled_run_that_saves_its_state_is_preempted(hub, settings):
    hub.order(simulated(60))
    async with a_site(settings, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
        hub.stop(RUN, StopReason.RECALLED, in_seconds=10)
        end = await end_of(hub)
    assert end.state is RunState.PREEMPTED
    assert [s for s in hub.states(RUN) if s is not STOPPING][-2:] == [RUNNING, RunState.PREEMPTED]


async def test_a_time_limit_is_kept_while_the_hub_is_away_and_told_when_it_is_back(hub, settings):
    hub.order(simulated(60, time_limit_seconds=0.3, grace_seconds=0))
    async with a_site(settings, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
        hub.away = True
        await asyncio.sleep(1)  # The time that the limit needs, and more.
        assert hub.end_of(RUN) is None
        hub.away = False
        end = await end_of(hub)
    assert end.state is RunState.FAILED
    assert (end.message, end.error_type) == (
        "time limit of 0:00:00 reached",
        "COMMONPOOL_TIME_LIMIT",
    )


async def test_while_the_hub_is_away_runs_end_and_their_logs_wait(hub, settings):
    hub.order(simulated(1))
    async with a_site(settings, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
        hub.away = True
        spool = settings.data / "logs" / f"{RUN}.log"
        await eventually(lambda: spool.exists() and b"over" in spool.read_bytes())
        hub.away = False
        assert (await end_of(hub)).state is RunState.SUCCEEDED
    assert bytes(hub.logs[RUN]).endswith(b"over\n")


async def test_a_hub_that_lost_a_log_gets_it_again_from_where_it_stands(hub, settings):
    hub.order(simulated(1))
    async with a_site(settings, hub):
        await eventually(lambda: RUN in hub.logs)
        whole = bytes(hub.logs[RUN])
        del hub.logs[RUN][5:]
        await end_of(hub)
    assert bytes(hub.logs[RUN]) == whole + b"[simulated] over\n"


async def test_the_next_agent_takes_over_what_the_last_one_left(hub, settings):
    hub.order(simulated(1.5))
    async with a_site(settings, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
    assert hub.end_of(RUN) is None
    async with a_site(settings, hub):
        end = await end_of(hub)
    assert end.state is RunState.SUCCEEDED
    assert end.started_at == next(o.started_at for o in hub.history if o.started_at)
    assert bytes(hub.logs[RUN]).count(b"over") == 1


async def test_a_run_that_ended_while_no_agent_was_there_is_told(hub, settings):
    hub.order(simulated(0.5))
    async with a_site(settings, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
    await asyncio.sleep(0.6)  # The run's own time.
    async with a_site(settings, hub):
        assert (await end_of(hub)).state is RunState.SUCCEEDED


async def test_a_run_that_the_hub_no_longer_lists_is_ended(hub, settings):
    hub.order(simulated(60))
    async with a_site(settings, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
        hub.drop(RUN)
        await eventually(lambda: RUN not in hub.runs)
    assert [f for f in settings.data.rglob("*") if RUN in f.name] == []


async def test_a_higher_token_is_taken_over_and_a_lower_one_is_not_heard(hub, settings):
    hub.order(simulated(60, token=5))
    async with a_site(settings, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
        hub.order(simulated(60, token=7))
        await eventually(lambda: hub.runs[RUN].token == 7)
        hub.order(simulated(60, token=6, wanted=Wanted.STOP, stop_reason=StopReason.CANCELLED))
        await asyncio.sleep(0.3)  # The time in which nothing must happen.
        assert hub.runs[RUN].state is RUNNING


async def test_an_unreadable_record_is_told_as_lost_and_the_run_is_not_started_again(hub, settings):
    hub.order(simulated(60))
    async with a_site(settings, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
    (settings.data / "records" / f"{RUN}.json").write_text('{"lease": ')
    before = len(hub.history)
    async with a_site(settings, hub):
        end = await end_of(hub)
        await eventually(lambda: not hub.runs)
    assert end.state is RunState.LOST
    assert "unreadable" in end.message
    assert {o.state for o in hub.history[before:]} <= {UNKNOWN, RunState.LOST}


async def test_an_unreadable_record_that_nobody_asks_for_is_dropped(hub, settings):
    store = RecordStore(settings.data)
    store.path("cp-j7-1").write_text("?")
    store.close()
    async with a_site(settings, hub):
        await eventually(lambda: not store.path("cp-j7-1").exists())


async def test_a_disk_that_takes_no_record_starts_nothing(hub, settings, monkeypatch):
    hub.order(simulated(0.2))
    save = RecordStore.save
    full = True

    def saved(store, record):
        if full:
            raise OSError(28, "No space left on device")
        return save(store, record)

    monkeypatch.setattr(RecordStore, "save", saved)
    async with a_site(settings, hub):
        await eventually(lambda: hub.history)
        await asyncio.sleep(1)  # The time in which nothing must happen.
        assert hub.states(RUN) == [STARTING]
        assert not (settings.data / "records" / f"{RUN}.json").exists()
        full = False
        assert (await end_of(hub)).state is RunState.SUCCEEDED


async def test_a_refusal_by_the_hub_ends_nothing(hub, settings):
    hub.order(simulated(1))
    async with a_site(settings, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
        hub.refuses = HubRefused(403, "wrong token")
        await asyncio.sleep(0.3)  # The time in which nothing must happen.
        hub.refuses = None
        assert (await end_of(hub)).state is RunState.SUCCEEDED


async def test_a_lease_for_a_shared_head_that_is_not_configured_fails_with_the_reason(
    hub, settings
):
    hub.order(a_lease(backend=Backend.RAY_SHARED))
    async with a_site(settings, hub):
        end = await end_of(hub)
    assert end.state is RunState.FAILED
    assert "--shared-ray" in end.message


@pytest.fixture
async def head(tmp_path):
    fake = FakeRayHead(tmp_path / "head")
    async with serving(fake) as address:
        fake.address = address
        yield fake


@pytest.fixture
def on_head(tmp_path, head):
    return settings_of(tmp_path / "site", shared_ray=head.address)


def program(command: str, run: str = RUN, **changes):
    return a_lease(run, backend=Backend.RAY_SHARED, entrypoint=command, **changes)


SAVES = (
    "python3 -c '\n"
    "import commonpool, sys, time\n"
    "while not commonpool.should_checkpoint(): time.sleep(0.05)\n"
    '(commonpool.checkpoint_dir() / "state").write_text("7")\n'
    "commonpool.checkpointed()\n"
    "print(commonpool.leave_by())\n"
    "sys.exit({})'"
)


@pytest.mark.parametrize("code", [0, 85])
async def test_a_program_that_checkpoints_when_asked_is_preempted_and_finds_its_state_again(
    hub, on_head, code
):
    hub.order(program(SAVES.format(code)))
    async with a_site(on_head, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
        hub.stop(RUN, StopReason.RECALLED, in_seconds=30)
        end = await end_of(hub)
        assert (end.state, end.exit_code) == (RunState.PREEMPTED, code)
        assert end.checkpointed_at is not None
        hub.order(program('cat "$COMMONPOOL_CHECKPOINT_DIR/state"', "cp-j1-2"))
        assert (await end_of(hub, "cp-j1-2")).state is RunState.SUCCEEDED
    assert bytes(hub.logs["cp-j1-2"]) == b"7"
    assert b"T" in bytes(hub.logs[RUN])


async def test_a_program_that_stays_is_killed_at_the_end_of_its_notice(hub, on_head):
    hub.order(program("sleep 60"))
    async with a_site(on_head, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
        hub.stop(RUN, StopReason.RECALLED, in_seconds=0.5)
        end = await end_of(hub)
    assert end.state is RunState.PREEMPTED
    assert "without a checkpoint" in end.message


async def test_a_program_that_finishes_while_it_is_recalled_has_succeeded(hub, on_head):
    hub.order(program("sleep 1; echo done"))
    async with a_site(on_head, hub):
        await eventually(lambda: RUNNING in hub.states(RUN))
        hub.stop(RUN, StopReason.RECALLED, in_seconds=20)
        assert (await end_of(hub)).state is RunState.SUCCEEDED


async def test_the_whole_log_is_there_when_the_end_is_told(hub, on_head):
    hub.order(program("seq 1 30000"))
    async with a_site(on_head, hub):
        await end_of(hub)
        log = bytes(hub.logs[RUN])
    assert log == b"".join(b"%d\n" % i for i in range(1, 30_001))


async def test_without_the_tail_socket_the_log_arrives_all_the_same(hub, on_head, head):
    head.knobs.tail_is_broken = True
    hub.order(program("seq 1 3000"))
    async with a_site(on_head, hub):
        await end_of(hub)
    assert bytes(hub.logs[RUN]).endswith(b"2999\n3000\n")


async def test_a_log_that_is_too_long_is_cut_with_a_line_that_says_so(hub, on_head):
    hub.order(program("seq 1 30000"))
    async with a_site(on_head.model_copy(update={"max_log_bytes": 1024}), hub):
        await end_of(hub)
    log = bytes(hub.logs[RUN])
    assert log.startswith(b"1\n2\n")
    assert b"[commonpool] the log is longer" in log
    assert len(log) < 1200
