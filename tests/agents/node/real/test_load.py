"""A real load moves every counter that decisions rest on, and no load moves none."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from agents.node import report
from agents.node.samples import Gpu, GpuSample, NodeView
from agents.node.session import Session
from agents.node.windows import Windows
from scheduler.fleet.use import IDLE_MIB, IDLE_SM, IDLE_WATTS, UseMemory
from scheduler.wire.reports import NodeReport, SamplerState
from tests.agents.node.real.conftest import CUDA, computing, running

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(180)]

MIB = 1024 * 1024
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
def gpu(session):
    return session.open().gpus[0]


def watched(session: Session, gpu: Gpu, seconds: float) -> list[GpuSample]:
    """Look twice a second; before the first look the monitors have seen other times."""
    session.sample(gpu.uuid, condition=True)
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.5)
        found.append(session.sample(gpu.uuid, condition=False))
    return found


def mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def say(what: str, samples: list[GpuSample]) -> None:
    """Print what was read: on a model that nobody has tried the figures are for a reader."""
    readings, gpm = [s.readings for s in samples], [s.gpm for s in samples]
    print(  # noqa: T201  # as said
        f"\n{what}: utilisation {mean(x.utilisation_percent for x in readings):.0f} %,"
        f" graphics {mean(x.graphics for x in gpm):.4f}, SM {mean(x.sm_active for x in gpm):.4f},"
        f" occupancy {mean(x.sm_occupancy for x in gpm):.4f},"
        f" tensor {mean(x.tensor for x in gpm):.4f}, DRAM {mean(x.dram for x in gpm):.4f},"
        f" {mean(x.power_milliwatts for x in readings) / 1000:.0f} W,"
        f" {mean(x.memory_used_bytes for x in readings) / MIB:.0f} MiB,"
        f" {mean(x.sm_clock_mhz for x in readings):.0f} MHz"
    )


def reported(gpu: Gpu, samples: list[GpuSample]) -> NodeReport:
    """Return what the hub is told of the time in which these samples were taken."""
    windows = Windows()
    for sample in samples:
        windows.add(sample)
    view = NodeView(SamplerState.OK, gpus=(gpu,), samples={gpu.uuid: samples[-1]})
    process = report.Process("boot", NOON, NOON)
    made = report.report(report.Told("n1", "p"), report.Known(view, windows.take()), process, 0)
    assert made is not None
    return made


def judged_idle(gpu: Gpu, samples: list[GpuSample]) -> bool:
    """Return whether the hub, told three times of samples such as these, says «idle»."""
    memory = UseMemory()
    base = memory.places(gpu.index + 1)
    for instant in (0.0, 15.0, 30.0):
        memory.add(reported(gpu, samples), base, gpu.index + 1, instant)
    return memory.idle_since(base, gpu.index) == 0.0


def test_bf16_products_raise_utilisation_monitors_power_and_energy(session, gpu):
    idle = watched(session, gpu, 3)
    say("nothing runs", idle)
    with computing():
        time.sleep(2)  # Its power is a mean over the last second.
        busy = watched(session, gpu, 6)
    say("bf16 products", busy)
    assert mean(s.readings.utilisation_percent for s in busy) > 90
    assert mean(s.gpm.graphics for s in busy) > 0.9
    assert mean(s.gpm.sm_active for s in busy) > 0.7
    assert mean(s.gpm.tensor for s in busy) > 0.3
    assert 0.02 < mean(s.gpm.sm_occupancy for s in busy) < 1
    assert mean(s.gpm.dram for s in busy) > mean(s.gpm.dram for s in idle)
    for name in ("power_milliwatts", "memory_used_bytes"):
        least = min(getattr(s.readings, name) for s in busy)
        assert least > max(getattr(s.readings, name) for s in idle), name
    assert all(value is None or value <= 1 for s in busy for value in s.gpm[:8])


def test_the_energy_counter_is_power_over_time(session, gpu):
    with computing():
        time.sleep(2)
        began, samples = time.monotonic(), []
        first = session.sample(gpu.uuid, condition=True).condition.energy_millijoules
        while (took := time.monotonic() - began) < 6:
            time.sleep(0.25)
            samples.append(session.sample(gpu.uuid, condition=True))
    last = samples[-1].condition.energy_millijoules
    assert first is not None
    assert last is not None
    took = time.monotonic() - began if took < 6 else took
    watts = (last - first) / took / 1000
    assert watts == pytest.approx(
        mean(s.readings.power_milliwatts for s in samples) / 1000, rel=0.15
    )
    assert all(
        one.condition.energy_millijoules <= two.condition.energy_millijoules
        for one, two in pairwise(samples)
    )


def test_one_busy_thread_block_is_full_utilisation_and_hardly_any_sm(session, gpu):
    with running(CUDA, "spin"):
        time.sleep(2)
        samples = watched(session, gpu, 4)
    say("one thread of one block", samples)
    assert mean(s.readings.utilisation_percent for s in samples) > 90
    assert mean(s.gpm.sm_active for s in samples) < 0.02
    assert mean(s.gpm.tensor for s in samples) == pytest.approx(0, abs=0.001)


def test_r18_a_gpu_that_holds_memory_and_does_nothing_is_idle(session, gpu):
    with running(CUDA, "hold", "1024"):
        time.sleep(3)  # Its clocks fall when nothing has run for a while.
        samples = watched(session, gpu, 6)
    say("a context and 1 GiB", samples)
    assert mean(s.gpm.sm_active for s in samples) <= IDLE_SM
    assert max(s.readings.power_milliwatts for s in samples) / 1000 <= IDLE_WATTS
    assert max(s.readings.memory_used_bytes for s in samples) / MIB <= IDLE_MIB
    assert judged_idle(gpu, samples)


def test_r18_a_gpu_that_computes_is_not_idle(session, gpu):
    with computing():
        time.sleep(1)
        samples = watched(session, gpu, 3)
    assert not judged_idle(gpu, samples)


def test_r18_a_gpu_with_a_model_in_its_memory_is_not_idle_though_it_rests(session, gpu):
    """R18 looks at memory too: what keeps 40 GiB may be a server that waits for requests."""
    with running(CUDA, "hold", "40000"):
        time.sleep(3)
        samples = watched(session, gpu, 3)
    say("a context and 40 GB", samples)
    assert not judged_idle(gpu, samples)
