"""`commonpool simulate` as people type it."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scheduler.embedded.prepare import DEMO_POLICY
from scheduler.main import app
from tests.sim.check import Terms, violations
from tests.sim.replay import text_of

ROWS = [(0, 3600, 16, "a"), (10, 600, 8, "b"), (20, 600, 4, "b"), (30, 60, 12, "a")]
CLUSTER = ("--nodes", "2", "--gpus-per-node", "8")


@pytest.fixture(name="trace")
def trace_file(tmp_path):
    file = tmp_path / "small.csv"
    file.write_text(text_of(ROWS))
    return file


def simulate(*words):
    return CliRunner().invoke(app, ["simulate", *map(str, words)])


def test_it_prints_what_schedulers_are_compared_by(trace):
    done = simulate(trace, *CLUSTER)
    assert done.exit_code == 0, done.output
    for word in ("wait of gangs", "completion (JCT)", "p99", "makespan", "utilisation", "Jain"):
        assert word in done.output
    assert "small.csv: 4 jobs on 2 nodes, 16 GPUs" in done.output


def test_it_writes_every_figure_and_every_attempt(trace, tmp_path):
    figures, jobs = tmp_path / "figures.json", tmp_path / "jobs.csv"
    done = simulate(trace, *CLUSTER, "--json", figures, "--jobs", jobs)
    assert done.exit_code == 0, done.output
    told = json.loads(figures.read_text())
    assert (told["jobs"], told["gang_jobs"], told["unfinished"]) == (4, 2, 0)
    assert {row["tenant"] for row in told["tenants"]} == {"a", "b"}
    assert told["tenants"][0]["wait_s"].keys() == {"mean", "median", "p95", "p99"}
    assert told["planner_cpu_s"] > 0
    assert told["decisions_per_cpu_s"] > 0
    with jobs.open() as file:
        first = next(csv.DictReader(file))
    assert first == {
        "job_id": "j1",
        "attempt": "1",
        "start_s": "0",
        "end_s": "3600",
        "ended_by": "completed",
        "placement": "cluster-1:8;cluster-2:8",
    }
    assert violations(trace.read_text(), jobs.read_text(), Terms(2, 8)) == []


def test_a_trace_may_come_from_standard_input(trace):
    words = ["simulate", "-", *CLUSTER]
    done = CliRunner().invoke(app, words, input=trace.read_bytes())
    assert done.exit_code == 0, done.output
    assert "-: 4 jobs on 2 nodes, 16 GPUs" in done.output


def test_json_on_standard_output_is_json_alone(trace):
    done = simulate(trace, *CLUSTER, "--json", "-")
    assert json.loads(done.stdout)["trace"] == "small.csv"
    assert "makespan" in done.stderr


def test_two_policies_are_shown_side_by_side_and_drawn(trace, tmp_path):
    deep = tmp_path / "a & b $x$.yaml"
    deep.write_text("version: 1\nrules: {reserve_depth: 4, half_life: 7d}\n")
    charts = tmp_path / "drawn"
    done = simulate(trace, *CLUSTER, "--compare", "default", deep, "--charts", charts)
    assert done.exit_code == 0, done.output
    assert "difference" in done.output
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "drawn.html").read_text()
    assert "<svg" in page
    assert "a &amp; b $x$" in page
    assert 'src="http' not in page
    assert "<link" not in page


def test_tenants_are_drawn_whatever_letters_their_names_have(tmp_path):
    """A font may lack some: the picture has boxes for them, the page has the names."""
    file = tmp_path / "trace.csv"
    file.write_text(text_of([(0, 60, 16, "Zürich"), (0, 60, 16, "日本"), (0, 9, 16, "[b]x[/b]")]))
    done = simulate(file, *CLUSTER, "--compare", "default", "easy", "--charts", tmp_path / "drawn")
    assert done.exit_code == 0, done.output
    assert "Glyph" not in done.output
    page = (tmp_path / "drawn.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("Zürich", "日本", "[b]x[/b]"))


def test_drawing_twice_gives_the_same_files(trace, tmp_path):
    for name in ("one", "two"):
        simulate(trace, *CLUSTER, "--compare", "easy", "fifo", "--charts", tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param((), "--nodes and --gpus-per-node are needed", id="no cluster"),
        pytest.param(("--nodes", "2"), "belong together", id="half a cluster"),
        pytest.param((*CLUSTER, "--limits", "factor:0"), "above 0", id="a factor of zero"),
        pytest.param((*CLUSTER, "--limits", "nofile"), "cannot be read", id="no limits file"),
        pytest.param((*CLUSTER, "--policy", "nofile"), "no file nofile", id="no policy file"),
        pytest.param((*CLUSTER, "--checkpoint", "every:0"), "every:3600", id="no checkpoint"),
        pytest.param((*CLUSTER, "--restart-cost", "-1"), "--restart-cost", id="negative cost"),
        pytest.param((*CLUSTER, "--restart-cost", "nan"), "--restart-cost", id="no number"),
        pytest.param((*CLUSTER, "--json", "no/where.json"), "no such folder", id="no folder"),
        pytest.param(
            (*CLUSTER, "--compare", "easy", "fifo", "--jobs", "x.csv"), "one policy", id="both"
        ),
        pytest.param((*CLUSTER, "--compare", "easy", "eazy"), "shipped are default", id="typo"),
        pytest.param(("--nodes", "1", "--gpus-per-node", "8"), "line 2: gpus", id="too large"),
    ],
)
def test_what_cannot_be_simulated_is_told_in_words(trace, words, told):
    done = simulate(trace, *words)
    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", " ").split())
    assert "Traceback" not in done.output


def test_the_example_of_the_docs_prints_what_they_show():
    docs = Path(__file__).parents[2] / "docs"
    done = simulate(docs / "week.csv", "--nodes", "2", "--gpus-per-node", "8")
    shown = (docs / "simulator.md").read_text().split("    week.csv: 4 jobs")[1].split("…")[0]
    printed = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in shown.splitlines()[1:]:
        assert " ".join(line.split()) in [*printed, ""] or "─" in line, line


def test_a_whole_policy_brings_its_own_cluster(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text(text_of([(0, 60, 8, "acme-robotics"), (5, 60, 16, "arl-vision")]))
    done = simulate(file, "--policy", DEMO_POLICY, "--json", "-")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["unfinished"], told["starts"]) == (0, 2)
    assert told["gpus"] == 8 * told["nodes"]
    file.write_text(text_of([(0, 60, 8, "stranger")]))
    refused = simulate(file, "--policy", DEMO_POLICY)
    assert refused.exit_code == 2
    assert "stranger" in refused.output


def test_a_bad_trace_is_told_with_file_line_and_field(tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("job_id,submit_s,duration_s,gpus\nj1,0,-5,1\n")
    done = simulate(file, *CLUSTER)
    assert done.exit_code == 2
    assert str(file) in done.output
    assert "line 2: duration_s: -5 is negative" in done.output
    assert "next: correct it and run the command again; nothing was simulated" in done.output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("version: 1\nrules: {colour: red}\n", "colour", id="an unknown knob"),
        pytest.param("version: 1\nrules: {half_life: 5}\n", "half_life", id="no duration"),
        pytest.param("version: 1\nrules: {order: luck}\n", "order", id="an unknown order"),
        pytest.param("version: 1\nrules: {reserve_depth: -1}\n", "reserve_depth", id="negative"),
        pytest.param("version: 1\nrules: {reserve_depth: true}\n", "reserve_depth", id="no number"),
        pytest.param(
            "version: 1\nrules: {}\ntiers: {moon: {notice: 1m}}\n", "moon", id="an unknown tier"
        ),
        pytest.param("version: 2\nrules: {}\n", "version", id="another version"),
        pytest.param("version: 1\nrules: {}\nquota: []\n", "quota", id="an unknown section"),
        pytest.param("- 1\n", "(the file)", id="a list"),
        pytest.param("rules: [\n", "not YAML", id="not YAML"),
        pytest.param("version: 1\naccounts:\n- {name: x}\n", "sector", id="half a whole policy"),
    ],
)
def test_a_bad_policy_is_told_with_its_field(trace, tmp_path, text, told):
    policy = tmp_path / "bad.yaml"
    policy.write_text(text)
    done = simulate(trace, *CLUSTER, "--policy", policy)
    assert done.exit_code == 2
    assert told in done.output
    assert str(policy) in done.output
