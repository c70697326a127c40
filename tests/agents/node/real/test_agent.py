"""The agent as a process on a real GPU: whose work it sees, what it tells, what it survives."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from scheduler.core.health import Action, GpuFacts, NodeFacts, XidEvent, happened, standing
from scheduler.core.xids import XID_RULES
from scheduler.wire import reports as wire
from tests.agents.node.live import ROOT
from tests.agents.node.proc import marked
from tests.agents.node.real.conftest import CUDA, computing, running
from tests.waiting import until

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(240)]

MIB = 1024 * 1024
RUN, JOB = "cp-abc234-1", "abc234"


def told(hub) -> wire.NodeReport:
    assert hub.heard
    return wire.decode(hub.heard[-1]).reports[0]


def is_well(hub) -> bool:
    report = told(hub)
    return report.sampler is wire.SamplerState.OK and all(gpu.healthy for gpu in report.gpus)


def test_its_report_says_what_the_machine_has(start, hub, smi):
    agent = start()
    until(lambda: is_well(hub) and told(hub).use, seconds=60)
    report, theirs = told(hub), smi()
    assert sorted(gpu.uuid for gpu in report.gpus) == sorted(theirs.uuids)
    for gpu in report.gpus:
        total = theirs.gpu(gpu.uuid).number("fb_memory_usage/total")
        assert gpu.memory_mib == pytest.approx(total, abs=1)
        assert gpu.model in theirs.gpu(gpu.uuid).text("product_name")
        assert not standing_of(gpu)
    assert report.tells_runs
    assert agent.end() == 0
    assert "Traceback" not in agent.said


def standing_of(gpu: wire.GpuReport) -> list[object]:
    """Return what the policy of health finds in a GPU's facts (R19)."""
    facts = GpuFacts(
        gpu.index, gpu.healthy, gpu.why_unhealthy, gpu.ecc_uncorrected, gpu.remap_pending,
        gpu.remap_failed, gpu.recovery_action,
    )  # fmt: skip
    return list(standing(NodeFacts((facts,))))


def test_a_process_of_a_lease_is_its_runs_and_one_without_is_foreign(start, hub):
    agent = start()
    until(lambda: is_well(hub), seconds=60)
    with running(CUDA, "hold", "256", **marked(RUN, gpus=(0,), job=JOB)):
        found = until(lambda: agent.metrics().get("commonpool_gpu_job_info"), seconds=30)
        ((labels, value),) = found
        assert (labels["job_id"], labels["run_id"], value) == (JOB, RUN, 1)
        assert labels["UUID"] == told(hub).gpus[0].uuid
        assert told(hub).foreign == ()
        with running(CUDA, "hold", "256"):
            until(lambda: told(hub).foreign, seconds=30)
            assert told(hub).foreign == (wire.ForeignUse(gpu=0, run="", processes=1),)
    until(lambda: told(hub).foreign == (), seconds=30)
    until(lambda: "commonpool_gpu_job_info" not in agent.metrics(), seconds=30)


def test_a_runs_part_of_a_shared_gpu_is_told_apart(start, hub):
    start()
    until(lambda: is_well(hub), seconds=60)
    guest = {**marked("cp-guest2-1", gpus=(0,)), "COMMONPOOL_GUEST": "1"}
    with running(CUDA, "hold", "256", **marked(RUN, gpus=(0,))), running(CUDA, "spin", **guest):

        def parts():
            use = told(hub).use
            found = {one.run: one for one in use[0].runs} if use else {}
            return found if set(found) == {RUN, "cp-guest2-1"} else {}

        until(parts, seconds=40)
        busy = until(lambda: (p := parts()) and (p["cp-guest2-1"].sm_active or 0) > 0 and p, 40)
        print(f"\ntold apart: {busy}")  # noqa: T201  # for a reader
        assert busy[RUN].sm_active == 0
        assert busy[RUN].memory_mib >= 256


