"""The command line as people and scripts use it, against a real hub."""

import json
import subprocess
import sys
import time
import zipfile
from io import BytesIO

import pytest
from typer.testing import CliRunner

from portal.working_dir import zipped
from scheduler.embedded.layout import Layout
from scheduler.embedded.prepare import DEMO_POLICY
from scheduler.main import COMMANDS, app


def submitted(line, *options, person="dana"):
    done = line.person(person, "submit", "--json", *options, "--", "sleep", "1")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_help_is_quick_and_names_every_command():
    def took():
        begun = time.monotonic()
        words = [sys.executable, "-m", "scheduler.main", "--help"]
        text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert all(name in text for name in COMMANDS)
        return time.monotonic() - begun

    def bare():
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", "import typer.rich_utils"], check=True)
        return time.monotonic() - begun

    # A ratio, for the machine may be busy: 0.33 s against 0.25 s on a quiet one.
    assert min(took() for _ in range(3)) < 3 * min(bare() for _ in range(3))


@pytest.mark.parametrize("name", [*COMMANDS])
def test_every_command_has_help(name):
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_a_typing_error_is_a_usage_error_with_a_suggestion(line):
    done = line("sumbit")
    assert done.exit_code == 2
    assert "submit" in done.output


def test_a_job_is_submitted_shown_explained_and_cancelled(line):
    job = submitted(line, "--gpus-per-node", "4", "--time-limit", "90s")
    assert (job["account"], job["gpus_per_node"], job["time_limit_seconds"]) == (
        "arl-vision",
        4,
        90,
    )
    listed = line.person("dana", "jobs")
    assert job["id"] in listed.output
    explained = line.person("dana", "explain", job["id"])
    assert "history" in explained.output
    assert "submitted" in explained.output
    document = json.loads(line.person("dana", "explain", job["id"], "--json").stdout)
    assert document["history"][0]["event"] == "submitted"
    cancelled = line.person("dana", "cancel", job["id"])
    assert cancelled.exit_code == 0
    assert job["id"] in cancelled.output


def test_a_job_that_waits_is_explained_pool_by_pool(line):
    job = submitted(line, "--nodes", "2", "--gpus-per-node", "8", "--tier", "national")
    explained = line.person("dana", "explain", job["id"])
    assert "what each pool says" in explained.output
    assert "national-hub" in explained.output
    line.person("dana", "cancel", job["id"])


def test_every_wish_reaches_the_hub(line):
    job = submitted(
        line,
        *("--gpu-model", "H100", "--tier", "team..institution", "--label", "controlled"),
        *("--priority", "high", "--no-preempt", "--account", "arl-vision"),
        *("--submission-id", "my-own-name", "--time-limit", "2h"),
    )
    assert job["gpu_models"] == ["H100"]
    assert job["tier"] == ["team", "institution"]
    assert (job["label"], job["priority"], job["preemptible"]) == ("controlled", "high", False)
    assert (job["submission_id"], job["time_limit_seconds"]) == ("my-own-name", 7200)
    assert line.person("dana", "explain", "my-own-name").exit_code == 0
    line.person("dana", "cancel", "my-own-name")


