"""Plan a run: from parameters and tokens to FLOP, days, a tier, and what the queue says."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.charts.plan import flop_scale, scale_rows, tier_days
from portal.plan_words import amount, days, power, short
from scheduler.core import compute_law as law
from scheduler.core.plan_sources import ALPHAS, THRESHOLDS
from tests.portal import dry_runs
from tests.portal.refusals import Refuse
from tests.portal.test_pages import field, said

TODAY = date(2026, 11, 27)


@pytest.mark.parametrize(
    ("text", "value"),
    [("7B", 7e9), ("1.3 T", 1.3e12), ("109M", 109e6), ("2e12", 2e12), ("1,000", 1000), ("5k", 5e3)],
)
def test_amounts_are_read_as_people_write_them(text, value):
    assert amount(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "many", "-1", "0", "1e999", "7X", "1.2.3"])
def test_what_is_no_amount_is_told_with_examples(text):
    with pytest.raises(ValueError, match=r"such as 7B|write 7B"):
        amount(text)


@given(st.floats(1e3, 9e14))
def test_a_short_amount_reads_back_as_about_itself(value):
    assert amount(short(value)) == pytest.approx(value, rel=0.01)


@pytest.mark.parametrize(
    ("length", "said"),
    [(0.01, "14 min"), (0.5, "12 h"), (19.2, "19.2 days"), (1461, "4 years")],
)
def test_days_are_told_in_one_unit(length, said):
    assert days(length) == said


def test_thresholds_are_dated_and_named_by_their_source_and_only_those_in_force_are_drawn():
    for row in THRESHOLDS:
        assert row.source
        assert row.until is None or row.since < row.until
    assert {row.flop for row in THRESHOLDS} == {1e23, 1e25, 1e26}
    drawn = [str(row["what"]) for row in scale_rows(1e22, TODAY)]
    assert not [name for name in drawn if "rescinded" in name]
    assert {row.model for row in law.PUBLISHED} <= set(drawn)
    earlier = [str(row["what"]) for row in scale_rows(1e22, date(2024, 6, 1))]
    assert [name for name in earlier if "rescinded" in name]
    assert [one.value for one in ALPHAS] == [6, 8, 4, 2]


def test_each_chart_says_in_words_what_it_shows():
    found = law.estimate(1e24, law.mfu_around())
    assert "this run, 1e24: 1e24 FLOP" in flop_scale(1e24, TODAY).alt
    assert "EU: presumed systemic risk, 1e25: 1e25 FLOP" in flop_scale(1e24, TODAY, dark=True).alt
    assert "National, 6,000 H100e" in tier_days(found.tiers, 30).alt


def test_the_page_reckons_by_the_law_and_asks_the_queue(open_page, hub):
    hub.foresee = dry_runs.busy
    at = open_page("plan_a_run")
    values = {metric.label: metric.value for metric in at.metric}
    assert values["FLOP"] == power(6 * 1.3e9 * 26e9)
    assert values["H100e-hours"] == "142"
    assert values["Tier to ask for"] == "Team"
    assert "POST /v1/jobs/dry-run" in hub.requests
    assert "nothing was submitted" in said(at)
    assert hub.sent == []


def test_more_tokens_cross_a_threshold_that_is_named(open_page):
    at = open_page("plan_a_run")
    field(at.text_input, "Parameters").set_value("540B")
    field(at.text_input, "Tokens").set_value("4T").run()
    assert "1e23, 1e25 FLOP" in said(at)
    assert "a job lasts a year at most" in said(at)
    field(at.text_input, "Tokens").set_value("lots").run()
    assert "is no amount" in said(at)


def test_what_would_be_refused_and_a_queue_that_is_away_are_told(open_page, hub):
    hub.refusal = Refuse(422, "Refused", "more than the largest pool has", field="nodes")
    hub.refused_methods = {"POST"}
    assert "would be refused" in said(open_page("plan_a_run"))
    assert "belong to no account" in said(open_page("plan_a_run", "zoe"))