# By dcgm-exporter's names: where nvidia-smi says the same, and by how much they may differ.
AS_NVIDIA_SMI = {
    "DCGM_FI_DEV_GPU_TEMP": (("temperature/gpu_temp",), 6),
    "DCGM_FI_DEV_MEMORY_TEMP": (("temperature/memory_temp",), 6),
    "DCGM_FI_DEV_POWER_USAGE": (
        ("gpu_power_readings/average_power_draw", "gpu_power_readings/power_draw"),
        150,
    ),
    "DCGM_FI_DEV_SM_CLOCK": (("clocks/sm_clock",), 400),
    "DCGM_FI_DEV_MEM_CLOCK": (("clocks/mem_clock",), 5),
    "DCGM_FI_DEV_GPU_UTIL": (("utilization/gpu_util",), 10),
    "DCGM_FI_DEV_FB_USED": (("fb_memory_usage/used",), 2),
    "DCGM_FI_DEV_FB_FREE": (("fb_memory_usage/free",), 2),
    "DCGM_FI_DEV_FB_RESERVED": (("fb_memory_usage/reserved",), 2),
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": (("remapped_rows/remapped_row_corr",), 0),
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": (("remapped_rows/remapped_row_unc",), 0),
}


def test_metrics_under_load_are_what_nvidia_smi_says(start, hub, smi):
    agent = start(metrics="all")
    until(lambda: is_well(hub), seconds=60)
    with computing():
        time.sleep(5)
        found = agent.metrics()
        theirs = smi().gpu(told(hub).gpus[0].uuid)
    lines = {name: series[0][1] for name, series in found.items() if name.startswith("DCGM_")}
    print(f"\n/metrics under load: {json.dumps(lines, indent=1)}")  # noqa: T201  # for a reader
    for name, (paths, within) in AS_NVIDIA_SMI.items():
        assert lines[name] == pytest.approx(theirs.number(*paths), abs=within), name
    assert lines["DCGM_FI_PROF_SM_ACTIVE"] > 0.7
    assert lines["DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"] > 0.3
    assert agent.state() == "ok"


def test_it_goes_on_after_it_was_stopped_and_continued(start, hub):
    agent = start()
    until(lambda: is_well(hub) and told(hub).use, seconds=60)
    agent.process.send_signal(signal.SIGSTOP)
    time.sleep(7)  # Longer than a sample is fresh.
    before = len(hub.heard)
    agent.process.send_signal(signal.SIGCONT)
    until(lambda: len(hub.heard) > before + 2 and is_well(hub), seconds=30)
    use = until(lambda: told(hub).use, seconds=10)
    assert use[0].sm_active is not None
    assert agent.end() == 0


def test_after_a_kill_the_next_one_finds_the_same_gpus(start, hub):
    first = start()
    until(lambda: is_well(hub), seconds=60)
    before = told(hub)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(10)
    second = start()
    until(lambda: told(hub).boot_id != before.boot_id and is_well(hub), seconds=60)
    assert [(g.index, g.uuid) for g in told(hub).gpus] == [(g.index, g.uuid) for g in before.gpus]
    assert second.end() == 0


@pytest.mark.parametrize(
    ("kernel", "number"),
    [
        pytest.param("fault", 16, id="a write to an address that is mapped to nothing"),
        pytest.param("fault", 3, id="a write to an address that no word can have"),
        pytest.param("trap", 0, id="a trap"),
    ],
)
def test_r19_an_applications_fault_is_told_and_takes_no_node_out_of_work(
    start, hub, kernel, number
):
    agent = start()
    until(lambda: is_well(hub), seconds=60)
    said = subprocess.run(
        [sys.executable, "-m", CUDA, kernel, str(number)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.strip()  # fmt: skip
    assert said.startswith("cuCtxSynchronize: CUDA_ERROR_")
    agent_hears = agent.metrics().get("DCGM_FI_DEV_XID_ERRORS") is not None
    try:
        xids = until(lambda: told(hub).gpus[0].xids, seconds=20)
    except AssertionError:
        print(f"\n{kernel} {number}: {said}; no XID; waits for XIDs: {agent_hears}")  # noqa: T201  # for a reader
        pytest.skip(f"this machine announces no XID of {said}")
    print(f"\n{kernel} {number}: {said}; XIDs {xids}")  # noqa: T201  # as above
    series = agent.metrics()["commonpool_gpu_xid_events_total"]
    assert {int(labels["xid"]) for labels, _ in series} == {one.xid for one in xids}
    events = [XidEvent(datetime.now(UTC), 0, one.xid, one.count, "alex") for one in xids]
    assert {finding.action for finding in happened(events, [], XID_RULES)} == {Action.TELL}
    assert is_well(hub)
    assert not standing_of(told(hub).gpus[0])
    with running(CUDA, "hold", "64"):
        pass
