"""R16: from parameters and tokens to H100e-hours, days and a tier."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core import compute_law as law
from scheduler.core.model import Tier
from tests import build

AMOUNTS = st.floats(1e3, 1e16)
UTILISATIONS = st.floats(0.01, 1)


@pytest.mark.parametrize(("model", "alpha"), [("BERT-base", 5.87), ("GPT-3", 5.90), ("PaLM", 5.94)])
def test_the_published_rows_give_an_alpha_just_below_six(model, alpha):
    row = next(row for row in law.PUBLISHED if row.model == model)
    assert law.alpha(row) == pytest.approx(alpha, abs=0.006)
    assert law.training_flop(row.parameters, row.tokens) == pytest.approx(row.flop, rel=0.025)


def test_1e26_flop_are_70_million_h100_hours_at_40_percent():
    assert law.h100e_hours(1e26) == pytest.approx(70.2e6, rel=1e-3)


def test_seven_billion_parameters_on_a_trillion_tokens():
    found = law.estimate(law.training_flop(7e9, 1e12), law.mfu_around(0.4))
    assert found.h100e_hours.best == pytest.approx(23_583, rel=1e-3)
    assert found.h100e_hours.expected == pytest.approx(29_479, rel=1e-3)
    assert found.h100e_hours.worst == pytest.approx(39_305, rel=1e-3)
    assert found.proposal == law.Proposal(Tier.TEAM, Tier.TEAM, Tier.INSTITUTION)


@given(AMOUNTS, AMOUNTS, UTILISATIONS)
def test_every_interval_is_in_order_and_larger_tiers_take_fewer_days(parameters, tokens, mfu):
    found = law.estimate(law.training_flop(parameters, tokens), law.mfu_around(mfu))
    for interval in (found.h100e_hours, *(tier.days for tier in found.tiers)):
        assert 0 < interval.best <= interval.expected < interval.worst
    days = [tier.days.expected for tier in found.tiers]
    assert days == sorted(days, reverse=True)
    ranks = [tier.rank if tier else 9 for tier in (found.proposal.best, found.proposal.worst)]
    assert ranks == sorted(ranks)


@given(AMOUNTS, UTILISATIONS)
def test_hours_and_utilisation_give_the_flop_back(flop, mfu):
    assert law.h100e_hours(flop, mfu) * mfu * law.H100_FLOP_PER_HOUR == pytest.approx(flop)


def test_what_no_tier_can_do_in_time_is_proposed_none():
    assert law.estimate(1e29, law.mfu_around()).proposal == law.Proposal(None, None, None)


@pytest.mark.parametrize("bad", [0, -1, float("inf"), float("nan")])
def test_amounts_are_positive_numbers(bad):
    with pytest.raises(ValueError, match="parameters must be more than zero"):
        law.training_flop(bad, 1)
    with pytest.raises(ValueError, match="tokens must be more than zero"):
        law.training_flop(1, bad)


def test_what_overflows_is_refused_rather_than_infinite():
    with pytest.raises(ValueError, match="beyond reckoning"):
        law.training_flop(1e300, 1e300)


@pytest.mark.parametrize("bad", [0, -0.1, 1.01, 40, float("nan")])
def test_utilisation_is_a_part_of_one(bad):
    with pytest.raises(ValueError, match="a part of 1"):
        law.mfu_around(bad)


def test_a_tier_is_as_large_as_its_largest_pool():
    """R5: a gang has nodes of one pool."""
    pools = [
        build.pool("a", nodes=2),
        build.pool("b", nodes=4, gpu_model="A100"),
        build.pool("c", nodes=1, gpu_model="unheard-of", tier=Tier.TEAM),
    ]
    assert law.tier_h100e(build.policy(pools=pools)) == {Tier.NATIONAL: 16.0, Tier.TEAM: 8.0}
