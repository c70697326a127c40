"""`replay`, `what-if --recording` and `policy diff`, as they are typed."""

import json
import re

import pytest
from typer.testing import CliRunner

from scheduler import policy_file
from scheduler.core.plan import plan
from scheduler.core.snapshot import Put
from scheduler.core.world import World
from scheduler.main import app
from scheduler.replay.recorder import Recorder
from tests import build
from tests.api.conftest import POLICY
from tests.build import MINUTE, NOON
from tests.replay.test_replay import files, rewritten

NODES = [build.node(f"national-{n}", "national-hub") for n in range(1, 5)]


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


@pytest.fixture
def recorded(tmp_path):
    """A job of dana's and one of alex's on the demo's hub; hers ends after half an hour."""
    policy = policy_file.load(POLICY, 0)
    jobs = [
        build.job(f"j{n}", who, gpus=8, count=2, user=user, time_limit=60 * MINUTE)
        for n, (who, user) in enumerate([("arl-vision", "dana"), ("state-u-nlp", "alex")])
        if policy.account(who)
    ]
    world = World(policy, build.snapshot(NODES))
    recorder = Recorder(tmp_path / "recorded")
    for number, events in enumerate([[Put(job) for job in jobs], []]):
        for event in events:
            world.apply(event)
        recorder.heard(events)
        decided = plan(world, policy, NOON + 30 * MINUTE * number)
        recorder.planned(world, decided)
        world.advance(decided)
        recorder.carried_out(decided)
    (file,) = files(tmp_path / "recorded")
    return file


def test_a_replay_says_identical_and_ends_with_success(recorded):
    done = run("replay", recorded)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("identical") == 3
    assert "identical in all of 2 cycles" in done.stdout


def test_one_cycle_is_shown_with_its_plan(recorded):
    done = run("replay", recorded, "--cycle", 1)
    assert '"starts"' in done.stdout
    assert json.loads(run("replay", recorded, "--cycle", 1, "--json").stdout)["identical"]
    assert run("replay", recorded, "--cycle", 9).exit_code == 2


def test_a_difference_is_shown_and_is_a_failure(recorded):
    def change(found):
        found[1]["digest"] = "0"

    rewritten(recorded, change)
    done = run("replay", recorded)
    assert done.exit_code == 1
    assert "different in 1 of 2 cycles" in done.stdout


def test_a_damaged_recording_is_one_screen_with_its_place(recorded):
    recorded.write_bytes(recorded.read_bytes()[:-3])
    done = run("replay", recorded)
    assert done.exit_code == 2
    assert re.search(r"line \d+ \(at byte\s+\d+\)", done.output)
    assert "Traceback" not in done.output
    assert run("replay", recorded.parent / "absent.gz").exit_code == 2


def test_what_if_plays_a_recording_without_a_hub(recorded):
    done = run("what-if", "--recording", recorded, "--weight", "arl=2", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["jobs"] == 0
    refused = run("what-if", "--recording", recorded, "--weight", "nobody=2")
    assert refused.exit_code == 2
    assert "nobody" in refused.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param([], "nothing to try: give --quota, --weight", id="no change"),
        pytest.param(["--weight", f"arl={'9' * 5000}"], "is not a whole number", id="digits"),
        pytest.param(
            ["--weight", "arl=0"],
            "weight of arl: weight = 0: input should be greater than or equal to 1",
            id="zero",
        ),
        pytest.param(
            ["--quota", "arl@national-hub:nominal=1,nominal=2"], "one amount twice", id="twice"
        ),
        pytest.param(
            ["--weight", "arl=2", "--since", "9999-12-31"],
            "Invalid value: since is not between 1970 and 2999",
            id="the end of time",
        ),
    ],
)
def test_a_change_that_cannot_be_tried_is_told_as_it_was_typed(recorded, words, told):
    done = run("what-if", "--recording", recorded, *words)
    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", " ").split())


def test_policies_are_compared_by_what_they_say_and_by_what_they_would_plan(recorded, tmp_path):
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(POLICY)
    new.write_text(POLICY.replace("half_life: 14d", "half_life: 7d"))
    alone = run("policy", "diff", old, new, "--data", tmp_path / "nowhere")
    assert alone.exit_code == 0, alone.output
    assert "nothing was planned" in alone.stdout
    planned = run("policy", "diff", old, old, "--state", recorded)
    assert "the two policies say the same" in planned.stdout
    assert "the same under both" in planned.stdout
    found = json.loads(run("policy", "diff", old, new, "--state", recorded, "--json").stdout)
    assert found["planned"]


def test_the_present_state_is_the_databases(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    assert run("admin", "migrate", "--data", tmp_path).exit_code == 0
    done = run("policy", "diff", file, file, "--data", tmp_path)
    assert done.exit_code == 0, done.output
    assert "the same under both" in done.stdout


def test_a_policy_that_is_none_is_told_by_line(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("users: 7\n")
    assert run("policy", "diff", bad, bad).exit_code == 2
