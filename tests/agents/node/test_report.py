"""What the hub is told: only what a hub can take, and why a GPU should get no work."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.node import report
from agents.node.attribution import Holder, Standing
from agents.node.samples import (
    Condition,
    Fault,
    Gpu,
    GpuSample,
    NodeView,
    Process,
    Readings,
    Statistic,
)
from agents.node.windows import COUNTERS
from scheduler.wire.reports import (
    ForeignUse,
    GpuReport,
    GpuUse,
    MemoryOver,
    NodeReport,
    RatioOver,
    RunUse,
    SamplerState,
    WattsOver,
    XidCount,
    checked,
)

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
MIB = 1024 * 1024
GPU = Gpu("GPU-1", 0, "NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("NVIDIA GeForce RTX 4090", "GeForce-RTX-4090"),
        ("NVIDIA", "NVIDIA"),
    ],
)
def test_a_gpus_name_gives_the_model_that_pools_use(name, model):
    assert report.model_of(name) == model


UNKNOWN = st.none()
COUNTS = st.integers(0, 2**64 - 1)


def made(view, **known) -> NodeReport:
    told, process = report.Told("n1", "p"), report.Process("b", NOW, NOW)
    found = report.report(told, report.Known(view, **known), process, 7)
    assert found is not None
    assert checked(found) == found
    return found


def gpu_of(view) -> GpuReport:
    (gpu,) = made(view).gpus
    assert gpu.healthy == (gpu.why_unhealthy == "")
    return gpu


def view_of(sample=None, state=SamplerState.OK, detail="", **more) -> NodeView:
    samples = {GPU.uuid: sample} if sample else {}
    return NodeView(state, detail, gpus=(GPU,), samples=samples, **more)


# A name comes out of a C string, so it holds no NUL.
@given(
    st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=96
    )
)
def test_whatever_a_driver_calls_a_gpu_the_wire_takes_it(name):
    made(NodeView(SamplerState.OK, gpus=(replace(GPU, model=name),)))


@given(
    pending=UNKNOWN | COUNTS,
    action=UNKNOWN | COUNTS,
    errors=UNKNOWN | COUNTS,
    total=UNKNOWN | COUNTS,
    xids=st.dictionaries(st.tuples(st.just("GPU-1"), st.integers(0, 999)), st.integers(1, 2**40)),
    values=st.lists(st.floats(0, 1e30), min_size=4, max_size=4),
)
def test_whatever_a_driver_counts_the_wire_takes_it(pending, action, errors, total, xids, values):
    sample = GpuSample(
        GPU,
        readings=Readings(memory_total_bytes=total, remap_pending=pending, recovery_action=action),
        condition=Condition(ecc_uncorrected=errors),
    )
    last, mean, most, _ = values
    window = dict.fromkeys(COUNTERS, Statistic(last, mean, most, 3))
    found = made(view_of(sample, xids=xids), windows={"GPU-1": window})
    assert (found.gpus[0].recovery_action is None) == (action is None)
    assert len(found.gpus[0].xids) <= 64


@pytest.mark.parametrize(
    ("view", "words"),
    [
        pytest.param(view_of(GpuSample(GPU)), "", id="well"),
        pytest.param(view_of(GpuSample(GPU, Fault.LOST)), "GPU lost", id="lost"),
        pytest.param(view_of(), "no fresh sample", id="too old"),
        pytest.param(view_of(state=SamplerState.STUCK, detail="x"), "sampler stuck: x", id="stuck"),
        pytest.param(
            view_of(GpuSample(GPU, readings=Readings(recovery_action=2))), "", id="for the hub"
        ),
    ],
)
def test_a_gpu_of_which_nothing_is_known_says_why(view, words):
    assert gpu_of(view).why_unhealthy == words
    assert made(view).sampler is view.state


def test_what_faults_are_judged_by_is_told_as_it_is():
    sample = GpuSample(
        GPU,
        readings=Readings(recovery_action=2, remap_pending=1, remap_failed=0),
        condition=Condition(ecc_uncorrected=3),
    )
    gpu = gpu_of(view_of(sample, xids={("GPU-1", 79): 2, ("GPU-2", 31): 1}))
    assert (gpu.recovery_action, gpu.remap_pending, gpu.remap_failed) == (2, True, False)
    assert (gpu.ecc_uncorrected, gpu.xids) == (3, (XidCount(xid=79, count=2),))


def test_what_the_driver_does_not_say_is_absent_and_never_zero():
    view = view_of(GpuSample(GPU))
    gpu = gpu_of(view)
    assert (gpu.memory_mib, gpu.ecc_uncorrected, gpu.remap_pending) == (None, None, None)
    assert made(view).use == ()
    assert made(view, windows={"GPU-1": {}}).use == (GpuUse(index=0),)


def test_use_is_told_by_its_window_in_the_wires_units():
    window = {
        "sm_active": Statistic(0.5, 0.25, 1.00001, 4),
        "power_milliwatts": Statistic(70_000, 80_000, 90_000, 4),
        "memory_used_bytes": Statistic(2**20, 2**20, 2**21, 4),
    }
    (use,) = made(view_of(GpuSample(GPU)), windows={"GPU-1": window}).use
    assert use == GpuUse(
        index=0,
        sm_active=RatioOver(0.5, 0.25, 1),
        memory_mib=MemoryOver(1, 1, 2),
        power_watts=WattsOver(70, 80, 90),
    )


def test_strangers_are_told_by_gpu_and_run_with_how_many_they_are():
    foreign = [Holder(GPU, pid, Standing.FOREIGN, run) for pid, run in ((1, ""), (2, ""), (3, "r"))]
    mine = Holder(GPU, 4, Standing.LEASED, "cp-a-1")
    found = made(view_of(GpuSample(GPU)), holders=(*foreign, mine)).foreign
    assert found == (
        ForeignUse(gpu=0, run="", processes=2),
        ForeignUse(gpu=0, run="r", processes=1),
    )


def test_a_report_that_says_nothing_new_is_the_same_fact():
    one, two = (made(view_of(state=SamplerState.STUCK, detail="x")) for _ in range(2))
    assert one.facts == two.facts


def test_a_long_reason_is_cut_to_what_the_wire_takes():
    (gpu, *_) = made(view_of(GpuSample(GPU), state=SamplerState.NO_DRIVER, detail="x" * 1000)).gpus
    assert gpu.why_unhealthy.endswith("x")
    assert 100 < len(gpu.why_unhealthy) < 1000


def test_before_anything_is_known_there_is_no_report():
    told, process = report.Told("n1", "p"), report.Process.begun(NOW)
    for view in (NodeView(SamplerState.OK), view_of(state=SamplerState.STARTING)):
        assert report.report(told, report.Known(view), process, 0) is None


def test_the_pools_own_name_of_the_model_wins():
    told, process = report.Told("n1", "p", model="H100-SXM"), report.Process.begun(NOW)
    found = report.report(told, report.Known(view_of(GpuSample(GPU))), process, 0)
    assert found is not None
    assert [gpu.model for gpu in found.gpus] == ["H100-SXM"]


HOST = Holder(GPU, 4, Standing.LEASED, "cp-a-1")
GUEST = Holder(GPU, 5, Standing.LEASED, "cp-b-1", guest=True)
WINDOW = {"GPU-1": {"memory_used_bytes": Statistic(0, 0, 0, 1)}}


def runs_of(*holders, processes):
    sample = GpuSample(GPU, processes=processes)
    (use,) = made(view_of(sample), windows=WINDOW, holders=holders).use
    return use.runs


def test_whose_use_it_is_is_told_where_a_guest_or_several_runs_are_on_a_gpu():
    host, guest = Process(4, 300 * MIB, sm_active=0.0), Process(5, 2048 * MIB, sm_active=0.5)
    told = (RunUse(run="cp-a-1", sm_active=0.0, memory_mib=300.0),)
    also = (RunUse(run="cp-b-1", sm_active=0.5, memory_mib=2048.0),)
    assert runs_of(HOST, GUEST, processes=(host, guest)) == told + also
    assert runs_of(GUEST, processes=(guest,)) == also
    assert runs_of(HOST, processes=(host,)) == ()


def test_processes_of_one_run_are_added_up_and_what_is_not_known_is_left_out():
    more = Holder(GPU, 6, Standing.LEASED, "cp-b-1", guest=True)
    processes = (Process(5, 1024 * MIB), Process(6, 1024 * MIB))
    assert runs_of(GUEST, more, processes=processes) == (RunUse(run="cp-b-1", memory_mib=2048.0),)
    assert runs_of(GUEST, processes=()) == (RunUse(run="cp-b-1"),)


@pytest.mark.parametrize(
    ("processes", "tells"),
    [
        pytest.param((), True, id="nobody is there, and the driver says so"),
        pytest.param((Process(4, MIB),), True, id="each has its memory"),
        pytest.param((Process(4),), False, id="a process whose memory is hidden"),
        pytest.param(None, False, id="a driver that lists no processes"),
    ],
)
def test_an_agent_says_whether_it_can_tell_runs_apart(processes, tells):
    found = made(view_of(GpuSample(GPU, processes=processes)))
    assert found.tells_runs is tells
    other = made(view_of(GpuSample(GPU, processes=())))
    assert (found.facts == other.facts) is tells
