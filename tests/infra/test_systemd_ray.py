"""A run of Ray's in the node agent's unit: its sandbox forbids nothing that Ray needs."""

import httpx
import pytest

from tests.agents.node_launcher.test_machines import LaunchLab, policy
from tests.infra.booted import UID, why_not
from tests.infra.units import NODE, assert_confined, both_units, hub_of_a_lab, said
from tests.waiting import until

PROGRAM = """
import os, time, ray
ray.init(log_to_driver=False)
@ray.remote(num_gpus=1, num_cpus=0)
def seen():
    time.sleep(1)
    return os.environ["CUDA_VISIBLE_DEVICES"], bytes(2**20)
gpus = {gpu for gpu, _ in ray.get([seen.remote() for _ in range(2)])}
print("attempt", os.environ["COMMONPOOL_ATTEMPT"], "saw", len(gpus), "GPUs", flush=True)
time.sleep(600)
"""
STARTED = 180
"""Seconds for Ray to start with other work beside it."""


@pytest.mark.machines
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_the_unit_starts_watches_and_fences_a_real_ray_node(tmp_path):
    """As R5 wants it: what is started is all ended before the job starts anew."""
    hub_data, inside = tmp_path / "hub", tmp_path / "inside"
    with (
        hub_of_a_lab(hub_data, policy(1), LaunchLab) as hub,
        both_units(inside, hub) as systemd,
    ):
        people = People(hub)
        job = people.submit()
        first = until(lambda: people.run_that_said(job, "attempt 1 saw 2 GPUs"), STARTED)
        ray = {name: process_of(systemd, first, name) for name in ("gcs_server", "raylet")}
        for pid in ray.values():
            assert_confined(systemd, pid, UID)

        # Killed: the run goes on, and the next agent finds it.
        systemd.inside("kill", "-9", systemd.show(NODE, "MainPID"))
        until(lambda: said(systemd).count("launcher_ready") == 2, 60)
        assert ray == {name: process_of(systemd, first, name) for name in ray}

        # Ray dies: what is left of it is ended, and the job starts anew.
        systemd.inside("kill", "-9", str(ray["raylet"]))
        second = until(lambda: people.run_that_said(job, "attempt 2 saw 2 GPUs"), STARTED)
        assert not processes(systemd, first)
        people.cancel(job)
        until(lambda: people.runs(job)[-1]["state"] == "stopped", 60)
        assert not processes(systemd, second)


class People:
    """One of them, who submits and asks."""

    def __init__(self, hub) -> None:
        self._hub = hub
        self._headers = {"Authorization": f"Bearer {hub.token('dana', 'user')}"}

    def _ask(self, method, path, **more):
        reply = httpx.request(
            method, f"{self._hub.url}{path}", headers=self._headers, timeout=20, **more
        )
        assert reply.is_success, reply.text
        return reply.json()

    def submit(self) -> str:
        body = {"entrypoint": f"python -c '{PROGRAM}'", "nodes": 1, "gpus_per_node": 2}
        return str(self._ask("POST", "/v1/jobs", json=body)["id"])

    def runs(self, job):
        return self._ask("GET", f"/v1/jobs/{job}")["runs"]

    def run_that_said(self, job, words):
        said = self._ask("GET", f"/api/jobs/{job}/logs")["logs"]
        assert words in said, said
        return self.runs(job)[-1]["run"]

    def cancel(self, job) -> None:
        self._ask("POST", f"/v1/jobs/{job}/cancel")


def processes(systemd, run) -> list[int]:
    """Return the pids in a run's control group, below the unit's own."""
    group = f"/sys/fs/cgroup{systemd.show(NODE, 'ControlGroup')}/commonpool/{run}"
    return list(map(int, systemd.inside("sh", "-c", f"cat {group}/cgroup.procs || true").split()))


def process_of(systemd, run, name) -> int:
    """Return the pid of the one program of that name in a run's control group."""
    listed = systemd.inside("ps", "-eo", "pid=,comm=").splitlines()
    named = {int(pid) for pid, comm in (line.split(None, 1) for line in listed) if comm == name}
    (found,) = named & set(processes(systemd, run))
    return found
