"""Windows over samples: last, mean and most; what is missing is not counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.node.samples import Gpm, Gpu, GpuSample, Readings, Statistic
from agents.node.windows import Windows, merged

GPU = Gpu("GPU-1", 0, "H100")


def sample(power=None, tensor=None) -> GpuSample:
    return GpuSample(GPU, readings=Readings(power_milliwatts=power), gpm=Gpm(tensor=tensor))


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_a_window_is_the_last_the_mean_and_the_most(values):
    windows = Windows()
    for value in values:
        windows.add(sample(power=value))
    (counters,) = windows.take().values()
    found = counters["power_milliwatts"]
    assert (found.last, found.most, found.samples) == (values[-1], max(values), len(values))
    assert found.mean == pytest.approx(sum(values) / len(values))


def test_a_counter_that_a_sample_lacks_is_not_in_its_window():
    windows = Windows()
    for tensor in (0.5, None, 0.25):
        windows.add(sample(tensor=tensor))
    assert windows.take() == {"GPU-1": {"tensor": Statistic(0.25, 0.375, 0.5, 2)}}


def test_a_window_is_taken_once():
    windows = Windows()
    windows.add(sample(power=1))
    assert windows.take()
    assert windows.take() == {}


@given(st.lists(st.none() | st.integers(0, 10**6), max_size=20), st.integers(0, 20))
def test_windows_that_follow_one_another_are_as_one(values, cut):
    whole, earlier, later = Windows(), Windows(), Windows()
    for place, value in enumerate(values):
        whole.add(sample(power=value))
        (earlier if place < cut else later).add(sample(power=value))
    joined, one = merged(earlier.take(), later.take()), whole.take()
    assert joined.keys() == one.keys()
    for uuid, counters in one.items():
        assert joined[uuid].keys() == counters.keys()
        for name, statistic in counters.items():
            found = joined[uuid][name]
            assert (found.last, found.most, found.samples) == (
                statistic.last,
                statistic.most,
                statistic.samples,
            )
            assert found.mean == pytest.approx(statistic.mean)
