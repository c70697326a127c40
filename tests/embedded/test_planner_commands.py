"""The planner's commands, against a real hub."""

import json

import pytest

from tests.waiting import until


def shown(line, *words, person="dana"):
    done = line.person(person, *words)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def waiting(line):
    """A job that waits: three nodes with eight GPUs are more than its tiers have up."""
    wide = ("--nodes", "2", "--gpus-per-node", "8", "--tier", "national")
    done = line.person("dana", "submit", "--json", *wide, "--", "true")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["id"]


def test_the_queue_is_shown_with_and_without_starts(line, waiting):
    assert waiting in shown(line, "queue")
    assert "expected" in shown(line, "queue", "--start")
    rows = json.loads(shown(line, "queue", "--json"))["jobs"]
    assert waiting in {row["job"] for row in rows}


def test_shares_are_a_tree_and_factors_lead_to_a_job(line, waiting):
    tree = shown(line, "shares")
    assert "  arl" in tree
    assert "halves every" in tree
    assert waiting in shown(line, "prio")
    assert json.loads(shown(line, "prio", "--json"))["jobs"][0]["path"]
    assert json.loads(shown(line, "shares", "--json"))["shares"]


def test_recalls_are_told_to_everybody(line):
    assert "no owner took GPUs back in the last 7 days" in shown(line, "recalls", "--days", "7")
    found = json.loads(shown(line, "recalls", "--json"))
    assert found["pairs"] == found["lenders"] == found["pools"] == []


def test_diag_is_for_admins_and_tells_the_phases(line, waiting):
    del waiting
    said = shown(line, "diag", person="admin")
    assert "this process plans" in said
    assert "commit" in said
    assert json.loads(shown(line, "diag", "--json", person="admin"))["waiting"] >= 1
    assert line.person("dana", "diag").exit_code == 1


def test_what_if_is_asked_of_the_hub(line):
    words = ("what-if", "--weight", "arl=2", "--quota", "arl-vision@national-hub:borrow_max=8")
    assert "no job ended in that time" in shown(line, *words, person="admin")
    found = json.loads(shown(line, *words, "--gpus", "national-hub=64", "--json", person="admin"))
    assert found.keys() == {"jobs", "note", "before", "after"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("--quota", "x"), "ACCOUNT@POOL", id="no quota"),
        pytest.param(("--quota", "a@b:colour=1"), "colour", id="an unknown amount"),
        pytest.param(("--weight", "a"), "NAME=N", id="no amount"),
        pytest.param(("--weight", "a=-1"), "whole number", id="a negative one"),
        pytest.param(("--weight", "a=1", "--since", "monday"), "is no time", id="no time"),
        pytest.param((), "nothing to try", id="nothing at all"),
    ],
)
def test_a_wish_that_makes_no_sense_is_a_usage_error(line, words, said):
    done = line.person("admin", "what-if", *words)
    assert done.exit_code == 2
    assert said in done.output


def test_an_explanation_tells_the_outlook(line, waiting):
    def told():
        return json.loads(shown(line, "explain", waiting, "--json"))

    until(lambda: told()["note"] != "The planner has not looked at it yet.", 30)
    assert told()["verdicts"]
    assert waiting in shown(line, "explain", waiting)