def test_a_refusal_names_field_limit_and_next_step_and_exits_with_1(line):
    done = line.person("alex", "submit", "--label", "controlled", "--", "true")
    assert done.exit_code == 1
    assert "controlled" in done.stderr
    assert "limit: labels of alex: public" in done.stderr
    assert "next:" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(["--nodes", "0"], "--nodes", id="no nodes"),
        pytest.param(["--tier", "galactic"], "galactic", id="an unknown tier"),
        pytest.param(["--time-limit", "soon"], "time-limit", id="no length of time"),
        pytest.param(["--priority", "vip"], "vip", id="an unknown priority"),
        pytest.param(["--submission-id", "a/b"], "--submission-id", id="an impossible name"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(line, options, says):
    done = line.person("dana", "submit", *options, "--", "true")
    assert done.exit_code == 2
    assert says in done.output


def test_another_persons_job_is_as_absent_as_none(line):
    job = submitted(line)
    foreign = line.person("alex", "explain", job["id"])
    absent = line.person("alex", "explain", "jnosuchjobxy")
    assert foreign.exit_code == absent.exit_code == 1
    assert foreign.stderr.replace(job["id"], "X") == absent.stderr.replace("jnosuchjobxy", "X")
    line.person("dana", "cancel", job["id"])


def test_a_folder_goes_along_and_the_same_folder_only_once(line, tmp_path):
    (tmp_path / "train.py").write_text("print(1)")
    first = submitted(line, "--working-dir", str(tmp_path), person="iris")
    second = submitted(line, "--working-dir", str(tmp_path), person="iris")
    assert first["id"] != second["id"]
    line.person("iris", "cancel", first["id"], second["id"])


def test_the_same_files_make_the_same_package_and_rubbish_stays_out(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").write_text("a")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("x")
    first = zipped(tmp_path)
    (tmp_path / "sub" / "a.py").touch()
    assert zipped(tmp_path) == first
    assert zipfile.ZipFile(BytesIO(first)).namelist() == ["sub/a.py"]


def test_a_job_without_output_says_why(line):
    job = submitted(line)
    done = line.person("dana", "logs", job["id"])
    assert done.exit_code == 0
    assert "no output yet" in done.stderr
    line.person("dana", "cancel", job["id"])


def test_waiting_for_a_job_that_is_stopped_exits_with_1(line):
    job = submitted(line, "--submission-id", "stopped-soon")
    line.person("dana", "cancel", job["id"])
    again = line.person("dana", "submit", "--wait", "--submission-id", "stopped-soon", "--", "x")
    assert again.exit_code == 1


def test_the_jobs_list_pages_and_says_so(line):
    ids = [submitted(line, person="alex")["id"] for _ in range(3)]
    first = line.person("alex", "jobs", "--limit", "2")
    assert "there are more: --after" in first.output
    after = first.output.rsplit("--after ", 1)[1].strip()
    page = json.loads(line.person("alex", "jobs", "--json", "--after", after).stdout)
    assert ids[0] in [job["id"] for job in page["jobs"]]
    line.person("alex", "cancel", *ids)


def test_no_jobs_yet_is_said_with_what_to_do(line):
    done = line.person("iris", "jobs", "--account", "acme-robotics", "--state", "succeeded")
    assert done.exit_code == 0
    assert "no such jobs" in done.output


def test_pools_are_shown_with_nodes_and_quotas_and_as_json(line):
    table = line.person("dana", "pools", "--nodes", "--quotas").output
    assert "arl-team" in table
    assert "state-u-2" in table
    assert "simulated" in table
    document = json.loads(line.person("dana", "pools", "--json").stdout)
    assert {pool["pool"] for pool in document["pools"]} == {
        "arl-team",
        "state-u-hpc",
        "national-hub",
    }


def test_no_token_is_a_usage_error_that_names_the_people_here(line):
    done = line("jobs", "--data", str(line.data))
    assert done.exit_code == 2
    assert "--as" in done.output
    assert "dana" in done.output


def test_a_wrong_token_is_refused_with_advice(line):
    done = line("jobs", "--hub", line.url, "--token", "cp_user_wrong")
    assert done.exit_code == 1
    assert "error:" in done.stderr


def test_an_absent_hub_is_told_with_how_to_start_one():
    done = CliRunner().invoke(app, ["jobs", "--hub", "http://127.0.0.1:9", "--token", "x"])
    assert done.exit_code == 1
    assert "http://127.0.0.1:9" in done.stderr
    assert "commonpool up" in done.stderr


def test_the_environment_names_hub_and_token(line):
    token = (line.data / "tokens" / "dana.token").read_text().strip()
    done = line("pools", COMMONPOOL_HUB=line.url, COMMONPOOL_TOKEN=token)
    assert done.exit_code == 0


def test_a_policy_is_checked_line_by_line_without_any_hub(tmp_path):
    assert CliRunner().invoke(app, ["policy", "check", str(DEMO_POLICY)]).exit_code == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text(DEMO_POLICY.read_text().replace("version: 1", "version: 9"))
    done = CliRunner().invoke(app, ["policy", "check", str(bad)])
    assert done.exit_code == 2
    assert "line" in done.stderr
    absent = CliRunner().invoke(app, ["policy", "check", str(tmp_path / "none.yaml")])
    assert absent.exit_code == 2
    assert "cannot be read" in absent.stderr


def test_an_admin_applies_and_shows_the_policy_and_a_user_may_not_apply(line):
    again = line("policy", "apply", str(DEMO_POLICY), "--as", "admin", "--data", str(line.data))
    assert "nothing changed" in again.output
    shown = line("policy", "show", "--as", "dana", "--data", str(line.data))
    assert shown.output == DEMO_POLICY.read_text()
    refused = line("policy", "apply", str(DEMO_POLICY), "--as", "dana", "--data", str(line.data))
    assert refused.exit_code == 1


def test_an_admin_makes_lists_and_revokes_tokens(line, tmp_path):
    admin = ("--as", "admin", "--data", str(line.data))
    made = json.loads(line("token", "create", "alex", "--json", *admin).stdout)
    used = line("pools", "--hub", line.url, "--token", made["token"])
    assert used.exit_code == 0
    assert made["id"] in line("token", "list", *admin).output
    assert line("token", "revoke", made["id"], *admin).exit_code == 0
    assert line("pools", "--hub", line.url, "--token", made["token"]).exit_code == 1
    file = tmp_path / "iris.token"
    line("token", "create", "iris", "--out", str(file), *admin)
    assert file.read_text().startswith("cp_user_")
    assert file.stat().st_mode & 0o077 == 0


def test_the_operators_lists(line):
    admin = ("--as", "admin", "--data", str(line.data))
    assert "state-u-1" in line("admin", "nodes", *admin).output
    assert "arl-vision" in line("admin", "accounts", *admin).output
    assert line("admin", "jobs", *admin).exit_code == 0


def test_a_new_hub_gets_its_first_policy_and_token_from_its_folder(tmp_path):
    run = CliRunner()
    where = ["--data", str(tmp_path / "new")]
    none = run.invoke(app, ["token", "create", "root", "--scope", "admin", *where])
    assert none.exit_code == 1
    assert "commonpool admin migrate" in none.stderr
    assert run.invoke(app, ["admin", "migrate", *where]).exit_code == 0
    empty = run.invoke(app, ["policy", "show", *where])
    assert "commonpool policy apply" in empty.stderr
    applied = run.invoke(app, ["policy", "apply", str(DEMO_POLICY), *where])
    assert "revision 1 is now in force" in applied.output
    made = run.invoke(app, ["token", "create", "root", "--scope", "admin", *where])
    assert made.stdout.startswith("cp_admin_")
    listed = json.loads(run.invoke(app, ["token", "list", "--json", *where]).stdout)
    (token,) = listed["tokens"]
    assert run.invoke(app, ["token", "revoke", token["id"], *where]).exit_code == 0
    assert run.invoke(app, ["token", "revoke", token["id"], *where]).exit_code == 1


def test_version_tells_what_runs(line):
    assert set(json.loads(line("version", "--json").stdout)) == {"commonpool", "python", "ray"}


def test_status_and_down_where_nothing_runs(tmp_path):
    run = CliRunner()
    layout = Layout.of(tmp_path / "none")
    status = run.invoke(app, ["status", "--data", str(layout.data)])
    assert status.exit_code == 1
    assert "commonpool up" in status.output
    document = json.loads(run.invoke(app, ["status", "--json", "--data", str(layout.data)]).stdout)
    assert document["state"] == "absent"
    down = run.invoke(app, ["down", "--data", str(layout.data)])
    assert down.exit_code == 0
    assert "nothing" in down.output


def test_the_demo_without_an_instance_says_how_to_start_one(tmp_path):
    done = CliRunner().invoke(app, ["demo", "--data", str(tmp_path)])
    assert done.exit_code == 1
    assert "commonpool up" in done.stderr
