"""The waste report: what was leased against what was done with it (R18)."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.waste import Leased, Seen, Waste, waste
from tests.build import NOON

HOUR = timedelta(hours=1)


def test_a_lease_counts_by_the_part_of_it_that_is_in_the_window():
    leases = [
        Leased("a", 8, NOON - 9 * HOUR, NOON - 3 * HOUR),
        Leased("a", 2, NOON - HOUR, None),
        Leased("b", 1, NOON - 9 * HOUR, NOON - 8 * HOUR),
    ]
    seen = [Seen("a", measured=10 * 3600.0, busy=4 * 3600.0)]
    assert waste(leases, seen, NOON - 4 * HOUR, NOON) == [Waste("a", 10, 10, 4)]


def test_what_nobody_measured_is_neither_used_nor_wasted():
    (row,) = waste([Leased("a", 1, NOON - HOUR, NOON)], [], NOON - HOUR, NOON)
    assert (row.leased, row.measured, row.used, row.share_used) == (1, 0, 0, None)


HOURS = st.floats(0, 100)


@given(HOURS, HOURS, HOURS)
def test_nobody_used_more_than_was_measured_or_was_measured_for_more_than_was_leased(lease, m, b):
    leases = [Leased("a", 1, NOON, NOON + lease * HOUR)]
    for row in waste(leases, [Seen("a", m * 3600, b * 3600)], NOON, NOON + 200 * HOUR):
        assert 0 <= row.used <= row.measured <= row.leased
