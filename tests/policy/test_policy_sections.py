"""Labels, budgets, reservations and the knobs of the rules: read as meant, refused by line."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import policy_file
from scheduler.core.model import Budget, Label, Reservation, Sector

DEMO = (Path(__file__).parents[2] / "infra/policies/demo.yaml").read_text()
MORE = """
labels:
  - {name: public, level: 0}
  - {name: controlled, level: 1}
  - {name: export-controlled, level: 2, compartments: [itar]}

budgets:
  - {id: arl-fy26, account: arl, h100e_hours: 5000, valid_from: 2026-01-01, valid_to: 2027-01-01}
  - {id: arl-fy27, account: arl, h100e_hours: 6000, valid_from: 2027-01-01, valid_to: 2028-01-01}
  - {id: vision-fy26, account: arl-vision, h100e_hours: 9000, valid_from: 2026-01-01, valid_to: 2027-01-01}

reservations:
  - {id: demo-day, pool: national-hub, account: arl, node_count: 2, starts_at: "2026-09-01T09:00:00-04:00", ends_at: 2026-09-02, reason: demo day}
  - {id: rack, pool: national-hub, account: arl, nodes: [hub-7, hub-8], starts_at: 2026-09-01, ends_at: 2026-09-03, no_show: 2h}

maintenance:
  - {id: cooling, pool: national-hub, starts_at: 2026-10-01, ends_at: 2026-10-02, reason: new chillers}
  - {id: disk, pool: state-u-hpc, nodes: [b-1], starts_at: 2026-10-01, ends_at: 2026-10-02}
  - {id: fans, pool: state-u-hpc, node_count: 1, starts_at: 2026-10-01, ends_at: 2026-10-02}
