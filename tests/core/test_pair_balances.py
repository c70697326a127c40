"""Balances of pairs over time: they end where the matrix says, and no cap is ever passed (R1)."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.ledger import By, Sums
from scheduler.core.model import Agreement, AgreementId, Sector
from scheduler.core.pair_balances import PairBalances
from tests.build import DAY, HOUR, NOON
from tests.core.test_ledger import ACME, ARL, TEAM, UNI, loan

SINCE, UNTIL = NOON, NOON + 4 * DAY
LENT = AgreementId("uni-lends-industry")


def agreement(cap=8, **more):
    fields = {
        "id": LENT,
        "lender": "uni",
        "borrower": Sector.INDUSTRY,
        "pools": frozenset({"hub"}),
        "cap": cap,
        "recall_notice": timedelta(0),
        "valid_from": NOON - DAY,
        "valid_to": NOON + 100 * DAY,
    }
    return Agreement(**{**fields, **more})


def balances(loans, by=By.INSTITUTION, parts=8):
    found = PairBalances(by, SINCE, UNTIL, parts)
    for one in loans:
        found.add(one)
    return found


parties = st.sampled_from([ARL, TEAM, UNI, ACME])
any_loans = st.lists(
    st.builds(
        lambda lender, borrower, start, hours, gpus: loan(
            lender, borrower, started_at=NOON + start * HOUR, gpus=gpus,
            ended_at=None if hours > 60 else NOON + (start + hours) * HOUR,
        ),
        parties,
        parties,
        st.integers(-30, 90),
        st.integers(0, 70),
        st.integers(1, 16),
    ),
    max_size=12,
)  # fmt: skip


@given(loans=any_loans, by=st.sampled_from(list(By)), parts=st.integers(1, 50))
def test_every_pair_ends_where_the_matrix_says_to_the_last_place(loans, by, parts):
    found = balances(loans, by, parts)
    sums = Sums(by, SINCE, UNTIL)
    for one in loans:
        sums.add(one)
    for pair in found.pairs():
        there = sums.matrix.get((pair.first, pair.second))
        back = sums.matrix.get((pair.second, pair.first))
        assert sum(pair.lent.steps) == (there.amount if there else 0)
        assert sum(pair.returned.steps) == (back.amount if back else 0)
        line = list(pair.balance())
        assert len(line) == len(found.edges) == parts + 1
        assert line[0] == 0
        assert line[-1] == sum(pair.lent.steps) - sum(pair.returned.steps) >= 0
    pairs = {frozenset(names) for names in sums.matrix if names[0] != names[1]}
    assert {frozenset((one.first, one.second)) for one in found.pairs()} == pairs


@given(loans=any_loans, parts=st.integers(1, 50))
def test_the_order_in_which_loans_are_read_does_not_matter(loans, parts):
    there, back = balances(loans, parts=parts), balances(loans[::-1], parts=parts)
    assert there.pairs() == back.pairs()


def test_lending_raises_the_line_and_borrowing_back_lowers_it():
    there = loan(UNI, ACME, gpus=4, started_at=NOON, ended_at=NOON + 12 * HOUR)
    back = loan(ACME, UNI, gpus=1, started_at=NOON + DAY, ended_at=NOON + 36 * HOUR)
    (pair,) = balances([there, back], parts=4).pairs()
    hour = 10**9 * 3600
    assert (pair.first, pair.second) == ("uni", "acme")
    assert [amount // hour for amount in pair.balance()] == [0, 48, 36, 36, 36]


@pytest.mark.parametrize(
    ("agreed", "hours"),
    [
        pytest.param(agreement(), 8 * 96, id="the cap all along"),
        pytest.param(agreement(valid_from=NOON + DAY), 8 * 72, id="from when it is valid"),
        pytest.param(agreement(valid_to=NOON + DAY), 8 * 24, id="until when it is valid"),
        pytest.param(agreement(valid_to=NOON - HOUR), 0, id="an agreement that was over before"),
        pytest.param(agreement(cap=0), 0, id="a cap of nothing"),
    ],
)
def test_a_cap_of_gpus_lets_that_many_hours_through(agreed, hours):
    (pair,) = balances([loan(UNI, ACME, agreement=LENT)]).pairs()
    assert pair.lent.cap({LENT: agreed}) == agreed.cap
    assert pair.lent.limit({LENT: agreed}, SINCE, UNTIL) == hours * 3600 * 10**9


@given(gpus=st.integers(0, 8), hours=st.integers(1, 200))
def test_no_line_under_one_agreement_passes_its_cap(gpus, hours):
    lent = loan(UNI, ACME, gpus=gpus, agreement=LENT, ended_at=NOON + hours * HOUR)
    for pair in balances([lent]).pairs():
        limit = pair.lent.limit({LENT: agreement(cap=8)}, SINCE, UNTIL)
        assert max(pair.balance()) <= limit


def test_where_some_was_lent_within_quotas_there_is_no_limit_to_tell():
    loans = [loan(UNI, ACME, agreement=LENT), loan(UNI, ACME, id=2)]
    (pair,) = balances(loans).pairs()
    assert pair.lent.cap({LENT: agreement()}) is None
    assert pair.lent.limit({LENT: agreement()}, SINCE, UNTIL) is None


def test_an_agreement_that_the_policy_dropped_has_no_cap_to_tell():
    (pair,) = balances([loan(UNI, ACME, agreement=LENT)]).pairs()
    assert pair.lent.cap({}) is None


def test_within_one_group_nothing_is_owed():
    assert balances([loan(ARL, TEAM)]).pairs() == []
    assert len(balances([loan(ARL, TEAM)], By.ACCOUNT).pairs()) == 1
