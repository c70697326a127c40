"""The figures, on samples that can be worked out by hand."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.sim.compare import STEPS, Simulated, utilisation_over_time, waits_by_size
from scheduler.sim.report import Spread, jain, measure, spread, utilisation
from tests.sim.replay import replay


def test_percentiles_are_interpolated_between_ranks():
    times = [timedelta(seconds=n) for n in range(101)]
    assert spread(times) == Spread(50, 50, 95, 99)
    assert spread([timedelta(seconds=1), timedelta(seconds=3)]) == Spread(
        2, 2, pytest.approx(2.9), pytest.approx(2.98)
    )
    assert spread([]) == Spread(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("values", "index"),
    [
        pytest.param([3.0, 3.0, 3.0], 1.0, id="all alike"),
        pytest.param([1.0, 0.0, 0.0, 0.0], 0.25, id="one has it all"),
        pytest.param([], 1.0, id="nobody"),
    ],
)
def test_the_jain_index_is_between_one_nth_and_one(values, index):
    assert jain(values) == pytest.approx(index)


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=20))
def test_the_jain_index_stays_in_its_range(values):
    assert 1 / len(values) - 1e-9 <= jain(values) <= 1 + 1e-9


ROWS = [(0, 100, 16, "a"), (50, 100, 8, "b"), (200, 5, 1, "b")]
"""A gang of two nodes, one that waits 50 s behind it, and one at 200 s that does not."""


def test_a_report_is_what_happened(tmp_path):
    report = measure(replay(tmp_path, ROWS))
    assert (report.jobs, report.gang_jobs, report.unfinished) == (3, 1, 0)
    assert report.wait_s == spread(timedelta(seconds=n) for n in (0, 50, 0))
    assert report.jct_s == spread(timedelta(seconds=n) for n in (100, 150, 5))
    assert report.gang_wait_s.mean == 0
    assert report.makespan_s == 205
    assert report.utilisation == pytest.approx((16 * 100 + 8 * 100) / (16 * 200))
    # b's second job is counted as if it ran 10 s: its slowdown is 1.
    assert [tenant.slowdown for tenant in report.tenants] == [1.0, (1.5 + 1) / 2]
    assert report.fairness == pytest.approx(jain([1.0, 1.25]))
    assert (report.starts, report.holds, report.preemptions) == (3, 1, 0)


def test_utilisation_over_time_adds_up_to_the_whole(tmp_path):
    history = replay(tmp_path, ROWS)
    side = Simulated("one", history, measure(history))
    lines = utilisation_over_time(side, side)
    assert sum(lines.first) / STEPS == pytest.approx(utilisation(history))
    assert max(lines.first) == pytest.approx(1)


def test_waits_are_told_by_size_for_sizes_that_occur(tmp_path):
    history = replay(tmp_path, ROWS)
    side = Simulated("one", history, measure(history))
    bars = waits_by_size(side, side)
    assert bars.labels == ("1", "5-8", "9-32")
    assert bars.first == (0, 50, 0)
