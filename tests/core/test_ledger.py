"""The ledger: whatever happens, and however it is cut and grouped, it sums to zero."""

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.ledger import NANO, By, Loan, Side, Sums, entries
from scheduler.core.lenders import Parties, Party
from scheduler.core.model import Sector, Tier
from tests import build
from tests.build import DAY, HOUR, MINUTE, NOON

ARL = Party("arl-vision", "arl", Sector.DOD)
UNI = Party("uni-nlp", "uni", Sector.ACADEMIC)
ACME = Party("acme-robotics", "acme", Sector.INDUSTRY)
TEAM = Party("arl-speech", "arl", Sector.DOD)


def loan(lender=ARL, borrower=ACME, hours=1.0, **more):
    fields = {
        "id": 1,
        "run": "cp-j1-1",
        "lender": lender,
        "borrower": borrower,
        "pool": "hub",
        "tier": Tier.NATIONAL,
        "gpus": 8,
        "factor": 1000,
        "agreement": None,
        "started_at": NOON,
        "ended_at": NOON + hours * HOUR,
    }
    return Loan(**{**fields, **more})


def sums(loans, since=NOON - DAY, until=NOON + 30 * DAY, by=By.ACCOUNT):
    found = Sums(by, since, until)
    for one in loans:
        found.add(one)
    return found


def net(found):
    return {name: balance.net for name, balance in found.balances.items()}


parties = st.sampled_from([ARL, UNI, ACME, TEAM])
instants = st.integers(0, 5 * 86_400 * 10**6).map(lambda n: NOON + timedelta(microseconds=n))


@st.composite
def histories(draw):
    """Loans of random runs: some end, some are recalled, parties move between institutions."""
    found = []
    for number in range(draw(st.integers(0, 12))):
        started = draw(instants)
        lasted = timedelta(microseconds=draw(st.integers(0, 10**12)))
        ended = draw(st.sampled_from([None, started + lasted]))
        moved = draw(st.sampled_from(["", "other"]))  # as another policy would have it
        lender = draw(parties)
        found.append(
            loan(
                replace(lender, institution=moved or lender.institution),
                draw(parties),
                id=number,
                gpus=draw(st.integers(1, 4096)),
                factor=draw(st.sampled_from([46, 315, 1000, 2270])),
                tier=draw(st.sampled_from(list(Tier))),
                started_at=started,
                ended_at=ended,
                recalled_at=draw(st.sampled_from([None, started + lasted / 2])),
            )
        )
    return found


@given(histories(), instants, instants, st.sampled_from(By))
def test_every_ledger_sums_to_zero_over_any_window_and_grouping(loans, one, other, by):
    since, until = min(one, other), max(one, other)
    found = sums(loans, since, until, by)
    assert sum(net(found).values()) == 0
    assert sum(entry.amount for entry in entries(loans, since, until)) == 0
    lent = sum(balance.lent for balance in found.balances.values())
    assert lent == sum(cell.amount for cell in found.matrix.values())
    assert lent == sum(sum(tier.values()) for tier in found.tiers.values())


@given(histories(), st.lists(instants, min_size=2, max_size=6), st.sampled_from(By))
def test_the_parts_of_a_window_add_up_to_the_whole_exactly(loans, cuts, by):
    cuts = sorted(cuts)
    whole = net(sums(loans, cuts[0], cuts[-1], by))
    parts = {}
    for since, until in pairwise(cuts):
        for name, amount in net(sums(loans, since, until, by)).items():
            parts[name] = parts.get(name, 0) + amount
    assert {n: a for n, a in parts.items() if a} == {n: a for n, a in whole.items() if a}


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_in_which_loans_are_read_is_all_one(loans, random):
    shuffled = list(loans)
    random.shuffle(shuffled)
    assert sums(loans) == sums(shuffled)


@given(histories(), st.sampled_from(By))
def test_concentration_lies_between_one_borrowers_and_all_equal(loans, by):
    for one in sums(loans, by=by).concentrations():
        assert Fraction(1, one.borrowers) <= one.index <= 1
        assert one.largest_share**2 <= one.index <= one.largest_share


def test_a_loan_is_the_lenders_credit_and_the_borrowers_debit():
    credit, debit = entries([loan()], NOON, NOON + DAY)
    hours = 8 * 3600 * NANO
    assert (credit.side, credit.party, credit.amount) == (Side.LENT, ARL, hours)
    assert (debit.side, debit.party, debit.amount) == (Side.BORROWED, ACME, -hours)
    assert (credit.counterparty, debit.counterparty) == (ACME, ARL)


def test_a_loan_that_goes_on_counts_until_the_window_ends():
    assert loan(ended_at=None).amount(NOON + 15 * MINUTE, NOON + HOUR) == 8 * 2700 * NANO
    assert loan().amount(NOON + DAY, NOON + 2 * DAY) == 0


def test_a_loan_inside_an_institution_is_its_own_affair():
    found = sums([loan(ARL, TEAM)], by=By.INSTITUTION)
    assert list(found.balances) == ["arl"]
    assert (found.balances["arl"].net, found.balances["arl"].lent) == (0, 8 * 3600 * NANO)


def test_a_recall_is_counted_where_it_happened_and_what_it_ended_is_known():
    recalled = loan(recalled_at=NOON + 50 * MINUTE)
    before, after = NOON + 30 * MINUTE, NOON + 2 * HOUR
    assert sums([recalled], NOON, before).balances["arl-vision"].recalls == 0
    late = sums([recalled, loan(id=2)], before, after).balances["arl-vision"]
    assert (late.recalls, late.recalled, late.lent) == (1, 4 * 3600 * NANO, 8 * 3600 * NANO)


def test_four_equal_borrowers_are_a_quarter_and_one_alone_is_everything():
    four = [loan(UNI, Party(name, name, Sector.DOD)) for name in "abcd"]
    alone = loan(tier=Tier.TEAM)
    team, national = sums([*four, alone]).concentrations()
    assert (team.tier, team.index, team.largest) == (Tier.TEAM, 1, "acme-robotics")
    assert (national.index, national.borrowers, national.largest) == (Fraction(1, 4), 4, "a")


@pytest.mark.parametrize("by", list(By))
def test_a_later_policy_rewrites_no_entry(by):
    """What a party was is part of the loan: moving an account moves only what comes after."""
    before = Parties(build.policy([build.account("arl", None)], [build.pool(owner="arl")], []))
    made = loan(before.party("arl"), ACME)
    moved = build.policy(
        [build.account("acme", None), build.account("arl", "acme", sector=Sector.INDUSTRY)],
        [build.pool(owner="acme")],
        [],
    )
    again = loan(Parties(moved).party("arl"), ACME)
    assert by.of(made.lender) == {By.SECTOR: "academic"}.get(by, "arl")
    assert by.of(again.lender) == {By.SECTOR: "industry", By.INSTITUTION: "arl"}.get(by, "arl")
    assert sum(net(sums([made, again], by=by)).values()) == 0
