"""Unmodified Ray on the faked library: it finds eight H100s where there is no GPU."""

import json
import os
import subprocess
import sys

import pytest

from tests.fake_nvml import State

pytestmark = pytest.mark.ray

PROGRAM = """
import json, os, ray
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80_000_000)
@ray.remote(num_gpus=2)
def seen():
    return sorted(ray.get_gpu_ids()), os.environ["CUDA_VISIBLE_DEVICES"]
resources = ray.cluster_resources()
print("SEEN", json.dumps([resources.get("GPU"), sorted(resources), ray.get(seen.remote())]))
"""


def test_unmodified_ray_sees_eight_h100s_without_a_gpu(library, tmp_path):
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(library.parent),
        "FAKE_NVML_STATE": str(State(tmp_path / "state.ini").file),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert said.returncode == 0, said.stderr[-3000:]
    (line,) = [text for text in said.stdout.splitlines() if text.startswith("SEEN ")]
    gpus, resources, (ids, visible) = json.loads(line.removeprefix("SEEN "))
    assert gpus == 8
    assert any(name.startswith("accelerator_type:H100") for name in resources)
    assert len(ids) == 2
    assert visible == ",".join(map(str, ids))
