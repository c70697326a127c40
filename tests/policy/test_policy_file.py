"""The policy file: what it accepts, and that every mistake is told by line, field and reason."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import policy_file
from scheduler.core import hardware
from scheduler.core.model import Backend, Sector, Tier

DEMO = (Path(__file__).parents[2] / "infra/policies/demo.yaml").read_text()


def test_the_demo_policy_is_accepted_and_means_what_it_says():
    policy = policy_file.load(DEMO, 7)
    assert policy.revision == 7
    assert [(p.id, p.tier, p.owner, p.capacity, p.backend) for p in policy.pools] == [
        ("arl-team", Tier.TEAM, "arl-vision", 8, Backend.RAY_SHARED),
        ("state-u-hpc", Tier.INSTITUTION, "state-u", 16, Backend.RAY_PRIVATE),
        ("national-hub", Tier.NATIONAL, "national", 32, Backend.RAY_PRIVATE),
    ]
    lent = policy.agreements[0]
    assert (lent.borrower, lent.cap, lent.recall_notice) == (
        Sector.INDUSTRY,
        8,
        timedelta(seconds=10),
    )
    assert lent.valid_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert policy.tier_rules(Tier.TEAM).max_time_limit == timedelta(days=7)


def changed(before: str, after: str) -> list[tuple[str, str]]:
    """The problems (field, reason) of the demo policy with one piece replaced."""
    assert before in DEMO
    text = DEMO.replace(before, after, 1)
    problems = policy_file.check(text)
    lines = text.splitlines()
    assert all(1 <= problem.line <= len(lines) for problem in problems)
    return [(problem.field, problem.reason) for problem in problems]


NLP = "{account: state-u-nlp, pool: national-hub, nominal: 16, lend_max: 16, borrow_max: 16}"

MISTAKES = [
    pytest.param(
        "half_life: 14d",
        "half_life: 0d",
        "rules.half_life",
        "more than zero",
        id="a zero half-life (Kueue #15228)",
    ),
    pytest.param(
        "half_life: 14d",
        "half_life: -1d",
        "rules.half_life",
        "more than zero",
        id="a negative half-life",
    ),
    pytest.param(
        "half_life: 14d",
        "half_life: 99999d",
        "rules.half_life",
        "longer than",
        id="a half-life of centuries",
    ),
    pytest.param(
        "name: acme, parent",
        "name: acme, weight: 0, parent",
        "accounts[5].weight",
        "1 or more",
        id="a zero weight (Kueue #6925)",
    ),
    pytest.param(
        "name: acme, parent",
        "name: acme, weight: -2, parent",
        "accounts[5].weight",
        "1 or more",
        id="a negative weight",
    ),
    pytest.param(
        "name: acme, parent",
        "name: acme, weight: 1.5, parent",
        "accounts[5].weight",
        "whole number",
        id="half a weight",
    ),
    pytest.param(
        "node_count: 2",
        "node_count: 0",
        "pools[1].node_count",
        "1 or more",
        id="a pool without nodes",
    ),
    pytest.param(
        "cap: 8", "cap: 0", "agreements[0].cap", "1 or more", id="an agreement that lends nothing"
    ),
    pytest.param(
        "max_time_limit: 7d",
        "max_time_limit: 1m",
        "tiers.team.default_time_limit",
        "more than max_time_limit",
        id="a default limit beyond the longest",
    ),
    pytest.param(
        "name: iris,",
        "name: alex,",
        "users[2].name",
        "names are unique",
        id="two users of one name",
    ),
    pytest.param(
        "{name: acme, parent: national",
        "{name: acme, parent: nowhere",
        "accounts[5].parent",
        "no account is named 'nowhere'",
        id="an unknown parent",
    ),
    pytest.param(
        "{name: arl, parent: national",
        "{name: arl, parent: arl-vision",
        "accounts[1].parent",
        "its own ancestor",
        id="a circle of accounts",
    ),
    pytest.param(
        "{name: arl, parent: national,",
        "{name: arl,",
        "accounts[1]",
        "accounts form one tree",
        id="a second root",
    ),
    pytest.param(
        "members: [dana]",
        "members: [dora]",
        "accounts[2].members",
        "no user is named 'dora'",
        id="an unknown member",
    ),
    pytest.param(
        "{name: arl, parent: national,",
        "{name: arl, members: [dana], parent: national,",
        "accounts[1].members",
        "only accounts without any",
        id="a member of an inner account",
    ),
    pytest.param(
        "site: state-u\n",
        "site: statue\n",
        "pools[1].site",
        "no site is named",
        id="an unknown site",
    ),
    pytest.param(
        "owner: state-u\n",
        "owner: statue\n",
        "pools[1].owner",
        "no account is named",
        id="an unknown owner",
    ),
    pytest.param(
        "gpu_model: H100",
        "gpu_model: H1000",
        "pools[0].gpu_model",
        "known are A100, B200, H100",
        id="an unknown GPU model",
    ),
    pytest.param(
        "  national: {default",
        "  frontier: {default",
        "tiers.frontier",
        "is written twice",
        id="a tier that is there twice",
    ),
    pytest.param(
        "lend_max: 8",
        "lend_max: 9",
        "quotas[1].lend_max",
        "9 is more than nominal 8",
        id="more lent than there is",
    ),
    pytest.param(
        "nominal: 8, lend_max: 8, borrow_max: 24",
        "nominal: 18, lend_max: 18, borrow_max: 24",
        "quotas[5].nominal",
        "have 42 GPUs of nominal, 'national' itself has 32",
        id="children with more than their parent",
    ),
    pytest.param(
        NLP,
        NLP.replace("lend_max: 16", "lend_max: 6"),
        "quotas[4].lend_max",
        "keep 10 GPUs for themselves",
        id="a home larger than the parent's",
    ),
    pytest.param(
        "{account: arl, pool: national-hub",
        "{account: arl, pool: state-u-hpc",
        "quotas[1].account",
        "outsiders need an agreement",
        id="a quota for an outsider",
    ),
    pytest.param(
        NLP,
        NLP + "\n  - " + NLP,
        "quotas[5]",
        "has a quota in 'national-hub' already",
        id="two rows for one account and pool",
    ),
    pytest.param(
        NLP,
        NLP.replace("state-u-nlp", "national"),
        "quotas[4].account",
        "leave the row out",
        id="a row for the pool's owner",
    ),
    pytest.param(
        "lender: state-u\n",
        "lender: acme\n",
        "agreements[0].lender",
        "neither owns",
        id="a lender who has nothing there",
    ),
    pytest.param(
        "borrower: {sector: industry}",
        "borrower: {account: state-u-nlp}",
        "agreements[0].borrower",
        "give it a quota instead",
        id="a borrower who is at home",
    ),
    pytest.param(
        "borrower: {sector: industry}",
        "borrower: {}",
        "agreements[0].borrower",
        "",
        id="a borrower who is nobody",
    ),
    pytest.param(
        "pools: [state-u-hpc]",
        "pools: [moon]",
        "agreements[0].pools",
        "no pool is named 'moon'",
        id="an agreement about an unknown pool",
    ),
    pytest.param(
        "valid_to: 2036-01-01",
        "valid_to: 2025-01-01",
        "agreements[0].valid_to",
        "not after valid_from",
        id="an agreement that ends before it begins",
    ),
    pytest.param(
        "valid_to: 2036-01-01",
        "valid_to: 2036-02-30",
        "agreements[0]",
        "day is out of range",
        id="a day that does not exist",
    ),
    pytest.param(
        "valid_to: 2036-01-01",
        "valid_to: 2036-01-01T00:00:00",
        "agreements[0].valid_to",
        "with its offset",
        id="an instant without its zone",
    ),
    pytest.param(
        "sector: industry, members",
        "sektor: industry, members",
        "accounts[6].sektor",
        "known are approvers, auditors, leads, members, name",
        id="a misspelt field",
    ),
    pytest.param(
        "version: 1",
        "version: 2",
        "version",
        "the version of this format",
        id="another version of the format",
    ),
]


@pytest.mark.parametrize(("before", "after", "field", "reason"), MISTAKES)
def test_a_mistake_is_told_by_field_and_reason(before, after, field, reason):
    """R1: a zero, negative or missing weight, half-life, capacity or limit is refused."""
    assert any(f == field and reason in r for f, r in changed(before, after)), changed(
        before, after
    )


def test_every_mistake_is_told_at_once_with_its_line():
    text = DEMO.replace("weight", "w").replace("half_life: 14d", "half_life: 0s")
    text = text.replace("cap: 8", "cap: -8").replace("members: [iris]", "members: [irma]")
    problems = policy_file.check(text)
    lines = text.splitlines()
    assert [(p.field, lines[p.line - 1].split(":")[0].strip(" -")) for p in problems] == [
        ("rules.half_life", "half_life"),
        ("accounts[6].members", "{name"),
        ("agreements[0].cap", "cap"),
        ("agreements[1].cap", "cap"),
    ]


def test_a_refused_policy_carries_its_problems():
    with pytest.raises(policy_file.PolicyRefused, match="line 1: accounts: is missing") as caught:
        policy_file.load("version: 1", 1)
    assert {p.field for p in caught.value.problems} >= {"accounts", "pools", "tiers", "users"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("a: [", "not YAML", id="an open bracket"),
        pytest.param("a: &x 1\nb: *x", "anchors and aliases", id="an alias, that could unfold"),
        pytest.param("[" * 3000, "nested too deeply", id="three thousand brackets"),
        pytest.param("a: \x00", "special characters", id="a control character"),
        pytest.param("a: !!python/object:os.system 1", "not YAML", id="a Python object"),
        pytest.param(
            "version: " + "9" * 5000, "larger than any here", id="a number of 5000 digits"
        ),
        pytest.param("- 1", "is no policy: that is a mapping", id="a list"),
        pytest.param("a: 1\na: 2", "is written twice", id="a key that is there twice"),
        pytest.param("x" * 4_000_001, "longer than 4,000,000", id="four megabytes"),
    ],
)
def test_a_text_that_is_no_policy_is_refused_in_one_line(text, reason):
    problems = policy_file.check(text)
    assert any(reason in problem.reason for problem in problems)
    assert all(len(str(problem)) < 1000 and "\n" not in str(problem) for problem in problems)


def test_what_is_left_out_takes_its_default():
    document = yaml.safe_load(DEMO)
    del document["rules"], document["agreements"][0]["recall_notice"]
    document["quotas"][0] = {"account": "state-u-nlp", "pool": "state-u-hpc", "nominal": 4}
    for agreement in document["agreements"]:
        agreement["valid_from"], agreement["valid_to"] = "2026-01-01", "2036-01-01T12:00:00+02:00"
    policy = policy_file.load(yaml.safe_dump(document), 1)
    assert policy.rules.half_life == timedelta(days=14)
    assert (policy.quotas[0].lend_max, policy.quotas[0].borrow_max) == (4, 0)
    assert policy.agreements[0].recall_notice == timedelta(seconds=10)  # its tier's
    assert policy.agreements[0].valid_to == datetime(2036, 1, 1, 10, tzinfo=UTC)


def test_a_hardware_row_supersedes_the_table_from_its_date_on():
    """R15: a new row changes no old bill."""
    rows = """
hardware:
  - {model: H100, memory_gib: 80, factor: 900, valid_from: 2027-01-01, source: a new benchmark}
  - {model: X1, memory_gib: 500, factor: 9000, valid_from: 2026-01-01, source: its maker}
"""
    table = policy_file.load(DEMO + rows, 1).hardware
    assert hardware.factor(table, "H100", datetime(2026, 6, 1, tzinfo=UTC)) == 1000
    assert hardware.factor(table, "H100", datetime(2027, 6, 1, tzinfo=UTC)) == 900
    assert hardware.factor(table, "X1", datetime(2027, 6, 1, tzinfo=UTC)) == 9000


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_to_the_file_is_more_than_a_problem(data):
    """Whatever one line becomes, the answer is a list of problems, never an exception."""
    lines = DEMO.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    junk = st.one_of(
        st.text(max_size=20), st.sampled_from(["", "- ", "x: 1", "  - {}", "pools: 3", "users: []"])
    )
    lines[at] = data.draw(junk)
    text = "\n".join(lines)
    problems = policy_file.check(text)
    if not problems:
        assert policy_file.load(text, 1).accounts
