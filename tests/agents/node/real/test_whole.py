"""The whole product on a real GPU: a hub, its agents, Ray, and PyTorch on what was leased."""

import os
import subprocess
import sys

import httpx
import pytest

from agents.node.report import model_of
from tests.agents.node.real.conftest import computing
from tests.e2e.hub_process import POLICY, Lab, free_port
from tests.waiting import until

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(400)]

PROGRAM = """\
import os, sys, time
import ray
ray.init(log_to_driver=False)

@ray.remote(num_gpus=1, num_cpus=0)
def multiply(seconds):
    import torch
    one = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    until, products = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        for _ in range(50):
            torch.mm(one, one)
        torch.cuda.synchronize()
        products += 50
    return torch.cuda.device_count(), torch.cuda.get_device_name(), products

count, name, products = ray.get(multiply.remote(float(sys.argv[1])))
print(f"{products} products on {count} x {name} of run {os.environ['COMMONPOOL_RUN']}")
"""


def policy(names: list[str]) -> str:
    """Two accounts share this machine's GPUs; a run that does nothing is warned after 15 s."""
    own, other = len(names), 0
    text = (
        POLICY.replace("backend: simulated", "backend: ray_private")
        .replace("node_count: 2", "node_count: 1")
        .replace("gpus_per_node: 8", f"gpus_per_node: {len(names)}")
        .replace("gpu_model: H100", f"gpu_model: {model_of(names[0])}")
        .replace("notice: 1s", "notice: 1s, idle_grace: 5s, idle_warn: 15s")
    )
    for account, nominal in (("lab-a", own), ("lab-b", other)):
        text = text.replace(
            f"account: {account}, nominal: 8, lend_max: 8, borrow_max: 8",
            f"account: {account}, nominal: {nominal}, lend_max: {nominal}, borrow_max: {own}",
        )
    return text


class RealLab(Lab):
    """A hub whose one node is this machine, with the driver's own library and no simulation."""

    exporter: int

    def environment(self) -> dict[str, str]:
        return super().environment() | {"COMMONPOOL_NODE_REPORT_SECONDS": "2"}

    def start_site(self) -> None:
        for scope in ("site", "node"):
            (self.data / f"{scope}.token").write_text(self.token("lab", scope))
        hub = ("--hub", self.url)
        site = ("--site", "lab", "--token-file", str(self.data / "site.token"))
        state = ("--data", str(self.data / "agent"))
        self.start("agent", "site-agent", *hub, *site, *state, "--launcher", "node")
        self.exporter = free_port()
        token = ("--token-file", str(self.data / "node.token"))
        node = ("--pool", "lab-pool", "--node", "gpu-1", "--data", str(self.data / "node"))
        launch = ("--launch", "--launch-address", "127.0.0.1")
        metrics = ("--exporter-port", str(self.exporter), "--exporter-address", "127.0.0.1")
        self.start("reporter", "node-agent", *hub, *node, *token, *launch, *metrics)


class Person:
    """dana, who submits; and what the hub tells an administrator of the node."""

    def __init__(self, lab: RealLab) -> None:
        self.lab = lab
        self._people = {
            who: {"Authorization": f"Bearer {lab.token(who, scope)}"}
            for who, scope in (("dana", "user"), ("admin", "admin"))
        }

    def get(self, path: str, who: str = "dana"):
        return httpx.get(f"{self.lab.url}{path}", headers=self._people[who], timeout=20).json()

    def submit(self, entrypoint: str) -> str:
        asked = {"entrypoint": entrypoint, "gpus_per_node": 1, "time_limit_seconds": 600}
        answer = httpx.post(
            f"{self.lab.url}/v1/jobs", json=asked, headers=self._people["dana"], timeout=20
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def cancel(self, job: str) -> None:
        where = f"{self.lab.url}/v1/jobs/{job}/cancel"
        assert httpx.post(where, headers=self._people["dana"], timeout=20).status_code < 300

    def state(self, job: str) -> str:
        return str(self.get(f"/v1/jobs/{job}")["state"])

    def gpus(self):
        nodes = self.get("/v1/telemetry", "admin")["nodes"]
        return nodes[0]["gpus"] if nodes else []

    def gpu_of(self, job: str):
        """Return the GPU that a job holds, as its node last reported it."""
        return next((g for g in self.gpus() if job in [h["job"] for h in g["held_by"]]), None)


def computes(gpu):
    """Return the GPU once its report says that it is at work."""
    return gpu if gpu is not None and (gpu["sm_active"] or 0) > 0.5 else None


@pytest.fixture(scope="module")
def lab(driver, tmp_path_factory):  # noqa: ARG001  # it must be there first
    pytest.importorskip("ray", reason="the jobs run on Ray: pip install ray")
    pytest.importorskip("torch", reason="the load is made by PyTorch: pip install torch")
    listed = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    data = tmp_path_factory.mktemp("lab")
    (data / "lab.yaml").write_text(policy(names))
    made = RealLab(data)
    made.command("admin", "migrate", "--data", str(data))
    made.command("policy", "apply", "--data", str(data), str(data / "lab.yaml"))
    (data / "program.py").write_text(PROGRAM)
    try:
        made.start_hub()
        made.start_site()
        yield made
    finally:
        made.stop()


@pytest.fixture
def person(lab):
    found = Person(lab)
    until(lambda: len(found.gpus()) > 0, 60)
    return found


def test_a_ray_job_computes_on_the_leased_gpu_and_the_hub_sees_it_work(person, lab):
    job = person.submit(f"{sys.executable} {lab.data / 'program.py'} 30")
    until(lambda: person.state(job) == "running", 120)
    busy = until(lambda: computes(person.gpu_of(job)), 90)
    assert busy["uuid"].startswith("GPU-")
    assert busy["idle_since"] is None
    assert busy["foreign"] == [], "the program is its run's own"
    assert busy["tensor_active"] > 0.1, "bf16 products are the tensor cores'"
    assert busy["power_watts"] > 200
    assert busy["memory_used_mib"] > 300
    page = httpx.get(f"http://127.0.0.1:{lab.exporter}/metrics", timeout=20).text
    assert f'UUID="{busy["uuid"]}"' in page
    assert f'run_id="cp-{job}-1"' in page
    until(lambda: person.state(job) == "succeeded", 120)
    log = person.get(f"/v1/jobs/{job}/log")["text"]
    assert f"of run cp-{job}-1" in log
    assert " on 1 x NVIDIA" in log, "the device set is the lease's"


def test_r18_a_job_that_leaves_its_gpu_idle_is_warned(person):
    job = person.submit(f"{sys.executable} -c 'import time; time.sleep(300)'")
    until(lambda: person.state(job) == "running", 120)

    def told():
        history = person.get(f"/v1/jobs/{job}/explanation")["history"]
        return [step for step in history if "idle" in str(step)]

    (warned,) = until(told, 90)
    assert warned["event"] == "idle_warned"
    person.cancel(job)
    until(lambda: person.state(job) == "stopped", 60)


def test_who_computes_without_a_lease_is_seen_as_foreign(person):
    with computing():
        foreign = until(lambda: [g["foreign"] for g in person.gpus() if g["foreign"]], 60)
    assert foreign[0][0]["processes"] >= 1
    until(lambda: not [g for g in person.gpus() if g["foreign"]], 60)


def test_nothing_is_left_on_the_gpu_afterwards(person):
    until(lambda: all(g["held_by"] == [] for g in person.gpus()), 60)
    listed = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    pids = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    assert os.getpid() not in map(int, pids)
    assert pids == []
