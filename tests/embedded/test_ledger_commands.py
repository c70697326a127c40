"""The commands about sharing and use, against a real hub."""

import json

import pytest


def shown(line, *words, person="dana"):
    done = line.person(person, *words)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_an_empty_ledger_says_how_lending_comes_about(new_line):
    said = shown(new_line, "ledger", "--days", "7")
    assert "nobody lent or borrowed in the last 7 days" in said
    assert "lend_max" in said
    assert "no loan of arl, arl-vision in the last 30 days" in shown(new_line, "ledger", "--loans")
    found = json.loads(shown(new_line, "ledger", "--by", "account", "--json"))
    assert (found["by"], found["balances"], found["loans"]) == ("account", [], [])


def test_usage_is_told_by_account_as_a_tree(line):
    said = shown(line, "usage", "--days", "7")
    assert "  arl" in said
    assert "no budget binds these accounts" in said
    found = json.loads(shown(line, "usage", "--account", "arl", "--json"))
    assert [one["account"] for one in found["accounts"]] == ["arl"]


def test_anothers_usage_is_refused_with_what_is_ones_own(line):
    done = line.person("dana", "usage", "--account", "acme")
    assert done.exit_code == 1
    assert "arl-vision" in done.output


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_entries_are_written_to_a_file(line, tmp_path, ending):
    file = tmp_path / f"entries.{ending}"
    assert f"to {file}" in shown(line, "ledger", "--out", str(file)).replace("\n", "")
    assert file.read_bytes().startswith(b"loan,side" if ending == "csv" else b"PAR1")


def test_a_file_of_another_kind_is_refused(line, tmp_path):
    done = line.person("dana", "ledger", "--out", str(tmp_path / "entries.xlsx"))
    assert done.exit_code == 2
    assert ".parquet" in done.output
