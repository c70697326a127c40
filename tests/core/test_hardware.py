"""R15: what a GPU is worth, by date."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core import hardware
from tests import build
from tests.build import DAY, NOON

DAYS = st.integers(0, 12).map(lambda n: NOON + n * DAY)


@st.composite
def rows(draw):
    begins = draw(DAYS)
    lasts = draw(st.none() | st.integers(1, 6))
    ends = None if lasts is None else begins + lasts * DAY
    return build.hardware_row(
        draw(st.sampled_from(["H100", "X1"])),
        factor=draw(st.integers(1, 5)),
        valid_from=begins,
        valid_to=ends,
    )


@given(st.lists(rows(), max_size=6), DAYS, st.sampled_from([0, 1, -1]))
def test_the_bisected_factor_is_that_of_the_row_valid_then(table, at, off):
    at += off * timedelta(seconds=1)
    try:
        expected = hardware.factor(tuple(table), "X1", at)
    except KeyError:
        expected = hardware.H100E
    assert hardware.Factors(tuple(table), "X1").at(at) == expected


@given(st.lists(rows(), max_size=6))
def test_the_newest_row_begins_last_and_stands_first(table):
    for model, row in hardware.newest(table).items():
        known = [r for r in table if r.model == model]
        assert row.valid_from == max(r.valid_from for r in known)
        assert row is next(r for r in known if r.valid_from == row.valid_from)


@pytest.mark.parametrize(
    ("model", "tflops"),
    [("H100", 989.4), ("H200", 989.4), ("B200", 2250.0), ("A100", 312.0), ("V100", 125.0)],
)
def test_a_factor_is_the_dense_rate_against_the_h100(model, tflops):
    row = hardware.newest(hardware.TABLE)[model]
    assert (row.dense_tflops, row.factor) == (tflops, round(tflops / 989.4 * 1000))
