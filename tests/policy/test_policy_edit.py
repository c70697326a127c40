"""Rows are put into a policy's text, and nothing else of it moves."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scheduler import policy_file
from scheduler.policy_edit import Put, edited, rows_of
from scheduler.policy_text import Document

DEMO = (Path(__file__).parents[2] / "infra/policies/demo.yaml").read_text(encoding="utf-8")
BUDGET = {
    "id": "b1",
    "account": "arl",
    "h100e_hours": 10,
    "valid_from": "2026-01-01",
    "valid_to": "2027-01-01",
}


def put(section, row, *by):
    return Put(section, row, by or ("id",))


def test_a_row_is_added_at_the_end_of_its_section_and_comments_stay():
    user = {"name": "zoe", "labels": ["public"]}
    text = edited(DEMO, [put("users", user, "name")])
    added = [line for line in text.splitlines() if line not in DEMO.splitlines()]
    assert added == ["  - {name: zoe, labels: [public]}"]
    before = text.splitlines()[text.splitlines().index(added[0]) - 1]
    assert "audra" in before, "after the last user"


def test_a_row_is_replaced_where_it_stands():
    rows = rows_of(DEMO, "accounts")
    (arl,) = [row for row in rows if row["name"] == "arl"]
    text = edited(DEMO, [put("accounts", arl | {"weight": 2}, "name")])
    changed = [(a, b) for a, b in zip(DEMO.splitlines(), text.splitlines(), strict=True) if a != b]
    assert len(changed) == 1
    assert "weight: 2" in changed[0][1]


def test_a_section_that_is_missing_is_begun():
    text = edited(DEMO, [put("budgets", BUDGET)])
    assert policy_file.load(text, 1).budgets[0].h100e_hours == 10
    assert text.startswith(DEMO.rstrip())


def test_a_block_of_many_lines_is_replaced_whole():
    rows = rows_of(DEMO, "agreements")
    text = edited(DEMO, [put("agreements", rows[0] | {"cap": 4})])
    policy = policy_file.load(text, 1)
    assert [agreement.cap for agreement in policy.agreements] == [4, 8]


LAYOUTS = [
    pytest.param("budgets: []\n", id="an empty list"),
    pytest.param("budgets: [{id: b0, account: arl}]  # one\n", id="a list on one line"),
    pytest.param("budgets: [{id: b0},\n  {id: b2},]\n", id="a comma at the end"),
    pytest.param("budgets:\n- id: b0\n  account: arl # why\n# end\n", id="blocks without indent"),
    pytest.param(
        "budgets:\n    - id: b0\n      why: >\n        folded\n        text\n\nx: 1\n", id="folded"
    ),
    pytest.param("budgets:\n  - {id: b0}  # a comment", id="no newline at the end"),
    pytest.param("a: 1\n\nbudgets:\n  - {id: b1, account: old} # replaced\nb: 2\n", id="replaced"),
    pytest.param("", id="nothing at all"),
]


@pytest.mark.parametrize("text", LAYOUTS)
def test_rows_are_put_into_any_layout(text):
    text = text or "version: 1\n"
    once = edited(text, [put("budgets", BUDGET)])
    assert BUDGET in rows_of(once, "budgets")
    assert edited(once, [put("budgets", BUDGET)]) == once, "twice is once"


SMALL = """# about people
users:
  - {name: ann}  # who began it
  - name: bob
    labels: [a, b]

accounts: [{name: root, sector: dod}]  # all
quotas:
- {account: root, pool: p,
   nominal: 8}
# the end
"""
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
VALUES = NAMES | st.integers(0, 9) | st.lists(NAMES, max_size=3) | TEXTS


@settings(deadline=None)
@given(
    st.sampled_from(["users", "accounts", "quotas", "budgets"]),
    st.dictionaries(NAMES, VALUES, max_size=3),
)
@example("users", {"x": "a\x85"})  # written as it is, it would end the line
def test_whatever_the_row_all_else_stays(section, more):
    row = {"name": "some-name", "account": "a", "pool": "p"} | more
    text = edited(SMALL, [Put(section, row, ("name",))])
    before, after = Document().parse(SMALL), Document().parse(text)
    assert {**after, section: None} == {**before, section: None}
    assert row in after[section]
    assert len(after[section]) == len(before.get(section, [])) + 1
