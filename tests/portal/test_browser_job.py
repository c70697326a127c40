"""A job's page in a real browser: what its GPUs did, and what it costs."""

import pytest
from playwright.sync_api import expect

from tests.portal.test_browser import browser, fresh_hub, go, place, visitor

__all__ = ["browser", "fresh_hub", "place", "visitor"]
pytestmark = pytest.mark.browser


def test_a_job_shows_its_cost_and_what_its_gpus_did(visitor, shots):
    go(visitor, "/job?id=digits-two-nodes")
    visitor.get_by_role("tab", name="Cost").click()
    expect(visitor.get_by_text("H100e-hours charged so far")).to_be_visible()
    expect(visitor.get_by_text("Account arl-vision is charged")).to_be_visible()
    visitor.screenshot(path=shots / "job-cost.png", full_page=True)
    visitor.get_by_role("tab", name="GPUs").click()
    expect(visitor.get_by_text("45% of the time at work")).to_be_visible()
    # Its points, drawn: an empty picture has none.
    expect(visitor.locator(".mark-line path").first).to_be_visible()
    visitor.screenshot(path=shots / "job-gpus.png", full_page=True)
