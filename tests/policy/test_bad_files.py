"""Bad policy files as people meet them: `commonpool policy check`, whole answers."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from scheduler.main import app

DEMO = (Path(__file__).parents[2] / "infra/policies/demo.yaml").read_text()
ACADEMIA = "{id: more, lender: arl-vision, borrower: {sector: academic}, pools: [arl-team], cap: 8"
INDUSTRY = "{id: more, lender: state-u-nlp, borrower: {sector: industry}, pools: [state-u-hpc]"
BUDGET = "\nbudgets:\n  - {id: b, account: arl, h100e_hours: 5"
KEPT = "{pool: national-hub, account: arl, node_count: 3, starts_at: 2027-01-01"


def answer(folder, content, *command):
    file = folder / "policy.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = CliRunner().invoke(app, [*(command or ("policy", "check")), str(file)])
    assert "Traceback" not in done.output
    return file, done


def changed(before, after):
    assert before in DEMO
    return DEMO.replace(before, after, 1)


BAD = [
    pytest.param(
        changed("{name: arl, parent: national", "{name: arl, parent: arl-vision"),
        [
            "line 34: accounts[1].parent: 'arl' is its own ancestor; accounts form one tree",
            "line 35: accounts[2].parent: 'arl-vision' is its own ancestor; accounts form one tree",
        ],
        id="a circle, and nothing of what follows from it",
    ),
    pytest.param(
        changed("account: acme-robotics, pool", "account: acme-robotic, pool"),
        ["line 84: quotas[6].account: no account is named 'acme-robotic'"],
        id="an unknown account",
    ),
    pytest.param(
        changed("owner: state-u\n", "owner: statue\n"),
        ["line 59: pools[1].owner: no account is named 'statue'"],
        id="an unknown owner, and nothing of what follows from it",
    ),
    pytest.param(
        f"{DEMO}\n  - {ACADEMIA}, valid_from: 2027-01-01, valid_to: 2028-01-01}}\n",
        [
            (
                "line 104: agreements[2].valid_from: 'more' overlaps 'arl-lends-academia', "
                "which lends 'arl-team' to the same borrower until 2036-01-01T00:00:00+00:00: make "
                "them one"
            )
        ],
        id="agreements that overlap",
    ),
    pytest.param(
        changed("acme, pool: national-hub, nominal: 8", "acme, pool: national-hub, nominal: 16"),
        [
            (
                "line 83: quotas[5].nominal: with this row the accounts under 'national' have 40 "
                "GPUs of nominal, 'national' itself has 32: give them less, or it more"
            )
        ],
        id="children above their parent's nominal",
    ),
    pytest.param(
        changed("name: acme, parent", "name: acme, weight: 0, parent"),
        [
            (
                "line 38: accounts[5].weight: 0 is not allowed: a whole number, 1 or more; the "
                "larger, the more an account gets among its siblings"
            )
        ],
        id="a weight of zero",
    ),
    pytest.param(
        changed("name: acme, parent", "name: acme, wieght: 2, parent"),
        [
            (
                "line 38: accounts[5].wieght: is not known here; known are approvers, auditors, "
                "leads, members, name, operators, parent, sector, weight"
            )
        ],
        id="an unknown field",
    ),
    pytest.param(
        changed("nominal: 16, lend_max: 16, borrow_max: 0", "nominal: lots"),
        ['line 78: quotas[0].nominal: "lots" is not allowed: GPUs guaranteed, 0 or more'],
        id="a word for a number",
    ),
    pytest.param(
        changed("version: 1", "version: [1"),
        [
            (
                "line 8: (the file): not YAML: expected ',' or ']', but got ':', while parsing a "
                "flow sequence begun in line 6"
            )
        ],
        id="an open bracket",
    ),
    pytest.param(
        changed("  half_life", "\thalf_life"),
        [
            (
                "line 9: (the file): not YAML: found character '\\t' that cannot start any token: "
                "indent with spaces"
            )
        ],
        id="a tab",
    ),
    pytest.param(
        changed("  reserve_depth: 1 ", "  reserve_depth: 1\n  reserve_depth: 3 "),
        ["line 11: rules.reserve_depth: is written twice, first in line 10"],
        id="a key twice",
    ),
    pytest.param(
        f"{DEMO}{BUDGET}, valid_from: 2027-01-01, valid_to: 2026-01-01}}\n",
        [
            (
                "line 105: budgets[0].valid_to: 2026-01-01T00:00:00+00:00 is not after valid_from "
                "2027-01-01T00:00:00+00:00"
            )
        ],
        id="a budget that ends before it begins",
    ),
    pytest.param(
        f"{DEMO}\nreservations:\n  - {KEPT}, id: r1, ends_at: 2027-01-03}}\n"
        f"  - {KEPT}, id: r2, ends_at: 2027-01-02}}\n",
        [
            (
                "line 106: reservations[1].starts_at: with 'r1' at the same time, 6 nodes of "
                "'national-hub' would be taken, which has 4"
            )
        ],
        id="reservations that overlap",
    ),
    pytest.param(
        changed(
            "state-u-hpc, nominal: 16, lend_max: 16", "state-u-hpc, nominal: 16, lend_max: 6"
        ).replace("cap: 8", "cap: 4")
        + f"\n  - {INDUSTRY}, cap: 7, valid_from: 2026-01-01, valid_to: 2027-01-01}}\n",
        [
            (
                "line 104: agreements[2].cap: 7 GPUs, but 'state-u-nlp' may lend 6 of its pools "
                "(lend_max, its own and of those above it)"
            )
        ],
        id="a cap beyond the lend_max of a lender who owns nothing",
    ),
    pytest.param("", ["line 1: (the file): is empty"], id="nothing"),
    pytest.param(
        changed("ARL vision", "ARL visi\u00f3n").encode("latin-1"),
        [
            (
                "line 42: (the file): is not UTF-8 text (byte 0xf3): convert it, with iconv -t "
                "UTF-8 for example"
            )
        ],
        id="Latin-1",
    ),
    pytest.param(
        changed("cap: 8", "cap: -8").replace("\n", "\r\n"),
        [
            (
                "line 91: agreements[0].cap: -8 is not allowed: GPUs lent at once over all its "
                "pools, 1 or more"
            )
        ],
        id="a mistake with Windows line ends",
    ),
]


@pytest.mark.parametrize(("content", "told"), BAD)
def test_a_bad_policy_is_told_by_file_line_field_value_and_next_step(tmp_path, content, told):
    file, done = answer(tmp_path, content)
    assert done.exit_code == 2
    first, *middle, last = done.stderr.splitlines()
    assert first.startswith(f"error: {file} has ")
    assert middle == [f"  | {line}" for line in told]
    assert last.startswith("  next: correct it and run commonpool policy check")
    assert done.stdout == ""


def test_a_good_policy_of_another_system_is_taken(tmp_path):
    _, done = answer(tmp_path, ("\ufeff" + DEMO.replace("\n", "\r\n")).encode())
    assert done.exit_code == 0, done.output


def test_a_bad_policy_is_not_applied_at_all(tmp_path):
    """What was in force before is in force after, with the same revision."""
    where = ("--data", str(tmp_path / "hub"))
    assert CliRunner().invoke(app, ["admin", "migrate", *where]).exit_code == 0
    _, first = answer(tmp_path, DEMO, "policy", "apply", *where)
    assert "revision 1 is now in force" in first.output
    _, bad = answer(tmp_path, changed("cap: 8", "cap: 99"), "policy", "apply", *where)
    assert bad.exit_code == 2
    assert CliRunner().invoke(app, ["policy", "show", *where]).stdout == DEMO
    _, again = answer(tmp_path, DEMO, "policy", "apply", *where)
    assert "revision 1 is in force already: nothing changed" in again.output
