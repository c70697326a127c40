"""The agent as a process of its own: what it tells the hub and Prometheus while drivers fail."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agents.node import daemon
from agents.node.handover import Settings
from agents.node.samples import NodeView
from scheduler.wire import reports as wire
from scheduler.wire.reports import SamplerState
from tests.agents.node.live import ListeningHub, LiveAgent
from tests.agents.node.proc import marked
from tests.agents.node.test_session import UUIDS
from tests.fake_nvml import State
from tests.waiting import until


@pytest.fixture
def hub():
    made = ListeningHub()
    yield made
    made.close()


@pytest.fixture
def state(tmp_path):
    return State(tmp_path / "state.ini")


@pytest.fixture
def start(tmp_path, library, state, hub, unused_port):
    agents = []

    def begin(**options):
        agents.append(LiveAgent(tmp_path, library, state, hub.url, unused_port, **options))
        return agents[-1]

    yield begin
    state.write()
    for agent in agents:
        if agent.process.poll() is None:
            agent.process.kill()
        agent.process.wait(10)


def well(report) -> list[int]:
    return [gpu["index"] for gpu in report.get("gpus", ()) if gpu.get("healthy", True)]


def test_it_reports_in_the_wires_form_and_ends_cleanly(start, hub, state):
    state.write("[gpu]\nutil = 50\n")
    agent = start()
    until(lambda: len(hub.heard) >= 3, seconds=30)
    assert hub.tokens == {"Bearer cp_node_x"}
    reports = [wire.decode(body).reports[0] for body in hub.heard]
    assert [r.sequence for r in reports] == list(range(len(reports)))
    assert len({r.boot_id for r in reports}) == 1
    first = reports[0]
    assert (first.node, first.pool, first.simulated) == ("n1", "p", False)
    assert [gpu.uuid for gpu in first.gpus] == UUIDS
    assert {(gpu.model, gpu.memory_mib, gpu.healthy) for gpu in first.gpus} == {
        ("H100", 81559, True)
    }
    use = until(lambda: wire.decode(hub.heard[-1]).reports[0].use)
    assert use[0].power_watts == wire.WattsOver(70, 70, 70)
    until(lambda: agent.metrics()["DCGM_FI_DEV_GPU_UTIL"][0][1] == 50)
    assert agent.end() == 0
    assert "Traceback" not in agent.said


def test_with_an_old_driver_it_says_less_and_goes_on(
    tmp_path, old_library, state, hub, unused_port
):
    agent = LiveAgent(tmp_path, old_library, state, hub.url, unused_port)
    try:
        until(lambda: len(well(hub.last())) == 8, seconds=30)
        use = until(lambda: wire.decode(hub.heard[-1]).reports[0].use)
        assert (use[0].sm_active, use[0].power_watts) == (None, wire.WattsOver(70, 70, 70))
        found = agent.metrics()
        assert "DCGM_FI_DEV_GPU_UTIL" in found
        assert not [name for name in found if name.startswith("DCGM_FI_PROF_")]
    finally:
        assert agent.end() == 0


def test_a_lost_gpu_and_an_xid_are_told_within_seconds(start, hub, state):
    agent = start()
    until(lambda: len(well(hub.last())) == 8, seconds=30)
    state.write("[gpu.3]\nlost = 1\n[events]\nevent = 1,3,8,79\n")
    until(lambda: well(hub.last()) == [0, 1, 2, 4, 5, 6, 7])
    until(lambda: hub.last()["gpus"][3].get("xids") == [{"xid": 79, "count": 1}])
    assert hub.last()["gpus"][3]["why_unhealthy"] == "GPU lost"
    until(lambda: agent.metrics().get("commonpool_gpu_xid_events_total"))
    ((labels, count),) = agent.metrics()["commonpool_gpu_xid_events_total"]
    assert (labels["UUID"], labels["xid"], count) == (UUIDS[3], "79", 1)
    until(lambda: {"gpu_failed", "xid_announced"} <= events(agent))


def events(agent) -> set[str]:
    return {json.loads(line)["event"] for line in agent.said.splitlines()}


def test_news_do_not_wait_for_the_hubs_next_time(start, hub, state):
    hub.answer["next_report_seconds"] = 3600
    agent = start()
    until(lambda: len(well(hub.last())) == 8, seconds=30)
    until(lambda: agent.state() == "ok")
    for number, xid in enumerate((31, 79), start=1):
        state.write(f"[events]\nevent = {number},3,8,{xid}\n")
        until(lambda: xid in {x["xid"] for x in hub.last()["gpus"][3].get("xids", ())})  # noqa: B023  # called at once


def test_a_wedged_driver_is_a_state_that_hub_and_prometheus_see(start, hub, state):
    agent = start()
    until(lambda: len(well(hub.last())) == 8, seconds=30)
    state.write("[gpu.5]\nhang_ms = 600000\n")
    until(lambda: well(hub.last()) == [])
    why = hub.last()["gpus"][0]["why_unhealthy"]
    assert why.startswith("sampler stuck: ")
    assert UUIDS[5] in why
    assert hub.last()["sampler"] == "stuck"
    assert agent.state() == "stuck"
    state.write()
    until(lambda: len(well(hub.last())) == 8)


def test_a_wedged_driver_does_not_hold_up_the_end(start, hub, state):
    agent = start()
    until(lambda: hub.heard, seconds=30)
    state.write("[gpu.5]\nhang_ms = 600000\n")
    until(lambda: agent.state() == "stuck")
    assert agent.end() == 0
    assert "driver_does_not_let_go" in agent.said


def test_a_driver_upgrade_is_survived_by_a_new_program_in_the_same_process(start, hub, state):
    agent = start()
    until(lambda: len(well(hub.last())) == 8, seconds=30)
    before = hub.last()["boot_id"]
    state.write("[system]\ndriver = 580.65.06\n[gpu.0]\nabsent = 1\n")
    until(lambda: hub.last()["boot_id"] != before, seconds=30)
    assert agent.process.poll() is None
    # The inventory is kept over the change: the GPU that is gone keeps its index.
    until(lambda: well(hub.last()) == [1, 2, 3, 4, 5, 6, 7])
    assert hub.last()["gpus"][0]["why_unhealthy"] == "GPU missing"
    metrics = until(agent.metrics)
    assert metrics["commonpool_agent_restarts_total"][0][1] == 1
    assert metrics["commonpool_agent_driver_info"][0][0]["driver"] == "580.65.06"


def test_a_driver_that_is_not_loaded_is_waited_for(start, hub, state):
    state.write("[system]\nloaded = 0\n")
    agent = start()
    until(lambda: agent.state() == "no_driver", seconds=30)
    assert hub.heard == []
    state.write()
    until(lambda: len(well(hub.last())) == 8, seconds=30)
    state.write("[system]\nloaded = 0\n")
    until(lambda: well(hub.last()) == [])
    assert hub.last()["gpus"][0]["why_unhealthy"] == "sampler no_driver: Driver Not Loaded"


def test_whose_processes_are_on_gpus_is_shown_to_prometheus_and_the_hub(start, state, hub):
    mine = subprocess.Popen(["sleep", "600"], env={**os.environ, **marked("cp-abc234-1")})
    stranger = subprocess.Popen(["sleep", "600"], env={**os.environ, "RAY_JOB_ID": "01000000"})
    try:
        state.write(f"[gpu.1]\nproc = {mine.pid},100\nproc = {stranger.pid},100\n")
        agent = start()
        found = until(
            lambda: (m := agent.metrics()).get("commonpool_gpu_job_info") and m, seconds=30
        )
        ((labels, _),) = found["commonpool_gpu_job_info"]
        assert (labels["gpu"], labels["job_id"], labels["run_id"]) == ("1", "abc234", "cp-abc234-1")
        foreign = {x["gpu"]: value for x, value in found["commonpool_gpu_foreign_processes"]}
        assert foreign == {str(n): float(n == 1) for n in range(8)}
        (stray,) = until(lambda: hub.heard and wire.decode(hub.heard[-1]).reports[0].foreign)
        assert stray == wire.ForeignUse(gpu=1, run="", processes=1)
    finally:
        for process in (mine, stranger):
            process.kill()
            process.wait()


def test_a_hub_that_is_away_or_refuses_is_tried_again(start, hub):
    hub.status = 503
    agent = start()
    until(lambda: len(hub.heard) >= 2, seconds=30)
    hub.status, hub.answer = 403, {"detail": "no"}
    until(lambda: "403" in agent.said)
    hub.status, hub.answer = 200, {"surprise": 1}
    until(lambda: "cannot read" in agent.said)
    refused = {"node": "n1", "field": "gpus.model", "detail": "not this pool's"}
    hub.answer = {"accepted": 0, "next_report_seconds": 0.1, "refused": [refused]}
    until(lambda: "gpus.model: not this pool's" in agent.said)
    hub.answer = {"accepted": 1, "next_report_seconds": 0.1, "notes": ["its clock is late"]}
    until(lambda: "its clock is late" in agent.said, seconds=30)
    until(lambda: agent.metrics()["commonpool_agent_reports_total"][0][1] >= 1, seconds=30)
    assert hub.last()["use"]
    assert agent.said.count("its clock is late") == 1


def test_a_port_that_is_taken_is_said_with_what_to_do(start, hub, tmp_path, library, state):
    first = start()
    until(lambda: hub.heard, seconds=30)
    second = start(data=tmp_path / "other")
    assert second.process.wait(30) == 2
    assert "choose another --exporter-port" in second.said
    assert first.end() == 0
    assert library.exists()
    assert state.file.exists()


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a driver")
def test_without_a_driver_one_line_says_what_to_do(tmp_path):
    token = tmp_path / "token"
    token.write_text("cp_node_x")
    said = subprocess.run(
        [sys.executable, "-m", "scheduler.main", "node-agent", "--hub", "http://127.0.0.1:1",
         "--pool", "p", "--node", "n1", "--token-file", str(token)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 2
    assert "no NVIDIA driver on this machine" in said.stderr
    assert "--simulated 8xH100" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("looks", "in_vain", "pause"),
    [
        pytest.param(5, 0, 0, id="a driver that was read is replaced: at once"),
        pytest.param(0, 1, 10, id="the new process could not read it either: wait"),
        pytest.param(0, 3, 40, id="longer each time"),
        pytest.param(0, 50, 300, id="and at most five minutes"),
    ],
)
def test_a_new_process_in_vain_is_slower_each_time(looks, in_vain, pause):
    last = NodeView(SamplerState.DRIVER_REPLACED, passes=looks)
    assert daemon._pause_before_anew(in_vain, last) == pause  # noqa: SLF001  # a table of it


def test_an_agent_that_dies_of_sigkill_leaves_an_inventory_that_can_be_read(start, hub, tmp_path):
    agent = start()
    until(lambda: hub.heard, seconds=30)
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait(10)
    kept = json.loads((tmp_path / "data" / "inventory.json").read_text())
    assert [gpu["uuid"] for gpu in kept] == UUIDS


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_of_our_own_fault_ends_the_process(gpus, hub, tmp_path, monkeypatch):  # noqa: ARG001
    def broken(*_):
        raise RuntimeError("a fault of ours")

    token = tmp_path / "token"
    token.write_text("cp_node_x")
    monkeypatch.setattr(daemon.report, "report", broken)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert daemon.run(Settings("n1", "p", hub.url, str(token), interval=0.1)) == 1
