"""The same job by every door: options, template, file, Ray's command and its Python client."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from portal.catalogue import template, templates
from portal.client.hub import Hub
from portal.job_forms import command_line, commonpool_line, python_form, yaml_form
from scheduler.core.model import PriorityClass, Tier
from scheduler.wire.jobs import JobRequest

ASKED = JobRequest(
    entrypoint="python train.py --rate 0.1",
    name="digits",
    account="arl-vision",
    nodes=2,
    gpus_per_node=4,
    gpu_models=("H100",),
    tier=(Tier.TEAM, Tier.NATIONAL),
    label="controlled",
    priority=PriorityClass.HIGH,
    preemptible=False,
    time_limit_seconds=5400,
    metadata={"experiment": "a b"},
)
PLAIN = JobRequest(entrypoint="python -c 'print(1)'", account="arl-vision", memory_gib=40)
SAME = (
    "entrypoint",
    "name",
    "account",
    "nodes",
    "gpus_per_node",
    "gpu_models",
    "memory_gib",
    "h100e",
    "software",
    "reservation",
    "tier",
    "label",
    "priority",
    "preemptible",
    "time_limit_seconds",
)


def meaning(job):
    """Return what makes two jobs the same; Ray's door keeps its own keys in the metadata too."""
    said = {name: job[name] for name in SAME}
    own = {k: v for k, v in job["metadata"].items() if not k.startswith("commonpool.")}
    return said | {"metadata": own}


def as_dana(line, *words):
    done = line.person("dana", *words)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def token_file(line):
    return str(line.data / "tokens" / "dana.token")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text("print(1)\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=[ASKED, PLAIN], ids=["all that is usual", "quotes"])
def asked(request):
    return request.param


@pytest.fixture
def wanted(line, asked):
    """The job by the API's own message."""
    hub = Hub(line.url, (line.data / "tokens" / "dana.token").read_text().strip())
    found = hub.submit(asked)
    hub.close()
    return meaning(json.loads(found.model_dump_json()))


@pytest.mark.usefixtures("folder")
def test_the_copied_commonpool_command_gives_the_same_job(line, asked, wanted, token_file):
    words = shlex.split(commonpool_line(asked, line.url, token_file).replace("\\\n", " "))
    assert words[0] == "commonpool"
    at = words.index("--")
    done = line(*words[1:at], "--json", *words[at:])
    assert done.exit_code == 0, done.output
    assert meaning(json.loads(done.stdout)) == wanted


def test_the_copied_yaml_gives_the_same_job(line, asked, wanted, folder):
    (folder / "job.yaml").write_text(yaml_form(asked))
    assert meaning(as_dana(line, "submit", "--json", "--file", "job.yaml")) == wanted


@pytest.mark.usefixtures("folder")
def test_the_copied_python_gives_the_same_job(line, asked, wanted, token_file):
    ray_does([sys.executable, "-c", python_form(asked, line.url, token_file)])
    assert meaning(newest(line)) == wanted


@pytest.mark.usefixtures("folder")
def test_the_copied_ray_command_gives_the_same_job(line, asked, wanted, token_file):
    text = command_line(asked, line.url, f'"$(cat {shlex.quote(token_file)})"')
    if text is None:
        assert asked is PLAIN  # Ray would change its quotes: there is the Python form for it
        return
    text = text.replace("ray job submit", "ray job submit --no-wait")
    ray_does(["/bin/sh", "-c", text])
    assert meaning(newest(line)) == wanted


def ray_does(argv):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("COMMONPOOL_", "RAY_"))}
    clean |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(argv, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def newest(line):
    return as_dana(line, "jobs", "--json", "--limit", "1")["jobs"][0]


def test_a_template_is_one_option_and_options_go_before_it(line):
    job = as_dana(line, "submit", "--json", "--template", "edge", "--time-limit", "9m")
    assert (job["entrypoint"], job["name"]) == ("python edge.py", "template-edge")
    assert (job["time_limit_seconds"], job["metadata"]) == (540, {"template": "edge"})


def test_templates_are_listed_and_one_is_saved_to_be_changed(line, tmp_path):
    listed = json.loads(line("templates", "--json").stdout)
    assert [one["name"] for one in listed] == [one.name for one in templates()]
    assert "Reasoning" in line("templates").output
    to = tmp_path / "mine"
    assert line("templates", "edge", "--save", str(to)).exit_code == 0
    assert (to / "edge.py").read_bytes() == template("edge").program
    again = line("templates", "edge", "--save", str(to))
    assert (again.exit_code, "is there already" in again.output) == (2, True)
    job = as_dana(line, "submit", "--json", "--file", str(to / "job.yaml"))
    assert (job["entrypoint"], job["metadata"]) == ("python edge.py", {"template": "edge"})


def test_a_dry_run_submits_nothing_and_says_where_when_and_for_how_much(line):
    before = newest(line)["id"]
    done = line.person("dana", "submit", "--dry-run", "--template", "edge")
    assert done.exit_code == 0, done.output
    for said in (
        "starts first",
        "cheapest",
        "H100e-h",
        "chance of recall",
        "Nothing was submitted",
    ):
        assert said in done.output
    found = as_dana(line, "submit", "--dry-run", "--json", "--gpus-per-node", "8", "--", "true")
    assert found["candidates"][0]["way"] == "as asked"
    assert newest(line)["id"] == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["--template", "nothing"], "is no template; there are", id="no template"),
        pytest.param([], "what to run?", id="nothing to run"),
        pytest.param(["--file", "absent.yaml"], "absent.yaml: No such file", id="no file"),
        pytest.param(["--metadata", "x", "--", "true"], "is not KEY=VALUE", id="no pair"),
        pytest.param(
            ["--template", "edge", "--file", "job.yaml"], "from one of them", id="two starts"
        ),
    ],
)
def test_what_makes_no_start_is_a_usage_error(line, words, says):
    done = line.person("dana", "submit", *words)
    assert done.exit_code == 2
    assert says in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("nodez: 2", "'nodez' is not a field of a job", id="an unknown field"),
        pytest.param("- a", "a job is a mapping", id="a list"),
        pytest.param("a: [", "is not YAML", id="no YAML"),
        pytest.param("entrypoint: a\nnodes: many", "--file: nodes", id="a value of another kind"),
        pytest.param("entrypoint: a\ntime_limit: soon", "time_limit", id="no time"),
        pytest.param("entrypoint: a\nworking_dir: x", "is no folder beside", id="no folder"),
    ],
)
def test_a_file_that_is_no_job_is_told_by_its_field(line, tmp_path, text, says):
    (tmp_path / "job.yaml").write_text(text)
    done = line.person("dana", "submit", "--file", str(tmp_path / "job.yaml"))
    assert done.exit_code == 2
    assert says in " ".join(done.output.replace("│", " ").split())