"""  # noqa: E501  # a row of YAML is a line
WHOLE = DEMO + MORE


def day(month: int, number: int, hour: int = 0, year: int = 2026) -> datetime:
    return datetime(year, month, number, hour, tzinfo=UTC)


def test_every_section_means_what_it_says():
    """R4, R7, R14. A child's budget may be beyond its parent's: both bind."""
    policy = policy_file.load(WHOLE, 3)
    assert policy.labels[1:] == (
        Label("controlled", 1),
        Label("export-controlled", 2, frozenset({"itar"})),
    )
    assert policy.budgets[0] == Budget("arl-fy26", "arl", 5000, day(1, 1), day(1, 1, year=2027))
    starts, ends = day(9, 1, 13), day(9, 2)
    assert policy.reservations == (
        Reservation("demo-day", "national-hub", "arl", 2, starts, ends, reason="demo day"),
        Reservation(
            "rack",
            "national-hub",
            "arl",
            2,
            day(9, 1),
            day(9, 3),
            frozenset({"hub-7", "hub-8"}),
            timedelta(hours=2),
        ),
        Reservation(
            "cooling", "national-hub", None, 4, day(10, 1), day(10, 2), reason="new chillers"
        ),
        Reservation("disk", "state-u-hpc", None, 1, day(10, 1), day(10, 2), frozenset({"b-1"})),
        Reservation("fans", "state-u-hpc", None, 1, day(10, 1), day(10, 2)),
    )


def test_a_pool_may_be_for_some_sectors_and_say_what_it_offers():
    """R13."""
    text = DEMO.replace(
        "backend: ray_shared", "backend: ray_shared\n    sectors: [dod]\n    software: [cuda-12.4]"
    )
    pool = policy_file.load(text, 1).pools[0]
    assert (pool.sectors, pool.software) == (frozenset({Sector.DOD}), frozenset({"cuda-12.4"}))


FY26 = "account: arl, h100e_hours: 5000, valid_from: 2026-01-01, valid_to: 2027-01-01"
DAY = "account: arl, node_count: 2, starts_at"
RACK = "nodes: [hub-7, hub-8], starts_at: 2026-09-01"

MISTAKES = [
    pytest.param(
        "labels: [public]",
        "labels: [publik]",
        "users[1].labels",
        "'publik' is not in the lattice",
        id="a person's label that the lattice lacks (R14)",
    ),
    pytest.param(
        "{name: public, level: 0}",
        "{name: open, level: 0}",
        "pools[1].labels",
        "left out, this field means public",
        id="a pool's label that the lattice lacks",
    ),
    pytest.param(
        "name: controlled, level: 1",
        "name: public, level: 1",
        "labels[1].name",
        "names are unique",
        id="two labels of one name",
    ),
    pytest.param("level: 0", "level: -1", "labels[0].level", "0 or more", id="a level below zero"),
    pytest.param("level: 0", "level: low", "labels[0].level", "0 or more", id="a level in words"),
    pytest.param(
        "account: arl, h1",
        "account: arm, h1",
        "budgets[0].account",
        "no account is named 'arm'",
        id="nobody's budget",
    ),
    pytest.param(
        "h100e_hours: 5000", "h100e_hours: 0", "budgets[0].h100e_hours", "1 or more", id="no hours"
    ),
    pytest.param(
        FY26,
        FY26.replace("2027", "2026"),
        "budgets[0].valid_to",
        "not after",
        id="a budget of no time",
    ),
    pytest.param(
        FY26,
        FY26.replace("2027-01-01", "2027-01-02"),
        "budgets[1].valid_from",
        "'arl-fy27' begins before 'arl-fy26' of 'arl' ends",
        id="two budgets at one time (R4)",
    ),
    pytest.param(
        "id: arl-fy27", "id: arl-fy26", "budgets[1].id", "unique", id="two budgets of one id"
    ),
    pytest.param(
        DAY,
        DAY.replace("arl", "arm"),
        "reservations[0].account",
        "no account",
        id="kept for nobody",
    ),
    pytest.param(
        "id: rack, pool: national-hub",
        "id: rack, pool: moon",
        "reservations[1].pool",
        "no pool is named 'moon'",
        id="a reservation of no pool",
    ),
    pytest.param(
        DAY,
        DAY.replace("2", "5"),
        "reservations[0].node_count",
        "5 nodes, but 'national-hub' has 4",
        id="more nodes than the pool has",
    ),
    pytest.param(
        DAY,
        DAY.replace("2", "3"),
        "reservations[0].starts_at",
        "with 'rack' at the same time, 5 nodes of 'national-hub' would be taken, which has 4",
        id="more than the pool has together (R7)",
    ),
    pytest.param(
        DAY,
        DAY.replace("node_count: 2", "nodes: [hub-1, hub-8]"),
        "reservations[0].starts_at",
        "'rack' has hub-8 until 2026-09-03",
        id="a node that is kept twice (R7)",
    ),
    pytest.param(
        DAY,
        DAY.replace("node_count: 2", "node_count: 2, nodes: [hub-1]"),
        "reservations[0]",
        "either node_count, or nodes",
        id="nodes by number and by name",
    ),
    pytest.param(
        DAY, DAY.replace("node_count: 2, ", ""), "reservations[0]", "either", id="no nodes at all"
    ),
    pytest.param(
        RACK,
        RACK + ", starts_at: 2026-09-02",
        "reservations[1].starts_at",
        "twice",
        id="two starts",
    ),
    pytest.param(
        RACK, RACK.replace("2026", "2027"), "reservations[1].ends_at", "not after", id="backwards"
    ),
    pytest.param(
        "2026-09-01T09:00:00-04:00",
        "2026-09-01T09:00:00",
        "reservations[0].starts_at",
        "offset",
        id="no zone",
    ),
    pytest.param(
        "no_show: 2h", "no_show: 0h", "reservations[1].no_show", "zero", id="no time to come"
    ),
    pytest.param(
        "{id: cooling,", "{id: rack,", "maintenance[0].id", "names are unique", id="one id for two"
    ),
    pytest.param(
        "id: cooling, pool: national-hub",
        "id: cooling, pool: state-u-hpc",
        "maintenance[1].starts_at",
        "3 nodes of 'state-u-hpc' would be taken",
        id="maintenance of what is under maintenance",
    ),
    pytest.param(
        "{id: cooling, pool: national-hub,",
        "{id: cooling, account: arl, pool: national-hub,",
        "maintenance[0].account",
        "is not known here",
        id="maintenance for somebody",
    ),
    pytest.param(
        "backend: ray_shared",
        "sectors: [navy]",
        "pools[0].sectors[0]",
        "not one of dod",
        id="no sector",
    ),
    pytest.param(
        "backend: ray_shared",
        "software: [CUDA 12]",
        "pools[0].software[0]",
        "lower-case",
        id="no name",
    ),
    pytest.param(
        "name: acme, parent",
        "name: acme, weight:, parent",
        "accounts[5].weight",
        "null is not allowed: a whole number, 1 or more",
        id="a weight that is missing (R1)",
    ),
    pytest.param(
        "half_life: 14d",
        "half_life:",
        "rules.half_life",
        "null is not allowed",
        id="a half-life that is missing (R1)",
    ),
    pytest.param(
        "cap: 8",
        "cap: 17",
        "agreements[0].cap",
        "17 GPUs, but 'state-u' may lend 16",
        id="more lent than may be lent (R1)",
    ),
    pytest.param(
        "lend_max: 16",
        "lend_max: 4",
        "agreements[0].cap",
        "8 GPUs, but 'state-u' may lend 4",
        id="a cap beyond what the owner's accounts lend",
    ),
    pytest.param(
        "lender: arl-vision\n    borrower: {sector: academic}\n    pools: [arl-team]",
        "lender: state-u\n    borrower: {sector: industry}\n    pools: [state-u-hpc]",
        "agreements[1].valid_from",
        "'arl-lends-academia' overlaps 'state-u-lends-industry'",
        id="two agreements about the same",
    ),
]


def problems(text: str) -> list[tuple[str, str]]:
    return [(p.field, p.reason) for p in policy_file.check(text)]


@pytest.mark.parametrize(("before", "after", "field", "reason"), MISTAKES)
def test_a_mistake_is_told_by_field_and_reason(before, after, field, reason):
    assert before in WHOLE
    told = problems(WHOLE.replace(before, after, 1))
    assert any(f == field and reason in r for f, r in told), told


def test_a_problem_stands_on_its_own_line_in_its_own_section():
    text = WHOLE.replace("{id: disk, pool: state-u-hpc", "{id: disk, pool: moon")
    (problem,) = policy_file.check(text)
    assert "id: disk" in text.splitlines()[problem.line - 1]
    assert str(problem).endswith("maintenance[1].pool: no pool is named 'moon'")


def test_two_agreements_may_follow_each_other():
    again = DEMO[DEMO.index("  - id: state-u-lends-industry") : DEMO.index("  - id: arl-lends")]
    later = again.replace("2036-01-01", "2037-01-01").replace("2026-01-01", "2036-01-01")
    assert problems(DEMO + later.replace("id: state-u-lends", "id: later")) == []


def test_a_hardware_row_is_dated_forwards_and_once():
    """R15."""
    row = (
        "  - {model: X1, memory_gib: 5, factor: 9, valid_from: 2027-01-01, source: a, valid_to: %s}"
    )
    rows = "hardware:\n" + row % "2028-01-01" + "\n" + row % "2029-01-01"
    assert problems(DEMO + "\n" + rows) == [
        ("hardware[1].valid_from", "there is a row for X1 from that day on already")
    ]
    assert problems(DEMO + "\nhardware:\n" + row % "2027-01-01") == [
        ("hardware[0]", "valid_to is not after valid_from")
    ]


def test_what_is_odd_is_told_and_not_refused():
    told = policy_file.warnings(WHOLE, day(6, 1, year=2027))
    lines = WHOLE.splitlines()
    assert [(w.field, lines[w.line - 1].split(",")[0].strip(" -{")) for w in told] == [
        ("budgets[2].valid_to", "id: vision-fy26"),
        ("reservations[0].ends_at", "id: demo-day"),
        ("reservations[1].ends_at", "id: rack"),
        ("maintenance[0].ends_at", "id: cooling"),
        ("maintenance[1].ends_at", "id: disk"),
        ("maintenance[2].ends_at", "id: fans"),
    ]
    assert policy_file.warnings(WHOLE, day(6, 1)) == ()
    assert policy_file.warnings("version: 1", day(6, 1)) == ()


@pytest.mark.parametrize(
    ("before", "after", "field", "reason"),
    [
        pytest.param(
            "account: arl, node_count: 2",
            "account: acme, node_count: 2",
            None,
            "",
            id="an account below the owner may be kept nodes for",
        ),
        pytest.param(
            "id: demo-day, pool: national-hub",
            "id: demo-day, pool: state-u-hpc",
            "reservations[0].account",
            "no agreement lets it in",
            id="nodes kept for an outsider",
        ),
        pytest.param(
            "account: arl, node_count: 2",
            "account: acme-robotics, node_count: 2, no_show: 1h",
            None,
            "",
            id="kept for a team",
        ),
        pytest.param(
            "id: national-hub\n",
            "id: national-hub\n    sectors: [dod]\n",
            "quotas[4].account",
            "its jobs never run there",
            id="a quota for a sector that the pool does not take",
        ),
        pytest.param(
            "reserve_depth: 1",
            "reserve_depth: 0\n  hold_depth: 0",
            "rules.hold_depth",
            "no job ever gets a planned start",
            id="nobody is ever planned for (R12)",
        ),
    ],
)
def test_each_oddity_is_told_where_it_stands(before, after, field, reason):
    assert before in WHOLE
    told = policy_file.warnings(WHOLE.replace(before, after, 1), day(6, 1))
    if field is None:
        assert told == ()
    else:
        assert any(w.field == field and reason in w.reason for w in told), told


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_to_a_section_is_more_than_a_problem(data):
    """Whatever one line becomes, the answer is a list of problems, never an exception."""
    lines = WHOLE.splitlines()
    first = len(DEMO.splitlines())
    junk = st.text(max_size=20) | st.sampled_from(["", "- ", "x: 1", "  - {}", "labels: []"])
    lines[data.draw(st.integers(first, len(lines) - 1))] = data.draw(junk)
    text = "\n".join(lines)
    if not policy_file.check(text):
        policy_file.warnings(text, day(6, 1))
