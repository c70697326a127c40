"""The sampling thread: it survives what drivers do, and what it saw can always be read."""

import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.node.nvml import Events
from agents.node.sampler import Pace, Sampler
from agents.node.samples import Fault
from agents.node.session import Session
from scheduler.clock import SystemClock
from scheduler.wire.reports import SamplerState
from tests.agents.node.test_session import UUIDS
from tests.waiting import until

QUICK = Pace(
    interval=0.02,
    condition=0.1,
    stuck_after=0.3,
    reopen=0.1,
    relist=0.5,
    longest_pause=0.05,
    xid_wait=0.05,
)


@pytest.fixture
def sampler(gpus):  # noqa: ARG001  # the library must be there first
    made = Sampler(SystemClock(), QUICK)
    yield made
    assert made.stop(10)


@pytest.fixture
def hearing(gpus):  # noqa: ARG001  # as above
    """Return a sampler that keeps its session: what is announced between two nobody hears."""
    made = Sampler(SystemClock(), replace(QUICK, relist=3600))
    yield made
    assert made.stop(10)


def states(sampler):
    return sampler.view().state


def well(sampler, count=8):
    view = sampler.view()
    return view.state is SamplerState.OK and len(view.samples) == count


def test_before_the_first_look_nothing_is_known(sampler):
    view = sampler.view()
    assert (view.state, view.samples, view.gpus) == (SamplerState.STARTING, {}, ())
    sampler.start()


def test_it_looks_again_and_again_and_keeps_windows(gpus, sampler):
    gpus.write("[gpu]\npower_w = 500\n")
    sampler.start()
    until(lambda: sampler.view().passes >= 5)
    view = sampler.view()
    assert view.state is SamplerState.OK
    assert sorted(view.samples) == UUIDS
    assert view.driver is not None
    assert view.pass_seconds is not None
    windows = sampler.windows()
    assert sorted(windows) == UUIDS
    power = windows[UUIDS[0]]["power_milliwatts"]
    assert (power.last, power.mean, power.most) == (500_000, 500_000, 500_000)
    assert power.samples >= 5


def test_a_lost_gpu_is_a_fault_and_the_other_seven_go_on(gpus, sampler):
    sampler.start()
    until(lambda: well(sampler))
    gpus.write("[gpu.5]\nlost = 1\n")
    until(lambda: sampler.view().samples[UUIDS[5]].fault)
    view = sampler.view()
    assert view.state is SamplerState.OK
    assert {uuid for uuid, s in view.samples.items() if s.fault} == {UUIDS[5]}
    gpus.write()
    until(lambda: not any(s.fault for s in sampler.view().samples.values()))


def test_a_gpu_that_is_pulled_out_is_missing_and_no_other_takes_its_index(gpus, sampler):
    sampler.start()
    until(lambda: well(sampler))
    gpus.write("[gpu.2]\nlost = 1\nabsent = 1\n")
    until(lambda: sampler.view().samples[UUIDS[2]].fault is Fault.MISSING)
    view = sampler.view()
    assert [(gpu.index, gpu.uuid) for gpu in view.gpus] == list(enumerate(UUIDS))
    assert [view.samples[uuid].gpu.index for uuid in UUIDS] == list(range(8))
    gpus.write()
    until(lambda: sampler.view().samples[UUIDS[2]].fault is None)


def test_a_call_that_does_not_return_is_seen_from_outside_and_stops_nobody(gpus, sampler):
    sampler.start()
    until(lambda: well(sampler))
    gpus.write("[gpu.4]\nhang_ms = 600000\n")
    until(lambda: states(sampler) is SamplerState.STUCK)
    view = sampler.view()
    assert UUIDS[4] in view.detail
    assert "nvmlDevice" in view.detail or "fields" in view.detail
    assert not sampler.stop(0)
    gpus.write()


def test_a_driver_that_comes_back_from_a_hang_is_well_again(gpus, sampler):
    sampler.start()
    until(lambda: well(sampler))
    gpus.write("[gpu.4]\nhang_ms = 600000\n")
    until(lambda: states(sampler) is SamplerState.STUCK)
    gpus.write()
    until(lambda: well(sampler))


