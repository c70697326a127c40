"""Owners' recalls, summed up as they are published (R10)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.model import AccountName, PoolId
from scheduler.core.recalls import Recall, percentile, published
from tests.build import HOUR, MINUTE, NOON


def recall(lender="own", pool="hub", took=None, **more):
    """Return a recall decided at NOON with ten minutes of notice and one of teardown."""
    started_at = None if took is None else NOON + MINUTE * took
    names = (AccountName(lender), PoolId(pool))
    return Recall(*names, NOON, 10 * MINUTE, 11 * MINUTE, started_at, **more)


def test_recalls_are_told_by_lender_by_pool_and_by_both():
    some = [
        recall(took=1),
        recall(took=3),
        recall(pool="team", took=12),
        recall("arl", took=11),
        recall("arl"),
        recall("arl", ended=True),
    ]
    found = published(some, NOON + HOUR)
    told = [(one.lender, one.pool, one.count) for one in found.pairs]
    assert told == [("arl", "hub", 3), ("own", "hub", 2), ("own", "team", 1)]
    assert [(one.lender, one.count) for one in found.lenders] == [("arl", 3), ("own", 3)]
    assert [(one.pool, one.count) for one in found.pools] == [("hub", 5), ("team", 1)]
    arl = found.lenders[0]
    assert (arl.started, arl.kept, arl.late, arl.given_up) == (1, 1, 1, 1)
    own = found.lenders[1]
    assert (own.kept, own.late, own.p50, own.p99) == (2, 1, 3 * MINUTE, 12 * MINUTE)


def test_a_recall_that_waits_is_late_only_past_its_promise():
    waiting = [recall()]
    assert published(waiting, NOON + 11 * MINUTE).lenders[0].late == 0
    assert published(waiting, NOON + 12 * MINUTE).lenders[0].late == 1
    assert published(waiting, NOON).lenders[0].p50 is None
    assert published([], NOON).pairs == ()


@pytest.mark.parametrize(
    ("count", "percent", "place"),
    [
        pytest.param(1, 99, 1, id="the only one"),
        pytest.param(100, 50, 50, id="half of a hundred"),
        pytest.param(100, 99, 99, id="all of a hundred but one"),
        pytest.param(10, 99, 10, id="the longest of few"),
    ],
)
def test_percentiles_are_waits_that_somebody_had(count, percent, place):
    waits = [MINUTE * (n + 1) for n in range(count)]
    assert percentile(waits, percent) == MINUTE * place


@given(st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=40), st.randoms())
def test_every_recall_counts_once_in_whatever_order(minutes, chance):
    some = [recall(took=each) for each in minutes]
    other = some.copy()
    chance.shuffle(other)
    for at in (NOON, NOON + HOUR):
        assert published(some, at) == published(other, at)
        for one in published(some, at).lenders:
            waiting = one.count - one.started - one.given_up
            assert one.kept + one.late + waiting >= one.count - one.given_up >= one.started
            assert one.started == sum(each is not None for each in minutes)
    over = [replace(one, ended=True) for one in some]
    assert sum(one.late for one in published(over, NOON + HOUR).pools) == sum(
        each is not None and each > 11 for each in minutes
    )
