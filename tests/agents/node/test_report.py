"""What the hub is told: only what a hub can take, and why a GPU should get no work."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.node import report
from agents.node.samples import Fault, Gpu, GpuSample, NodeView, Readings, SamplerState
from scheduler.wire.nodes import NodeReport

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
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


@given(st.text(min_size=1, max_size=96))
def test_whatever_a_driver_calls_a_gpu_the_wire_takes_it(name):
    view = NodeView(SamplerState.OK, gpus=(replace(GPU, model=name),))
    NodeReport.model_validate(made(view))


def made(view):
    told = report.report(view, node="n1", pool="p", block="", model="", boot_id="b")
    assert told is not None
    return report.numbered(told, 7, NOW)


def why(view) -> str:
    (gpu,) = made(view)["gpus"]
    assert gpu["healthy"] == (gpu["why_unhealthy"] == "")
    return gpu["why_unhealthy"]


def view_of(sample=None, state=SamplerState.OK, detail="") -> NodeView:
    return NodeView(state, detail, gpus=(GPU,), samples={GPU.uuid: sample} if sample else {})


@pytest.mark.parametrize(
    ("view", "words"),
    [
        pytest.param(view_of(GpuSample(GPU)), "", id="well"),
        pytest.param(view_of(GpuSample(GPU, Fault.LOST)), "GPU lost", id="lost"),
        pytest.param(view_of(), "no fresh sample", id="too old"),
        pytest.param(view_of(state=SamplerState.STUCK, detail="x"), "sampler stuck: x", id="stuck"),
        pytest.param(
            view_of(GpuSample(GPU, readings=Readings(recovery_action=2))),
            "the driver asks to reboot the node",
            id="the driver's own advice",
        ),
        pytest.param(
            view_of(GpuSample(GPU, readings=Readings(recovery_action=99))),
            "the driver asks to act (99)",
            id="advice of a newer driver",
        ),
        pytest.param(
            view_of(GpuSample(GPU, readings=Readings(recovery_action=0))), "", id="no advice"
        ),
    ],
)
def test_a_gpu_that_should_get_no_work_says_why(view, words):
    assert why(view) == words


def test_a_long_reason_is_cut_to_what_the_wire_takes():
    view = view_of(state=SamplerState.NO_DRIVER, detail="x" * 1000)
    NodeReport.model_validate(made(view))


def test_before_anything_is_known_there_is_no_report():
    for view in (NodeView(SamplerState.OK), view_of(state=SamplerState.STARTING)):
        assert report.report(view, node="n", pool="p", block="", model="", boot_id="b") is None


def test_the_pools_own_name_of_the_model_wins():
    told = report.gpus(view_of(GpuSample(GPU)), "H100-SXM")
    assert [gpu["model"] for gpu in told] == ["H100-SXM"]
