"""Unmodified Ray on the faked library: eight H100s where there is none, and whose work it is."""

import json
import os
import subprocess
import sys

import pytest

from agents.node.attribution import Rights, Standing, holders
from agents.node.origins import Origins
from agents.node.samples import Gpu, GpuSample, Process
from tests.agents.node.proc import marked
from tests.fake_nvml import State

pytestmark = pytest.mark.ray

RUN = "cp-abc234-1"
PROGRAM = """
import json, os, sys, ray
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80_000_000)

@ray.remote(num_gpus=2)
class Worker:
    def seen(self):
        return os.getpid(), sorted(ray.get_gpu_ids()), os.environ["CUDA_VISIBLE_DEVICES"]

resources = ray.cluster_resources()
ours = Worker.options(runtime_env={"env_vars": json.loads(sys.argv[1])}).remote()
plain = Worker.remote()
actors = [ray.get(actor.seen.remote()) for actor in (ours, plain)]
print(json.dumps([resources, *actors]), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def seen(library, tmp_path_factory):
    """Return what Ray says of its GPUs, and of a marked and a plain actor, while they live."""
    folder = tmp_path_factory.mktemp("ray")
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(library.parent),
        "FAKE_NVML_STATE": str(State(folder / "state.ini").file),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(marked(RUN, gpus=(0, 1)))],
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    said = next((line for line in process.stdout if line.startswith(b"[{")), b"")
    assert said, (folder / "log").read_text()[-3000:]
    yield json.loads(said)
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


def test_unmodified_ray_sees_eight_h100s_without_a_gpu(seen):
    resources, (_, ids, visible), _ = seen
    assert resources["GPU"] == 8
    assert any(name.startswith("accelerator_type:H100") for name in resources)
    assert visible == ",".join(map(str, ids))
    assert len(ids) == 2


def test_a_real_actor_of_a_run_is_the_runs_and_one_without_our_mark_is_foreign(seen):
    _, (ours, *_), (plain, *_) = seen
    on = GpuSample(Gpu("GPU-0", 0, "H100"), processes=(Process(ours), Process(plain)))
    mine, stranger = holders((on,), Rights(), Origins("n1"))
    assert (mine.standing, mine.run) == (Standing.LEASED, RUN)
    assert stranger.standing is Standing.FOREIGN
    # Ray gave the plain one a job's id too, or none of the prestarted: it says nothing to us.
    assert "ray::Worker" in stranger.why or "python" in stranger.why


def test_a_real_actor_on_a_gpu_beside_its_runs_lease_is_foreign(seen):
    _, (ours, *_), _ = seen
    beside = GpuSample(Gpu("GPU-5", 5, "H100"), processes=(Process(ours),))
    (found,) = holders((beside,), Rights(), Origins("n1"))
    assert (found.standing, found.run) == (Standing.FOREIGN, RUN)
