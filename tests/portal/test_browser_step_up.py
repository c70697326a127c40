"""A decision that asks for a stronger sign-in leads there, and back to the very page."""

import re

import pytest
from playwright.sync_api import expect

from tests.e2e.town import settled, town
from tests.portal.axe import inject, violations
from tests.portal.real_pages import chromium, shot, visits
from tests.portal.test_browser_decisions import budget

__all__ = ["chromium", "visits"]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    file = folder / "identity.yaml"
    file.write_text("step_up: {assurance: [mfa]}\n")
    with town(folder, COMMONPOOL_DEVELOPMENT_ISSUER="true", COMMONPOOL_IDENTITY=str(file)) as found:
        yield found


def test_who_must_sign_in_again_is_led_there_and_back(visits, real):
    name = real.asks_for("dana", budget("arl-next", 10), "a start")["id"]
    page = visits("lee", f"/request?id={name}")
    why = page.get_by_label("Reason (whoever asked reads it")
    why.fill("as planned")
    why.blur()
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("Sign in again to decide")).to_be_visible()
    expect(page.get_by_text("recognised by mfa")).to_be_visible()
    inject(page)
    assert violations(page, "step-up") == []
    shot(page, "step-up")
    page.get_by_role("link", name="Sign in again").click()
    expect(page.get_by_text("Sign in once more")).to_be_visible()
    shot_of_the_hubs(page)
    page.get_by_role("button", name="Development sign-in").click()
    page.get_by_role("button", name=re.compile("^lee")).click()
    page.wait_for_url(re.compile(f"/request\\?id={name}"))
    settled(page)


def shot_of_the_hubs(page):
    inject(page)
    assert violations(page, "sign in once more") == []
