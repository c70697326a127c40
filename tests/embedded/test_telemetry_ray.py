"""docs/telemetry.md's walk: simulated H100s in top and /metrics, and an XID 79 that moves a job."""

import json
import os
import re
import subprocess
import sys
import urllib.request

import pytest

from scheduler.embedded.instance import metrics_urls
from scheduler.embedded.layout import Layout
from scheduler.embedded.processes import belonging
from tests.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
CORDON_SECONDS = 15
"""What docs/telemetry.md promises from the fault to the cordon; it is 3 on a quiet machine."""
MOVE_SECONDS = 300
"""To the new run, on a busy machine; docs/telemetry.md says 90 for two idle cores."""


@pytest.fixture
def layout(tmp_path):
    layout = Layout.of(tmp_path / "data")
    yield layout
    commonpool(layout, "down")
    assert belonging(layout) == []


def commonpool(layout, *words):
    argv = [sys.executable, "-m", "scheduler.main", words[0], "--data", str(layout.data)]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("COMMONPOOL_", "RAY_"))}
    return subprocess.run(
        [*argv, *words[1:]], capture_output=True, text=True, env=clean, check=False
    )


def node(layout, *words):
    argv = [sys.executable, "-m", "scheduler.main", "node", *words, "--data", str(layout.data)]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("COMMONPOOL_")}
    return subprocess.run(argv, capture_output=True, text=True, env=clean, check=True).stdout


def fleet(layout):
    done = commonpool(layout, "top", "--as", "admin", "--json", "--site", "state-u")
    assert done.returncode == 0, done.stderr
    return {one["node"]: one for one in json.loads(done.stdout)["nodes"]}


def held(layout, run):
    """Return the nodes on which a run has GPUs, with the SM activity of each GPU."""
    found = {}
    for name, one in fleet(layout).items():
        for gpu in one["gpus"]:
            if any(holding["run"] == run for holding in gpu["held_by"]):
                found.setdefault(name, []).append(gpu["sm_active"])
    return found


def busy(layout, run):
    """Return the nodes of a run, once all of its GPUs are at work."""
    found = held(layout, run)
    return found if all(sm and sm > 0.3 for sms in found.values() for sm in sms) else {}


def test_h100s_are_seen_and_an_xid_79_cordons_a_node_and_moves_its_job(layout):
    up = commonpool(layout, "up", "--hub-port", "0", "--no-portal")
    assert up.returncode == 0, up.stdout + up.stderr
    program = "python -c 'while True: pass'"
    asked = ("--as", "alex", "--json", "--gpus-per-node", "4", "--tier", "institution")
    done = commonpool(layout, "submit", *asked, "--", program)
    job = json.loads(done.stdout)["id"]
    first, second = f"cp-{job}-1", f"cp-{job}-2"

    (before,) = until(lambda: busy(layout, first), 180)
    pages = [urllib.request.urlopen(url).read().decode() for url in metrics_urls(layout)]  # noqa: S310  # loopback
    page = next(page for page in pages if f'Hostname="{before}"' in page)
    series = rf'DCGM_FI_DEV_GPU_UTIL{{Hostname="{before}",[^}}]*}} 100\.0'
    assert len(re.findall(series, page)) == 4

    assert "SIMULATED" in node(layout, "inject", before, "--xid", "79")
    until(lambda: not fleet(layout)[before]["usable"], CORDON_SECONDS)
    assert "XID 79" in fleet(layout)[before]["why_unusable"]
    assert "power-cycle the node" in node(layout, "show", before, "--as", "admin")
    until(lambda: _state(layout, job) == "running" and held(layout, second), MOVE_SECONDS)
    assert before not in held(layout, second)

    node(layout, "inject", before, "--repair")
    node(layout, "resume", before, "--as", "admin")
    until(lambda: fleet(layout)[before]["usable"], 60)


def _state(layout, job):
    done = commonpool(layout, "explain", "--as", "alex", "--json", job)
    return json.loads(done.stdout)["state"]
