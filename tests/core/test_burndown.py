"""When a budget is used up, and how sure that is (R4)."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.burndown import forecast

TODAY = date(2026, 3, 2)
YEAR = timedelta(days=365)


def test_steady_use_has_no_cone_and_one_date():
    found = forecast([10.0] * 5, 35.0, TODAY, TODAY + YEAR)
    assert (found.per_day, found.earliest, found.likely, found.latest) == (
        10.0,
        *[TODAY + timedelta(days=4)] * 3,
    )
    assert [one.likely for one in found.cone] == [35.0, 25.0, 15.0, 5.0, 0.0]


@pytest.mark.parametrize("days", [0, 1, 2])
def test_fewer_than_three_days_foretell_nothing(days):
    assert forecast([1.0] * days, 10.0, TODAY, TODAY + YEAR) is None


def test_a_budget_that_is_over_has_no_future():
    assert forecast([1.0] * 9, 10.0, TODAY, TODAY - timedelta(days=1)) is None


def test_a_budget_that_nobody_uses_lasts():
    found = forecast([0.0] * 9, 10.0, TODAY, TODAY + timedelta(days=30))
    assert (found.earliest, found.likely, found.latest) == (None, None, None)
    assert found.cone[-1].day == TODAY + timedelta(days=30)


@given(
    st.lists(st.floats(0, 1e4), min_size=3, max_size=40),
    st.floats(0, 1e6),
    st.integers(0, 800),
)
def test_the_cone_widens_around_what_is_likely_and_never_gives_back(daily, left, days):
    found = forecast(daily, left, TODAY, TODAY + timedelta(days=days))
    for before, after in pairwise(found.cone):
        assert 0 <= after.low <= after.likely <= after.high <= left
        assert after.low <= before.low
        assert after.likely <= before.likely
    dates = [each or date.max for each in (found.earliest, found.likely, found.latest)]
    assert dates == sorted(dates)