def test_samples_that_are_too_old_are_missing(gpus):
    clock = SteppedClock()
    sampler = Sampler(clock, QUICK)
    sampler.start()
    until(lambda: well(sampler))
    gpus.write("[gpu.0]\nhang_ms = 600000\n")
    until(lambda: sampler._busy_since is not None)  # noqa: SLF001  # the look that hangs
    clock.ahead = QUICK.fresh + 1
    until(lambda: sampler.view().samples == {})
    assert [gpu.uuid for gpu in sampler.view().gpus] == UUIDS
    gpus.write()
    assert sampler.stop(10)


class SteppedClock(SystemClock):
    ahead = 0.0

    def monotonic(self):
        return super().monotonic() + self.ahead


def test_a_driver_that_is_unloaded_and_loaded_again_is_survived(gpus, sampler):
    sampler.start()
    until(lambda: well(sampler))
    gpus.write("[system]\nloaded = 0\n")
    until(lambda: states(sampler) is SamplerState.NO_DRIVER)
    view = sampler.view()
    assert (view.detail, view.samples) == ("Driver Not Loaded", {})
    assert [gpu.uuid for gpu in view.gpus] == UUIDS
    gpus.write()
    until(lambda: well(sampler))


def test_a_replaced_driver_ends_the_thread_with_a_state_of_its_own(gpus, sampler):
    sampler.start()
    until(lambda: well(sampler))
    gpus.write("[system]\ndriver = 570.1\n")
    until(lambda: states(sampler) is SamplerState.DRIVER_REPLACED)
    assert sampler.stop(10)
    assert states(sampler) is SamplerState.DRIVER_REPLACED


def test_a_driver_that_refuses_to_begin_is_tried_again(gpus, sampler):
    gpus.write("[system]\nfail = nvmlInitWithFlags:999\n")
    sampler.start()
    until(lambda: states(sampler) is SamplerState.NO_DRIVER)
    assert sampler.view().detail == "Unknown Error"
    gpus.write()
    until(lambda: well(sampler))


def test_xids_are_counted_in_a_burst_and_told_before_the_next_look_ends(gpus, hearing):
    hearing.start()
    until(lambda: well(hearing))
    burst = "".join(f"event = {n},3,8,{79 if n % 2 else 31}\n" for n in range(1, 201))
    gpus.write("[events]\n" + burst)
    until(lambda: sum(hearing.view().xids.values()) == 200)
    view = hearing.view()
    assert view.xids == {(UUIDS[3], 79): 100, (UUIDS[3], 31): 100}
    assert view.last_xids == {UUIDS[3]: 31}


def test_a_driver_that_announces_no_xids_is_sampled_without(gpus, sampler):
    gpus.write("[system]\nfail = nvmlEventSetCreate:3\n")
    sampler.start()
    until(lambda: well(sampler))
    assert sampler.view().xids == {}


@pytest.mark.parametrize("code", [999, 15], ids=["for no known reason", "for a lost GPU"])
def test_a_wait_for_xids_that_fails_is_deaf_and_tried_again_without_haste(gpus, hearing, code):
    hearing.start()
    until(lambda: well(hearing) and hearing.view().hears_xids)
    gpus.write(f"[system]\nfail = nvmlEventSetWait_v2:{code}\n")
    until(lambda: not hearing.view().hears_xids)
    waits, looks = Counter(), hearing.view().passes
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        real = Events.wait
        patch.setattr(Events, "wait", lambda self, ms: (waits.update("x"), real(self, ms))[1])
        until(lambda: hearing.view().passes > looks + 20)
        took = time.monotonic() - began
    assert waits["x"] <= took / QUICK.xid_wait + 2
    gpus.write("[events]\nevent = 1,0,8,48\n")
    until(lambda: hearing.view().xids == {(UUIDS[0], 48): 1})
    assert hearing.view().hears_xids


