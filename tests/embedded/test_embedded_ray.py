"""The whole system as a new user starts it: up, demo, restart, down, on real Ray clusters."""

import json
import os
import subprocess
import sys

import pytest

from scheduler.embedded.layout import Layout
from scheduler.embedded.processes import belonging

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]
DEMO_SECONDS = 1200  # five minutes on two quiet cores; a test machine is never quiet


@pytest.fixture
def layout(tmp_path):
    layout = Layout.of(tmp_path / "data")
    yield layout
    commonpool(layout, "down")
    assert belonging(layout) == []


def commonpool(layout, command, *words):
    argv = [sys.executable, "-m", "scheduler.main", command, "--data", str(layout.data), *words]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("COMMONPOOL_", "RAY_"))}
    return subprocess.run(argv, capture_output=True, text=True, env=clean, check=False)


def test_up_demo_again_restart_down(layout):
    up = ("up", "--hub-port", "0", "--portal-port", "0")
    first = commonpool(layout, *up)
    assert first.returncode == 0, first.stdout + first.stderr
    assert layout.token("dana") in first.stdout

    demo = commonpool(layout, "demo", "--seconds", str(DEMO_SECONDS))
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "✗" not in demo.stdout

    status = commonpool(layout, "status", "--json")
    assert status.returncode == 0
    processes = json.loads(status.stdout)["processes"]
    assert {p["name"]: p["restarts"] for p in processes if not p["up"] or p["restarts"]} == {}

    second = commonpool(layout, *up)
    assert second.returncode == 0
    assert "Already up" in second.stdout

    jobs = _jobs(layout)
    interrupted = commonpool(
        layout, "submit", "--as", "dana", "--json", "--tier", "team", "--", "sleep", "600"
    )
    name = json.loads(interrupted.stdout)["id"]
    commonpool(layout, "down")
    assert belonging(layout) == []

    again = commonpool(layout, *up)
    assert again.returncode == 0, again.stdout + again.stderr
    assert jobs < _jobs(layout)
    history = commonpool(layout, "explain", "--as", "dana", "--json", name)
    assert json.loads(history.stdout)["state"] not in {"failed", "stopped"}


def _jobs(layout):
    listed = commonpool(layout, "jobs", "--as", "dana", "--json", "--limit", "100")
    return {job["id"] for job in json.loads(listed.stdout)["jobs"]}
