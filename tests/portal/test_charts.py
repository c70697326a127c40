"""Pictures: complete, and the same in words."""

from hypothesis import given
from hypothesis import strategies as st

from portal.charts.base import COLOURS, capacity, in_tree, parts, usage
from portal.parts.drawn import arrow
from tests.portal.fake_hub import FakeHub

HUB = FakeHub()
TEAM = HUB.pools[0]


def test_the_sentence_says_every_number_of_the_picture():
    chart = capacity(HUB.pools, legend=True)
    drawn = [(row["use"], row["GPUs"]) for row in chart.spec["data"]["values"]]
    assert len(drawn) == 3 + 2 + 4
    assert all(f"{gpus} {use}" in chart.alt for use, gpus in drawn)
    assert chart.alt.startswith("GPUs by use. arl-team (simulated): 8 GPUs, 4 in quota")


@given(
    st.tuples(*[st.integers(0, 64)] * 4),
    st.integers(0, 64),
)
def test_the_parts_of_a_pool_never_exceed_it_unless_more_is_used_than_it_has(counts, capacity):
    in_quota, borrowed, background, free = counts
    pool = TEAM.model_copy(
        update={
            "capacity": capacity,
            "free": free,
            "in_quota": in_quota,
            "borrowed": borrowed,
            "background": background,
        }
    )
    found = parts(pool)
    used = in_quota + borrowed + background
    assert set(found) == set(COLOURS)
    assert all(gpus >= 0 for gpus in found.values())
    assert sum(found.values()) == max(capacity, used)


def test_a_child_stands_below_its_parent_whatever_the_order():
    named = [(each.account, depth) for each, depth in in_tree(HUB.accounts[::-1])]
    assert named == [
        ("national", 0),
        ("acme", 1),
        ("acme-robotics", 2),
        ("arl", 1),
        ("arl-vision", 2),
        ("state-u", 1),
        ("state-u-nlp", 2),
    ]


def test_an_account_whose_parent_is_not_shown_is_a_root():
    assert [depth for _, depth in in_tree(HUB.accounts[1:3])] == [0, 1]


def test_the_usage_picture_names_each_account_with_its_hours():
    chart = usage(HUB.accounts)
    assert "arl-vision: 30.25" in chart.alt
    assert len(chart.spec["data"]["values"]) == len(HUB.accounts)


def test_rows_become_a_table_with_every_column_that_any_of_them_has():
    rows = [{"a": 1, "b": "x"}, {"a": 2.5, "c": None}, {"a": 3, "c": "y"}]
    assert arrow(rows).to_pydict() == {
        "a": [1, 2.5, 3],
        "b": ["x", None, None],
        "c": [None, None, "y"],
    }
