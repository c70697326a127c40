"""`commonpool site-agent` as a process: options, a second agent, signals, stop-all."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from secrets import token_hex

import pytest
from typer.testing import CliRunner

from agents.site import main, processes
from agents.site.records import Phase, RecordStore, RunRecord
from scheduler.core.model import Backend
from tests.agents.fake_hub import a_lease
from tests.waiting import until

GOOD = ["--hub", "http://127.0.0.1:1", "--site", "here"]


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text("cp_site_x")
    return str(file)


def invoke(*words: object):
    return CliRunner().invoke(main.app, [str(word) for word in words])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        pytest.param(["--hub", "nowhere"], "--hub: 'nowhere' is not a URL", id="bad URL"),
        pytest.param(["--site", "A B"], "--site", id="bad name"),
        pytest.param(["--token-file", "/no/such"], "/no/such", id="no token"),
        pytest.param(["--shared-ray", "ray"], "--shared-ray", id="bad head"),
        pytest.param(["--shared-ray-token-file", "/no/such"], "/no/such", id="no head token"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(tmp_path, token, options, complaint):
    said = invoke(*GOOD, "--token-file", token, "--data", tmp_path / "data", *options)
    assert said.exit_code == 2
    assert complaint in said.output
    assert len(said.output.strip().splitlines()) == 1


def test_a_missing_option_is_named(tmp_path):
    said = invoke("--data", tmp_path)
    assert said.exit_code == 2
    assert "--hub" in said.output
    assert "--token-file" in said.output


def test_a_second_agent_for_the_folder_is_refused(tmp_path, token):
    store = RecordStore(tmp_path)
    said = invoke(*GOOD, "--token-file", token, "--data", tmp_path)
    assert said.exit_code == 2
    assert f"pid {os.getpid()}" in said.output
    store.close()


def test_a_data_folder_that_cannot_be_is_named(token):
    said = invoke(*GOOD, "--token-file", token, "--data", f"{token}/data")
    assert said.exit_code == 2
    assert "--data" in said.output


@pytest.mark.parametrize("what", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_agent_soon_and_quietly(tmp_path, token, what):
    command = [sys.executable, "-m", "agents.site.main", *GOOD, "--token-file", token]
    agent = subprocess.Popen(
        [*command, "--data", str(tmp_path / "data")], stderr=subprocess.PIPE, text=True
    )
    assert agent.stderr is not None
    until(lambda: "agent_started" in agent.stderr.readline(), 30)
    agent.send_signal(what)
    assert agent.wait(15) == 0
    said = agent.stderr.read()
    agent.stderr.close()
    assert "agent_stopped" in said
    assert "Traceback" not in said


def test_stop_all_ends_every_recorded_run_and_keeps_the_records(tmp_path):
    run, damaged = (f"cp-t{token_hex(5)}-1" for _ in range(2))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(300)"],
            env={**os.environ, "COMMONPOOL_RUN": name},
        )
        for name in (run, damaged)
    ]
    store = RecordStore(tmp_path)
    lease = a_lease(run, backend=Backend.RAY_PRIVATE)
    now = datetime.now(UTC)
    store.save(RunRecord(lease=lease, reserved_at=now, phase=Phase.SUBMITTED))
    store.path(damaged).write_text("?")
    store.close()
    said = invoke("stop-all", "--data", tmp_path)
    assert said.exit_code == 0, said.output
    assert [child.wait(5) for child in children] == [-signal.SIGKILL] * 2
    assert processes.of_run(run) == frozenset()
    again = RecordStore(tmp_path)
    assert set(again.records) == {run}
    again.close()


def test_stop_all_beside_a_running_agent_is_refused(tmp_path):
    store = RecordStore(tmp_path)
    assert invoke("stop-all", "--data", tmp_path).exit_code == 2
    store.close()


@pytest.mark.parametrize("run", ["../etc", "a/b", "", "x" * 200])
def test_only_the_id_of_a_run_can_be_confirmed_as_fenced(tmp_path, run):
    assert invoke("confirm-fenced", run, "--data", tmp_path).exit_code == 2
    assert [f for f in tmp_path.rglob("*") if f.is_file()] == []


def test_a_confirmed_run_is_noted(tmp_path):
    assert invoke("confirm-fenced", "cp-j1-1", "--data", tmp_path).exit_code == 0
    assert (tmp_path / "signals" / "cp-j1-1.fenced").exists()
