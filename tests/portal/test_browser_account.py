"""Account in a real browser: what a click in a dialog does, and what a click on a link does."""

import pytest
from playwright.sync_api import expect

from tests.portal.test_account_page import SECRET
from tests.portal.test_browser import browser, fresh_hub, go, place, visitor

__all__ = ["browser", "fresh_hub", "place", "visitor"]
pytestmark = pytest.mark.browser


def test_in_a_browser_a_token_is_made_copied_and_revoked(visitor, fresh_hub):
    go(visitor, "/account")
    visitor.get_by_text("Make a token").click()
    visitor.get_by_label("What it is for").fill("nightly sweep")
    visitor.get_by_role("button", name="Make token").click()
    expect(visitor.get_by_text(SECRET)).to_be_visible()
    visitor.get_by_role("button", name="I have copied it").click()
    expect(visitor.get_by_text(SECRET)).to_have_count(0)
    token = next(iter(fresh_hub.tokens))
    revoke = visitor.locator(f".st-key-revoke-{token} button")
    expect(revoke).to_have_count(1)  # while the page is redrawn it is there twice
    revoke.click()
    visitor.get_by_role("button", name="Yes, revoke it").click()
    expect(visitor.get_by_role("dialog")).to_have_count(0)
    assert fresh_hub.tokens[token].revoked


def test_in_a_browser_signing_out_everywhere_ends_this_session_too(visitor, fresh_hub):
    go(visitor, "/account")
    visitor.get_by_role("button", name="Sign out everywhere…").click()
    visitor.get_by_text("Also revoke 2 personal tokens").click()
    visitor.get_by_role("button", name="Yes, everywhere").click()
    expect(visitor.get_by_text("Your session has ended")).to_be_visible()
    assert not any(one.alive for one in fresh_hub.sessions.values())
    assert sum(one.revoked for one in fresh_hub.tokens.values()) == 3
    ends = [one for one in fresh_hub.requests if one.startswith("DELETE /v1/sessions")]
    assert ends[-1].endswith("5e55000000000001")


def test_in_a_browser_an_identity_is_unlinked_and_the_last_one_stays(visitor, fresh_hub):
    go(visitor, "/account")
    link = visitor.get_by_role("link", name="Link another identity")
    expect(link).to_have_attribute("href", "/auth/link")
    expect(visitor.get_by_role("button", name="Unlink…")).to_have_count(2)
    visitor.locator(".st-key-unlink-state-u button").click()
    visitor.get_by_role("button", name="Yes, unlink it").click()
    expect(visitor.get_by_role("dialog")).to_have_count(0)
    expect(visitor.get_by_role("button", name="Unlink…")).to_have_count(0)
    assert set(fresh_hub.identities) == {"development"}
