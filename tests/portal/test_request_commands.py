"""The commands for requests and for the audit log, against a hub of its own."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scheduler.api.app import create_app
from scheduler.clock import SystemClock
from scheduler.config import HubSettings
from scheduler.hub import build_hub
from scheduler.main import app
from tests.portal.fake_hub import serving
from tests.portal.test_governance import prepared

POLICY_FILE = "infra/policies/demo.yaml"


@pytest.fixture
def line(tmp_path):
    """Return a function that runs a command as somebody."""

    tokens = asyncio.run(prepared(tmp_path, Path(POLICY_FILE).read_text(encoding="utf-8")))
    state = build_hub(HubSettings(data=tmp_path), SystemClock()).state
    with serving(create_app(state)) as url:

        def run(who, *words):
            command = [*words, "--hub", url, "--token", tokens[who]]
            return CliRunner().invoke(app, command)

        yield run
    asyncio.run(state.db.close())


BUDGET = (
    *("create", "budget", "--set", "id=arl-2026", "--set", "account=arl"),
    *("--set", "h100e_hours=5", "--set", "valid_from=2026-01-01T00:00Z"),
    *("--set", "valid_to=2030-01-01T00:00Z", "--reason", "the [next] milestone"),
)

AGREEMENT = (
    *("create", "agreement", "--set", "id=uni-arl", "--set", "lender=state-u"),
    *("--set", "borrower_account=arl", "--set", "pools=state-u-hpc", "--set", "cap=8"),
    *("--set", "valid_from=2026-01-01T00:00Z", "--set", "valid_to=2030-01-01T00:00Z"),
    *("--reason", "evenings"),
)


def asked(line):
    made = line("dana", "request", *BUDGET, "--json")
    assert made.exit_code == 0, made.output
    return json.loads(made.output)["id"]


def test_a_budget_is_asked_for_approved_and_audited(line):
    name = asked(line)
    waits = line("lee", "request", "list", "--waiting").output
    assert name in waits
    assert "awaits you" in waits
    shown = line("lee", "request", "show", name, "--impact").output
    assert "the [next] milestone" in shown
    assert "budgets: arl-2026 is new" in shown
    done = line("lee", "request", "approve", name, "--reason", "as planned")
    assert "in force as policy revision 2" in done.output
    again = line("dana", "request", "withdraw", name, "--reason", "late")
    assert again.exit_code == 1
    rows = line("audra", "audit", "list", "--object", f"request:{name}").output
    assert "request.approve" in rows
    verdict = line("audra", "audit", "verify")
    assert (verdict.exit_code, "the chain holds" in verdict.output) == (0, True)


def test_several_are_decided_with_one_reason_each_with_its_own_result(line):
    plain = asked(line)
    two = line("alex", "request", *AGREEMENT, "--json")
    assert two.exit_code == 0, two.output
    shared = json.loads(two.output)["id"]
    done = line("lee", "request", "approve", plain, "nothing", shared, "--reason", "as planned")
    assert done.exit_code == 1, "one of them is not there"
    said = {row.partition(" ")[0]: row for row in done.output.splitlines()}
    assert "in force as policy revision 2" in said[plain]
    assert "needs another approver: it has 1 of 2 approvers" in said[shared]
    assert "not decided. There is no request" in said["nothing:"]
    again = line("lee", "request", "approve", shared, plain, "--reason", "as planned", "--json")
    assert again.exit_code == 0, again.output
    assert [(one["ok"], one["state"]) for one in json.loads(again.output)] == [
        (True, "open"),
        (True, "applied"),
    ]


def test_one_digest_is_not_of_several_texts_and_a_reason_is_needed(line):
    name = asked(line)
    several = ("approve", name, "another", "--reason", "x", "--digest", "7d" * 32)
    answer = line("lee", "request", *several)
    assert (answer.exit_code, "one text" in answer.output) == (2, True)
    assert line("lee", "request", "deny", name, "--reason", " ").exit_code == 2
    assert "open" in line("lee", "request", "show", name).output


def test_an_export_is_verified_from_its_file_and_a_changed_one_is_not(line, tmp_path):
    asked(line)
    file, checkpoint = tmp_path / "audit.jsonl", tmp_path / "checkpoint.json"
    assert line("audra", "audit", "checkpoint", "--out", str(checkpoint)).exit_code == 0
    assert line("audra", "audit", "export", str(file)).exit_code == 0
    where = ("audit", "verify", "--file", str(file), "--checkpoint", str(checkpoint))
    assert "and the checkpoint fits" in line("audra", *where).output
    file.write_text(file.read_text().replace("dana", "evey"))
    broken = line("audra", *where)
    assert broken.exit_code == 1
    assert "BROKEN at row" in broken.output


BAD = [
    pytest.param(("create", "budget", "--reason", "x"), "id", id="fields are missing"),
    pytest.param(("create", "policy", "--reason", "x"), "--file", id="a policy without a file"),
    pytest.param((*BUDGET, "--set", "hours"), "FIELD=VALUE", id="no value"),
    pytest.param(("create", "project", "--reason", "x", "--quota", "p=x"), "POOL", id="a quota"),
]


@pytest.mark.parametrize(("words", "told"), BAD)
def test_a_command_that_makes_no_sense_ends_with_2_and_says_why(line, words, told):
    answer = line("dana", "request", *words)
    assert answer.exit_code == 2
    assert told in answer.output


def test_an_earlier_revision_is_proposed_anew_and_a_second_person_puts_it_in_force(line):
    first = line("lee", "policy", "show").output
    line("lee", "request", "approve", asked(line), "--reason", "as planned")
    assert line("lee", "policy", "show").output != first
    looked = line("lee", "policy", "rollback", "1", "--reason", "too soon", "--dry-run")
    assert "budgets: arl-2026 is gone" in looked.output, looked.output
    assert line("pat", "request", "list", "--waiting").output == "nothing awaits you\n"
    made = line("lee", "policy", "rollback", "1", "--reason", "too soon", "--json")
    assert made.exit_code == 0, made.output
    name = json.loads(made.output)["id"]
    assert json.loads(made.output)["reason"] == "Back to revision 1: too soon"
    own = line("lee", "request", "approve", name, "--reason", "mine")
    assert (own.exit_code, "asked for themselves" in own.output) == (1, True)
    done = line("pat", "request", "approve", name, "--reason", "agreed")
    assert "in force as policy revision 3" in done.output
    assert line("lee", "policy", "show").output == first
    listed = line("lee", "policy", "revisions").output.splitlines()
    assert [row.split()[0] for row in listed] == ["revision", "3", "2", "1"]
    again = line("lee", "policy", "rollback", "1", "--reason", "once more")
    assert (again.exit_code, "nothing would change" in again.output) == (2, True)
    absent = line("lee", "policy", "rollback", "9", "--reason", "x")
    assert absent.exit_code == 1
    assert "revision" in absent.output