def test_who_keeps_the_inventory_is_told_of_what_is_new(gpus):  # noqa: ARG001  # as above
    kept = []
    sampler = Sampler(SystemClock(), QUICK, keep=kept.append)
    sampler.start()
    until(lambda: well(sampler))
    assert sampler.stop(10)
    assert [[gpu.uuid for gpu in gpus] for gpus in kept] == [UUIDS]
    again = Sampler(SystemClock(), QUICK, known=kept[0], keep=kept.append)
    again.start()
    until(lambda: well(again))
    assert again.stop(10)
    assert len(kept) == 1


def test_a_gpu_known_from_before_that_is_not_there_is_missing_from_the_first_look(gpus, sampler):
    sampler.start()
    until(lambda: well(sampler))
    known = sampler.view().gpus
    assert sampler.stop(10)
    gpus.write("[gpu.7]\nabsent = 1\n")
    later = Sampler(SystemClock(), QUICK, known=known)
    later.start()
    until(lambda: later.view().samples)
    assert later.view().samples[UUIDS[7]].fault is Fault.MISSING
    assert later.stop(10)


def test_ending_lets_go_of_the_driver_and_of_both_threads(gpus, sampler, tmp_path, monkeypatch):  # noqa: ARG001
    sampler.start()
    until(lambda: well(sampler))
    assert sampler.stop(10)
    assert states(sampler) is SamplerState.ENDED
    assert not {"sampler", "xids"} & {thread.name for thread in threading.enumerate()}


FAULTS = st.sampled_from(
    [
        "",
        "[system]\nloaded = 0\n",
        "[system]\ncount = 3\n",
        "[system]\nfail = nvmlInitWithFlags:999\n",
        "[system]\nfail = nvmlDeviceGetCount_v2:999\n",
        "[system]\nfail = nvmlEventSetWait_v2:999\n",
        "[system]\nfail = nvmlGpmSampleAlloc:20\n",
        "[system]\nfail = nvmlDeviceGetHandleByIndex_v2:2\n",
        *(
            f"[system]\nfail = {function}:15\n"
            for function in (
                "nvmlInitWithFlags",
                "nvmlDeviceGetCount_v2",
                "nvmlEventSetCreate",
                "nvmlEventSetWait_v2",
                "nvmlGpmSampleAlloc",
            )
        ),
        "[gpu.1]\nlost = 1\n",
        "[gpu.2]\nreset_required = 1\n",
        "[gpu.0]\nabsent = 1\n",
        "[gpu]\nlost = 1\n",
        "[gpu]\nfail = *:999\n",
        "[gpu]\nfail = *:2\n",
        "[gpu]\nfail = nvmlGpmMetricsGet:2\nfail = nvmlGpmSampleGet:999\n",
        "[gpu.4]\nmig = 1\nmig_dev = 1,0,1,9856\nfail = nvmlDeviceGetGpuInstanceId:999\n",
        "[gpu.4]\nmig = 1\nmig_dev = 1,0,1,9856\n[gpu.5]\nproc = 1,1\n",
        "[events]\nevent = 1,0,8,79\nevent = 2,15,8,48\n",
    ]
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(FAULTS, min_size=1, max_size=8))
def test_whatever_a_driver_does_in_whatever_order_the_sampler_comes_back(gpus, faults):
    sampler = Sampler(SystemClock(), QUICK)
    gpus.write()
    sampler.start()
    try:
        for fault in faults:
            gpus.write(fault)
            seen = sampler.view().passes
            until(
                lambda seen=seen: (
                    (v := sampler.view()).passes > seen + 1 or v.state is SamplerState.NO_DRIVER
                )
            )
        gpus.write()
        until(lambda: well(sampler) and not any(s.fault for s in sampler.view().samples.values()))
    finally:
        assert sampler.stop(10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_our_own_ends_the_thread_and_says_so(gpus):  # noqa: ARG001  # as above
    class Broken(Session):
        def sample(self, uuid, *, condition):
            raise RuntimeError(f"{uuid} {condition}")

    sampler = Sampler(SystemClock(), QUICK, session=Broken())
    sampler.start()
    until(lambda: states(sampler) is SamplerState.ENDED)
    assert sampler.view().samples == {}
