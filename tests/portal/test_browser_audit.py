"""An auditor looks at the log's pictures, narrows it by the address, and follows a row."""

import re

import pytest
from playwright.sync_api import expect

from tests.portal.real_pages import chromium, real, shots_of, visits
from tests.portal.test_browser_decisions import waiting

__all__ = ["chromium", "real", "visits", "waiting"]
pytestmark = pytest.mark.browser


def test_the_log_is_drawn_narrowed_by_the_address_and_leads_on(visits, waiting):
    page = visits("audra", "/audit?action=requests")
    chart = page.locator('[data-testid="stVegaLiteChart"]').first
    expect(chart).to_have_attribute("aria-label", re.compile(r"By kind: \d+ request"))
    cell = page.get_by_role("link", name=f"request:{waiting[0]['id']}").first
    expect(cell).to_have_attribute("href", re.compile(f"/request\\?id={waiting[0]['id']}$"))
    shots_of(visits, "audra", "/audit", "audit")
