"""A real hub in a process of its own, with simulated nodes reported and nobody to run work."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from msgspec import structs
from typer.testing import CliRunner, Result

from scheduler.clock import SystemClock
from scheduler.embedded.checks import any_port
from scheduler.embedded.layout import Layout
from scheduler.embedded.prepare import prepare
from scheduler.main import app
from scheduler.wire.reports import GpuReport, NodeReport, encode
from tests.waiting import until


@dataclass(frozen=True)
class Line:
    """The command line against one instance."""

    data: Path
    url: str

    def __call__(self, *words: str, **environment: str) -> Result:
        return CliRunner().invoke(app, list(words), env={"COLUMNS": "200", **environment})

    def person(self, name: str, *words: str) -> Result:
        return self(words[0], *_before_dashes(words[1:], "--as", name, "--data", str(self.data)))


def _before_dashes(words, *options):
    at = words.index("--") if "--" in words else len(words)
    return (*words[:at], *options, *words[at:])


@pytest.fixture(scope="session")
def line(tmp_path_factory):
    """Return the command line, with a hub that answers, of which others have asked before."""
    with _answered(tmp_path_factory.mktemp("instance")) as found:
        yield found


@pytest.fixture
def new_line(tmp_path):
    """Return one with a hub of its own, to which nothing has happened."""
    with _answered(tmp_path / "instance") as found:
        yield found


@contextmanager
def _answered(folder):
    layout = Layout.of(folder)
    layout.make()
    prepare(layout, None)
    port = any_port()
    url = f"http://127.0.0.1:{port}"
    layout.hub_url.write_text(url + "\n")
    argv = [sys.executable, "-m", "scheduler.main", "hub", "--data", str(layout.data)]
    with (layout.log / "hub.log").open("wb") as log:
        hub = subprocess.Popen([*argv, "--port", str(port)], stdout=log, stderr=log)
    try:
        until(lambda: _is_ready(url), 60)
        _report(url, layout)
        yield Line(layout.data, url)
    finally:
        hub.send_signal(signal.SIGTERM)
        hub.wait(20)
        os.rmdir(layout.ray)  # noqa: PTH106  # as the fixture made it


def _is_ready(url):
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.HTTPError:
        return False


def _report(url, layout):
    nodes = {"arl-team": ["arl-team-1"], "state-u-hpc": ["state-u-1", "state-u-2"]}
    sites = {"arl-team": "arl-team", "state-u-hpc": "state-u"}
    now = SystemClock().now()
    for pool, names in nodes.items():
        gpus = tuple(GpuReport(index=i, uuid=f"{{}}-{i}", model="H100") for i in range(8))
        reports = tuple(
            NodeReport(
                node=name,
                pool=pool,
                boot_id="boot",
                sequence=0,
                sampled_at=now,
                gpus=tuple(structs.replace(g, uuid=f"{name}-{g.index}") for g in gpus),
                simulated=True,
            )
            for name in names
        )
        token = layout.token(f"{sites[pool]}-node")
        httpx.post(
            f"{url}/v1/nodes/report",
            content=encode(reports),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        ).raise_for_status()
