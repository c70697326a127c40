"""`commonpool estimate` and the notes of `commonpool policy check`, as people type them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scheduler.main import app

DEMO = Path(__file__).parents[2] / "infra/policies/demo.yaml"
RUN = ("estimate", "--params", "7e9", "--tokens", "1e12")


def test_an_estimate_says_flop_hours_days_and_the_tier():
    """R16."""
    done = CliRunner().invoke(app, RUN)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("7e+09 parameters and 1e+12 tokens take 4.2e+22 FLOP")
    assert lines[1] == "29,479 H100e-hours at 40% MFU; 23,583 at 50%, 39,306 at 30%"
    assert "team             48  25.6  20.5   34.1" in lines
    assert lines[-1].startswith("ask for the tier team (institution in the worst case)")


def test_an_estimate_by_a_policy_is_for_its_own_pools():
    done = CliRunner().invoke(app, [*RUN, "--policy", str(DEMO), "--json"])
    found = json.loads(done.stdout)
    assert [(tier["tier"], tier["h100e"]) for tier in found["tiers"]] == [
        ("team", 8.0),
        ("institution", 16.0),
        ("national", 32.0),
    ]
    assert found["proposal"] == {"best": None, "expected": None, "worst": None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param([*RUN, "--mfu", "40"], "a part of 1", id="per cent for a part"),
        pytest.param(["estimate", "--params", "-1", "--tokens", "1"], "than zero", id="negative"),
        pytest.param(["estimate", "--params", "many", "--tokens", "1"], "'--params'", id="a word"),
        pytest.param([*RUN, "--policy", "none.yaml"], "cannot be read", id="no such file"),
    ],
)
def test_what_cannot_be_reckoned_is_one_complaint(words, said):
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 0
    assert said in done.output
    assert "Traceback" not in done.output


def test_a_policy_with_oddities_is_valid_and_told_of_them(tmp_path):
    file = tmp_path / "old.yaml"
    budget = "{id: b, account: arl, h100e_hours: 1, valid_from: 2019-01-01, valid_to: 2020-01-01}"
    file.write_text(f"{DEMO.read_text()}\nbudgets:\n  - {budget}\n")
    done = CliRunner().invoke(app, ["policy", "check", str(file)])
    assert done.exit_code == 0
    assert done.stdout == f"{file} is a valid policy\n"
    assert "budgets[0].valid_to: 'b' has ended, and 'arl' has no later budget" in done.stderr
