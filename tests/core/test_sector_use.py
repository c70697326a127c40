"""GPUs in use by sector and hour, against a plain sum of overlaps."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.model import Sector
from scheduler.core.sector_use import HOUR, SectorUse

SINCE = datetime(2026, 3, 1, tzinfo=UTC)
MINUTES = st.integers(-90, 400)
LEASES = st.lists(st.tuples(st.integers(1, 64), MINUTES, MINUTES | st.none()), max_size=8)


def overlap(start, end, since, until):
    return max(timedelta(0), min(end, until) - max(start, since))


@given(LEASES, st.integers(1, 330))
def test_each_hours_mean_is_the_sum_of_what_overlaps_it(leases, minutes):
    until = SINCE + timedelta(minutes=minutes)
    found = SectorUse(SINCE, until)
    spans = []
    for gpus, start, end in leases:
        begins = SINCE + timedelta(minutes=start)
        ends = None if end is None else SINCE + timedelta(minutes=end)
        found.add(Sector.DOD, gpus, begins, ends)
        spans.append((gpus, begins, ends or until))
    told = found.means().get(Sector.DOD, ())
    for number, mean in enumerate(told):
        start = SINCE + number * HOUR
        end = min(start + HOUR, until)
        whole = sum((gpus * overlap(*span, start, end) for gpus, *span in spans), timedelta(0))
        assert abs(mean - whole / (end - start)) < 0.001
    if not told:
        assert not any(overlap(*span, SINCE, until) for _, *span in spans)


def test_sectors_are_told_apart_and_one_without_use_is_left_out():
    found = SectorUse(SINCE, SINCE + 2 * HOUR)
    found.add(Sector.ACADEMIC, 8, SINCE, None)
    found.add(Sector.INDUSTRY, 4, SINCE + HOUR, SINCE + HOUR * 1.5)
    assert found.means() == {Sector.ACADEMIC: (8.0, 8.0), Sector.INDUSTRY: (0.0, 2.0)}
