"""A real agent on faked GPUs and a real hub: faults become decisions (R19)."""

import os
import subprocess

import httpx
import pytest

from tests.agents.node.live import LiveAgent
from tests.agents.node.proc import marked
from tests.e2e.hub_process import free_port, lab
from tests.fake_nvml import State
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(tmp_path):
    with lab(tmp_path / "lab") as made:
        made.kill("reporter")
        yield made


@pytest.fixture
def state(tmp_path):
    return State(tmp_path / "state.ini")


@pytest.fixture
def start(state, library, tmp_path, unused_port):
    agents = []

    def begin(site, hub):
        tmp_path.joinpath("agent").mkdir()
        made = LiveAgent(
            tmp_path / "agent", library, state, hub, unused_port, node="gpu-1", pool="lab-pool",
            token_file=site.data / "node.token",
        )  # fmt: skip
        agents.append(made)
        return made

    yield begin
    state.write()
    for agent in agents:
        assert agent.end() == 0


@pytest.fixture
def node_seen(site):
    headers = {"Authorization": f"Bearer {site.token('dana', 'user')}"}

    def look():
        answer = httpx.get(f"{site.url}/v1/nodes", params={"pool": "lab-pool"}, headers=headers)
        return next((n for n in answer.json()["nodes"] if n["node"] == "gpu-1"), None)

    return look


def test_an_xid_79_takes_the_node_out_of_work_within_seconds(site, start, state, node_seen):
    agent = start(site, site.url)
    seen = until(node_seen, seconds=60)
    assert (seen["gpus"], seen["usable"], seen["simulated"]) == (8, True, False)
    state.write("[gpu.3]\nlost = 1\n[events]\nevent = 1,3,8,79\n")
    until(lambda: "XID 79" in node_seen()["why_unusable"], seconds=30)
    assert not node_seen()["usable"]
    assert agent.process.poll() is None


@pytest.fixture(params=["to the hub", "through a gateway"])
def door(request, site):
    """Where an agent reports to."""
    if request.param == "to the hub":
        return site.url
    place = f"127.0.0.1:{free_port()}"
    where = ("--hub", site.url, "--token-file", str(site.data / "node.token"))
    site.start("reporter", "node-agent", "--gateway", place, *where)
    return f"http://{place}"


def test_a_process_that_claims_a_lease_which_the_hub_never_gave_is_foreign(
    site, start, state, door
):
    environment = {**os.environ, **marked("cp-claimed-1", node="gpu-1", gpus=(2,))}
    with subprocess.Popen(["sleep", "300"], env=environment) as stranger:
        try:
            state.write(f"[gpu.2]\nproc = {stranger.pid},900\n")
            agent = start(site, door)
            (one,) = until(lambda: told_of(site)["gpus"][2]["foreign"], seconds=90)
            assert one == {"run": "cp-claimed-1", "processes": 1}
            assert agent.process.poll() is None
        finally:
            stranger.kill()


def told_of(site):
    headers = {"Authorization": f"Bearer {site.token('root', 'admin')}"}
    answer = httpx.get(f"{site.url}/v1/telemetry", headers=headers).json()
    found = [node for node in answer["nodes"] if node["node"] == "gpu-1"]
    return found[0] if found else {"gpus": [{"foreign": []}] * 8}


def test_through_a_gateway_a_wedged_driver_takes_the_node_out_of_work(
    site, start, state, node_seen
):
    door = f"127.0.0.1:{free_port()}"
    where = ("--hub", site.url, "--token-file", str(site.data / "node.token"))
    site.start("reporter", "node-agent", "--gateway", door, *where)
    agent = start(site, f"http://{door}")
    until(node_seen, seconds=60)
    state.write("[gpu.0]\nhang_ms = 600000\n")
    seen = until(lambda: (node := node_seen()) and not node["usable"] and node, seconds=30)
    assert seen["why_unusable"]
    state.write()
    until(lambda: agent.state() == "ok", seconds=30)
