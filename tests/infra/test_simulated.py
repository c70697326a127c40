"""What the README promises of a machine without a GPU: its simulated GPUs in a real Prometheus."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from scheduler.embedded.layout import Layout
from scheduler.embedded.processes import belonging, signal_all
from scheduler.embedded.prometheus import CONFIGURATION, configured
from tests.e2e.hub_process import POLICY
from tests.infra.programs import Server, tool
from tests.waiting import until

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(300)]


@dataclass
class Instance:
    """What `commonpool up` started, and the Prometheus beside it."""

    data: Path
    prometheus: "Page"
    said: str

    def command(self, *words: str) -> str:
        return command(self.data, *words)


class Page(Server):
    """A server that somebody else started."""

    def __init__(self, url: str) -> None:
        self.url, self.log = url, Path("/dev/null")


def command(data: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "scheduler.main", *words, "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    data = tmp_path_factory.mktemp("instance")
    policy = data / "lab.yaml"
    policy.write_text(POLICY)
    layout = Layout.of(data)
    try:
        command(data, "up", "--no-portal", "--hub-port", "0", "--force", "--policy", str(policy))
        said = command(data, "prometheus", "--port", "0")
        url = (data / "prometheus/url").read_text().strip()
        yield Instance(data, Page(url), said)
        assert "none of" in command(data, "down")
        assert not belonging(layout)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/-/ready")
    finally:
        signal_all(belonging(layout), signal.SIGKILL)


def test_each_simulated_node_is_a_target_with_eight_gpus_of_its_own(instance):
    assert "with series of 16 GPUs" in instance.said
    found = instance.prometheus.query("DCGM_FI_DEV_GPU_UTIL")
    by_node: dict[str, set[str]] = {}
    for one in found:
        labels = one["metric"]
        assert labels["Hostname"] == labels["node"]
        assert (labels["site"], labels["pool"]) == ("lab", "lab-pool")
        assert (labels["tier"], labels["modelName"]) == ("institution", "H100")
        by_node.setdefault(labels["node"], set()).add(labels["UUID"])
    assert by_node == {
        node: {f"SIM-{node}-{gpu}" for gpu in range(8)} for node in ("lab-1", "lab-2")
    }


def test_the_hub_is_a_target_too_and_all_answer(instance):
    until(lambda: len(instance.prometheus.query('up{job=~"commonpool-.*"} == 1')) == 3, seconds=60)
    assert not instance.prometheus.query("up == 0")


def test_sums_are_of_these_nodes(instance):
    until(lambda: instance.prometheus.query("cluster:gpus_up:sum == 16"), seconds=60)
    until(
        lambda: instance.prometheus.query('sum(cluster:nodes:max{state="healthy"}) == 2'),
        seconds=60,
    )


def test_it_is_started_once_and_shown_by_status(instance):
    assert "Already there" in instance.command("prometheus")
    shown = json.loads(instance.command("status", "--json"))
    assert [one["up"] for one in shown["processes"] if one["name"] == "prometheus"] == [True]


def test_an_injected_xid_fires_its_alert_and_drains_the_node(instance):
    instance.command("node", "inject", "lab-2", "--xid", "79", "--gpu", "3")
    fires = 'ALERTS{alertname="GpuFatalXid",alertstate="firing"}'
    (alert,) = until(lambda: instance.prometheus.query(fires), seconds=60)
    named = {"node": "lab-2", "gpu": "3", "xid": "79", "severity": "critical"}
    assert alert["metric"] | named == alert["metric"]
    until(lambda: instance.prometheus.query('cluster:nodes:max{state="draining"} == 1'), seconds=60)
    # It fell off the bus: nothing can be read of it.
    until(
        lambda: len(instance.prometheus.query('DCGM_FI_DEV_GPU_UTIL{node="lab-2"}')) == 7,
        seconds=60,
    )


def test_what_it_runs_is_what_is_shipped_and_prometheus_takes_it(tmp_path):
    token = tmp_path / "token"
    token.write_text("cp_metrics_x")
    found = configured("http://127.0.0.1:7", token, "127.0.0.1:8")
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(found))
    checked = tool("promtool", "check", "config", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    shipped = yaml.safe_load(CONFIGURATION.read_text())
    assert [one["job_name"] for one in found["scrape_configs"]] == [
        one["job_name"] for one in shipped["scrape_configs"]
    ]
    assert found["alerting"]["alertmanagers"] == [
        {"static_configs": [{"targets": ["127.0.0.1:8"]}]}
    ]
