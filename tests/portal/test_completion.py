"""Tab completes ids and names from the hub in a real bash, and nothing while it is away."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from portal.commands.completion import job_ids
from tests.portal.conftest import NOBODY_LISTENS

SECONDS = 10  # of a whole process on a busy machine; the hub itself has half a second
ROOT = Path(__file__).parents[2]


@pytest.fixture
def env(tmp_path):
    """An environment with a `commonpool` that is this very tree."""
    command = tmp_path / "commonpool"
    command.write_text(
        f"#!{sys.executable}\nfrom scheduler.main import app\napp(prog_name='commonpool')\n"
    )
    command.chmod(0o755)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("COMMONPOOL")}
    path = f"{tmp_path}:{os.environ['PATH']}"
    return kept | {"PATH": path, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path)}


def script(env, shell):
    """Return what the command prints for a shell to load."""
    said = env | {"_COMMONPOOL_COMPLETE": f"source_{shell}"}
    run = subprocess.run(["commonpool"], env=said, capture_output=True, text=True, check=True)
    return run.stdout


def completed(env, url, *words, token="cp_user_dana"):  # noqa: S107
    """Return what bash completes for the last of the words, with the script loaded in it."""
    words = ("commonpool", *words)
    line = " ".join(words)
    code = f"""{script(env, "bash")}
COMP_WORDS=({" ".join(repr(word) for word in words)})
COMP_CWORD={len(words) - 1}; COMP_LINE={line!r}; COMP_POINT={len(line)}
_commonpool_completion commonpool '{words[-1]}' ''
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    said = env | {"COMMONPOOL_HUB": url} | ({"COMMONPOOL_TOKEN": token} if token else {})
    command = ["bash", "--norc", "-c", code]
    found = subprocess.run(
        command, env=said, cwd=env["XDG_CONFIG_HOME"], capture_output=True, text=True, check=True
    )
    assert found.stderr == ""
    return found.stdout.split()


def test_commands_complete_without_a_hub(env):
    assert completed(env, NOBODY_LISTENS, "can") == ["cancel"]


def test_a_jobs_id_completes_from_the_hub(env, hub, hub_url):
    mine = sorted(job.id for job in hub.jobs.values() if job.user == "dana")
    assert sorted(completed(env, hub_url, "explain", "")) == mine
    begun = mine[0][:-1]
    wanted = [one for one in mine if one.startswith(begun)]
    assert sorted(completed(env, hub_url, "cancel", begun)) == wanted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("jobs", "--account", "arl-v"), "arl-vision"),
        (("node", "list", "--pool", "state-u-h"), "state-u-hpc"),
    ],
)
def test_names_of_accounts_and_pools_complete(env, hub_url, words, wanted):
    assert completed(env, hub_url, *words) == [wanted]


@pytest.mark.parametrize("token", ["cp_user_dana", ""], ids=["with a token", "without one"])
def test_while_the_hub_is_away_nothing_completes_and_nothing_is_said(env, token):
    began = time.monotonic()
    assert completed(env, NOBODY_LISTENS, "explain", "", token=token) == []
    assert time.monotonic() - began < SECONDS


def test_a_hub_that_takes_the_call_and_says_nothing_costs_less_than_a_second():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        context = SimpleNamespace(params={"url": url, "token": "cp_user_dana"})
        began = time.monotonic()
        assert job_ids(context, "") == []
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_each_shell_has_its_script(env, shell):
    assert "_commonpool_completion" in script(env, shell)
