"""Submit in two clicks and plan a run, as people do it in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from scheduler.core.lifecycle import JobState
from tests.portal import dry_runs
from tests.portal.test_browser import (
    SECONDS,
    browser,
    fresh_hub,
    go,
    place,
    settled,
    visitor,
)
from tests.waiting import until

__all__ = ["browser", "fresh_hub", "place", "visitor"]
pytestmark = pytest.mark.browser


def test_a_template_and_submit_are_two_clicks_to_a_running_job(visitor, fresh_hub, shots):
    go(visitor, "/submit")
    visitor.get_by_role("button", name="Reasoning").or_(
        visitor.get_by_role("radio", name="Reasoning")
    ).click()
    expect(visitor.get_by_text("Starts first, done first, and cheapest")).to_be_visible()
    expect(visitor).to_have_url(re.compile("tmpl=reasoning"))
    visitor.screenshot(path=shots / "template.png")
    visitor.get_by_role("button", name="Submit job").click()
    visitor.wait_for_url(re.compile("/job"), timeout=30 * SECONDS)
    (sent,) = fresh_hub.sent
    assert (sent.entrypoint, len(fresh_hub.packages)) == ("python reasoning.py", 1)
    job = list(fresh_hub.jobs.values())[-1]
    expect(visitor.get_by_role("heading", name=job.submission_id)).to_be_visible()
    fresh_hub.change(job.id, state=JobState.RUNNING, reason="Runs on arl-team, in quota.")
    expect(visitor.get_by_text("Runs on arl-team, in quota.")).to_be_visible(timeout=30 * SECONDS)
    visitor.screenshot(path=shots / "running.png")


def test_a_draft_survives_a_closed_tab(visitor, fresh_hub, browser):
    go(visitor, "/submit")
    visitor.get_by_label("Command", exact=True).fill("python mine.py")
    visitor.get_by_role("button", name="Save and check").click()
    expect(visitor.get_by_text("Starts first, done first, and cheapest")).to_be_visible()
    assert fresh_hub.drafts["dana", "submit"].content["entrypoint"] == "python mine.py"
    other = browser.new_page()
    other.portal = visitor.portal
    go(other, "/submit")
    expect(other.get_by_label("Command", exact=True)).to_have_value("python mine.py")
    other.close()


def test_a_tab_that_is_closed_while_one_types_loses_nothing(visitor, fresh_hub, browser):
    tab = browser.new_page()
    tab.portal = visitor.portal
    go(tab, "/submit")
    tab.get_by_label("Command", exact=True).fill("python half.py")
    tab.get_by_label("Nodes", exact=True).click()  # leaves the field, as a next one is filled in
    until(lambda: ("dana", "submit") in fresh_hub.drafts, 20)
    tab.close()
    go(visitor, "/submit")
    expect(visitor.get_by_label("Command", exact=True)).to_have_value("python half.py")


def test_the_chosen_card_is_what_is_submitted(visitor, fresh_hub):
    fresh_hub.foresee = dry_runs.busy
    go(visitor, "/submit?tmpl=edge")
    choice = visitor.get_by_role("radiogroup", name="Submit it as")
    choice.locator("label").filter(has_text="Starts first").click()
    visitor.get_by_role("button", name="Submit job").click()
    visitor.wait_for_url(re.compile("/job"), timeout=30 * SECONDS)
    assert [tier.value for tier in fresh_hub.sent[-1].tier] == ["national"]


def test_a_run_is_planned_and_the_address_holds_it(visitor, shots):
    go(visitor, "/plan_a_run")
    charts = visitor.locator('[data-testid="stVegaLiteChart"]')
    expect(charts).to_have_count(2)
    said = re.compile(r"FLOP on a logarithmic scale\. BERT-base: 1\.6e20 FLOP")
    expect(charts.first).to_have_attribute("aria-label", said)
    visitor.get_by_label("Parameters", exact=True).fill("540B")
    visitor.get_by_label("Parameters", exact=True).press("Enter")
    expect(visitor).to_have_url(re.compile("params=540B"))
    visitor.reload()
    settled(visitor)
    expect(visitor.get_by_label("Parameters", exact=True)).to_have_value("540B")
    visitor.get_by_text("View as a table").first.click()
    expect(visitor.get_by_role("cell", name="EU: presumed systemic risk")).to_be_visible()
    visitor.screenshot(path=shots / "plan.png")


def test_start_sooner_is_one_click(visitor, fresh_hub):
    go(visitor, "/job?id=sweep-large")
    visitor.get_by_role("button", name="Take 2 of 4 nodes").click()
    expect(visitor.get_by_role("heading", name=re.compile("raysubmit"))).to_be_visible()
    assert fresh_hub.jobs["jwaits00001"].state is JobState.STOPPED
