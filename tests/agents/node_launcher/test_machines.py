"""Real Ray over simulated machines: members are fenced and jobs start anew, never twice (R5)."""

import re
import signal
import sqlite3
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from tests.agents.node_launcher.hosts import HUB_ADDRESS, Host, bridge, why_not
from tests.e2e.hub_process import POLICY, Lab
from tests.fake_nvml import build
from tests.waiting import until

pytestmark = [pytest.mark.machines, pytest.mark.timeout(600)]

TERM = 15
PROGRAM = """
import os, pathlib, time, ray
ray.init(log_to_driver=False)
@ray.remote(num_gpus=2, num_cpus=0)
def seen():
    label = ray.get_runtime_context().get_node_labels()["commonpool.io/node"]
    time.sleep(1)
    return label, len(os.environ["CUDA_VISIBLE_DEVICES"].split(","))
tasks = [seen.remote() for _ in range(int(ray.cluster_resources()["GPU"]) // 2)]
folder = pathlib.Path("FOLDER")
attempt = os.environ["COMMONPOOL_ATTEMPT"]
(folder / f"attempt-{attempt}").write_text(str(sorted(ray.get(tasks))))
while not (folder / "enough").exists():
    time.sleep(0.1)
"""


def policy(nodes: int) -> str:
    ours = re.sub(r"  - \{pool: lab-pool, account: lab-b.*\n", "", POLICY)
    quota = f"nominal: {8 * nodes}, lend_max: 0, borrow_max: 0"
    return (
        ours.replace("simulated", "ray_private")
        .replace("node_count: 2", f"node_count: {nodes}")
        .replace("nominal: 8, lend_max: 8, borrow_max: 8", quota)
    )


class LaunchLab(Lab):
    """A hub whose grants are short."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "COMMONPOOL_NODE_REPORT_SECONDS": "2",
            "COMMONPOOL_NODE_STALE_SECONDS": "10",
            "COMMONPOOL_LAUNCH_LEASE_SECONDS": str(TERM),
        }


class Site:
    """A hub, a site agent and machines with node agents."""

    def __init__(self, lab: Lab, hosts: list[Host], folder) -> None:
        self.lab, self.hosts, self.folder = lab, {host.name: host for host in hosts}, folder
        self._headers = {"Authorization": f"Bearer {lab.token('dana', 'user')}"}
        until(lambda: len(self._get("/v1/nodes")["nodes"]) == len(hosts), 60)

    def _get(self, path):
        return httpx.get(f"{self.lab.url}{path}", headers=self._headers, timeout=20).json()

    def submit(self, nodes: int) -> str:
        program = self.folder / "program.py"
        program.write_text(PROGRAM.replace("FOLDER", str(self.folder)))
        body = {"entrypoint": f"python {program}", "nodes": nodes, "gpus_per_node": 2}
        reply = httpx.post(f"{self.lab.url}/v1/jobs", json=body, headers=self._headers, timeout=20)
        return str(reply.json()["id"])

    def runs(self, job: str):
        return self._get(f"/v1/jobs/{job}")["runs"]

    def begun(self, job: str, attempt: int, seconds: float = 150):
        """Wait until an attempt's program runs; return its hosts."""
        file = self.folder / f"attempt-{attempt}"
        until(lambda: file.exists() and file.read_text(), seconds)
        run = self.runs(job)[-1]
        assert run["attempt"] == attempt
        return [self.hosts[name] for name in run["nodes"]]

    def start_agent(self, host: Host) -> None:
        url = f"http://{HUB_ADDRESS}:{self.lab.port}"
        host.start_agent(url, self.lab.data / "node.token")


@contextmanager
def a_site(folder, count):
    data = folder / "lab"
    data.mkdir()
    (data / "lab.yaml").write_text(policy(count))
    lab = LaunchLab(data)
    lab.command("admin", "migrate", "--data", str(data))
    lab.command("policy", "apply", "--data", str(data), str(data / "lab.yaml"))
    with ExitStack() as stack:
        stack.enter_context(bridge())
        stack.callback(lab.stop)
        everywhere = "0.0.0.0"  # noqa: S104  # the machines are on a bridge, and we on loopback
        where = ("--data", str(data), "--host", everywhere, "--port", str(lab.port))
        lab.start("hub", "hub", *where)
        until(lab.is_ready, seconds=60)
        for scope in ("site", "node"):
            (data / f"{scope}.token").write_text(lab.token("lab", scope))
        token = ("--token-file", str(data / "site.token"), "--data", str(data / "agent"))
        where = ("--hub", lab.url, "--site", "lab", *token)
        lab.start("agent", "site-agent", *where, "--launcher", "node")
        library = build(folder)
        hosts = []
        for number in range(1, count + 1):
            host = Host(number, folder / f"host-{number}", library)
            stack.callback(host.remove)
            host.start_agent(f"http://{HUB_ADDRESS}:{lab.port}", data / "node.token")
            hosts.append(host)
        yield Site(lab, hosts, folder)


@pytest.fixture
def folder(tmp_path):
    if reason := why_not():
        pytest.skip(reason)
    return tmp_path


def ended(site: Site, job: str, state: str, seconds: float = 60):
    until(lambda: site._get(f"/v1/jobs/{job}")["state"] == state, seconds)  # noqa: SLF001


def test_a_gang_over_two_machines_outlives_an_agent_and_leaves_a_machine_that_is_cut_off(folder):
    with a_site(folder, 3) as site:
        job = site.submit(nodes=2)
        head, worker = site.begun(job, 1)
        run = site.runs(job)[0]["run"]
        seen = sorted([(head.name, 2), (worker.name, 2)])
        assert (folder / "attempt-1").read_text() == str(seen)

        # Killed: the next agent adopts what runs.
        before = {process.pid for process in worker.processes(run)}
        worker.signal_agent(signal.SIGKILL)
        site.start_agent(worker)
        until(lambda: worker.said().count("launcher_ready") == 2, 60)

        # Cut off: what is there goes on until its grant is over, and is then ended from inside.
        worker.cut_off()
        assert before & {process.pid for process in worker.processes(run)}
        until(lambda: not worker.processes(run), 4 * TERM)
        assert len(site.runs(job)) == 1
        assert not (folder / "attempt-2").exists()
        others = site.begun(job, 2, 180)
        assert worker not in others
        lost, second = site.runs(job)
        assert lost["state"] == "lost"
        assert worker.name in lost["message"]
        assert not head.processes(run)
        (folder / "enough").touch()
        ended(site, job, "succeeded")
        for host in others:
            assert not host.processes(second["run"])
        assert not leaks(site)


def test_a_machine_whose_agent_is_frozen_ends_its_run_by_itself_and_it_starts_elsewhere(folder):
    with a_site(folder, 2) as site:
        job = site.submit(nodes=1)
        (host,) = site.begun(job, 1)
        run = site.runs(job)[0]["run"]
        host.signal_agent(signal.SIGSTOP)
        until(lambda: not host.processes(run), 4 * TERM)
        (other,) = site.begun(job, 2, 180)
        assert other is not host
        host.signal_agent(signal.SIGCONT)
        (folder / "enough").touch()
        ended(site, job, "succeeded")
        first, second = site.runs(job)
        assert (first["state"], second["state"]) == ("lost", "succeeded")
        assert not other.processes(second["run"])


def leaks(site: Site) -> list[str]:
    """Return the runs that the hub holds GPUs for."""
    with sqlite3.connect(site.lab.data / "hub.db") as db:
        return [row[0] for row in db.execute("select id from runs where ended_at is null")]
