"""One person, known to two OpenID providers that are not ours, in a real browser: one user."""

import os
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from portal.gate.gate import COOKIE
from tests.e2e.real_provider import SECRET, nanoidp
from tests.e2e.town import chromium, settled, town
from tests.portal.axe import inject, violations

pytestmark = pytest.mark.browser
SHOTS = os.environ.get("COMMONPOOL_SCREENSHOTS", "")
POLICY = Path(__file__).parents[2] / "infra/policies/demo.yaml"
ISSUER = """\
  - name: {name}
    title: {title}
    issuer: {url}
    client_id: commonpool
    client_secret: {{env: PROVIDERS_SECRET}}
    scopes: [openid, profile, email]
    speaks_for: [{account}]
    user: {{claim: {claim}}}
    sector: {{value: {sector}}}
    institution: {{claim: tenant, values: {{{account}: {account}}}}}
"""
UNI = {"name": "state-u", "title": "State University", "account": "state-u"}
GOV = {"name": "gov", "title": "Government sign-in", "account": "arl"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A town that both sign people in at; alex is also of a project of the laboratory's."""
    folder = tmp_path_factory.mktemp("linking")
    alex = {"password": "pw", "email": "a@state-u.example", "tenant": "state-u", "roles": ["USER"]}
    worker = {"password": "pw", "email": "a@arl.example", "tenant": "arl", "roles": ["USER"]}
    with (
        nanoidp(folder / "uni", {"alex": alex}) as uni,
        nanoidp(folder / "gov", {"e1234": worker, "dana": worker}) as gov,
    ):
        issuers = (
            ISSUER.format(**UNI, url=uni, claim="sub", sector="academic"),
            ISSUER.format(**GOV, url=gov, claim="sub", sector="dod"),
        )
        file = folder / "identity.yaml"
        file.write_text(f"linking: {{issuers: [state-u, gov]}}\nissuers:\n{''.join(issuers)}")
        settings = {"COMMONPOOL_IDENTITY": str(file), "PROVIDERS_SECRET": SECRET}
        with town(folder, **settings) as found:
            in_force(found, POLICY.read_text().replace("[dana]}", "[dana, alex]}"))
            yield found


def in_force(place, policy):
    headers = {
        "Authorization": f"Bearer {place.token('admin')}",
        "Content-Type": "application/yaml",
    }
    url = f"{place.hub}/v1/policy?reason=alex%20works%20for%20both"
    answer = httpx.put(url, content=policy, headers=headers, trust_env=False)
    assert answer.is_success, answer.text


@pytest.fixture
def page(place, tmp_path):
    del place  # Playwright keeps an event loop of its own: not before the hub is there
    with chromium() as found:
        yield found
        found.screenshot(path=tmp_path / "last.png")


def at(page, title, user):
    """Choose an organisation, and sign in at its provider's page."""
    page.get_by_role("button", name=title).click()
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill("pw")
    page.locator('form button[type="submit"]').first.click()


def shots(page, name, high=700, ready=lambda: None):
    """Look at a page in both themes and widths: it fits, breaks no rule of axe, and is kept."""
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for wide in (1366, 390):
            page.set_viewport_size({"width": wide, "height": high})
            ready()
            fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert page.evaluate(fits), f"{name} is wider than {wide}"
            if SHOTS:
                page.screenshot(path=f"{SHOTS}/{name}-{theme}-{wide}.png")
        inject(page)
        assert violations(page, f"{name} {theme}") == []


def reloaded(page):
    page.reload()
    settled(page)
    # What unfolds beside the page, and is drawn last.
    expect(page.get_by_role("button", name="Sign out everywhere…")).to_be_visible()
    expect(page.locator('[data-testid="stSkeleton"]')).to_have_count(0)


def signed_in(page, place, title, user):
    """Sign in anew on the page Account; return its sidebar."""
    page.context.clear_cookies(name=COOKIE)
    page.goto(f"{place.portal}/account")
    at(page, title, user)
    settled(page)
    expect(page.get_by_role("heading", name="How you sign in")).to_be_visible()
    return page.locator('[data-testid="stSidebar"]')


def link(page, user):
    """Go to the hub's page, and sign in at the other provider."""
    page.get_by_role("link", name="Link another identity").click()
    expect(page.get_by_role("heading", name="Link another identity")).to_be_visible()
    at(page, "Government sign-in", user)


def test_an_identity_that_is_somebody_elses_is_refused_on_a_page(place, page):
    signed_in(page, place, "State University", "alex")
    page.get_by_role("link", name="Link another identity").click()
    expect(page.get_by_role("heading", name="Link another identity")).to_be_visible()
    shots(page, "link")
    at(page, "Government sign-in", "dana")
    expect(page.get_by_role("heading", name="Not linked: it is another user's")).to_be_visible()
    expect(page.locator("main")).to_contain_text("it is 'dana' who signs in with it")
    shots(page, "link-refused")
    page.get_by_role("link", name="Back to your account").click()
    settled(page)
    expect(page.get_by_text("Does Government sign-in know you too?")).to_be_visible()


def test_a_person_links_a_second_identity_and_signs_in_by_either(place, page):
    sidebar = signed_in(page, place, "State University", "alex")
    link(page, "e1234")
    page.wait_for_url(re.compile("/account$"))
    settled(page)
    expect(page.get_by_text("linked just now")).to_be_visible()
    expect(sidebar).to_contain_text("researcher of state-u-nlp")
    shots(page, "account-linked", 1500, lambda: reloaded(page))
    page.set_viewport_size({"width": 1366, "height": 900})

    signed_in(page, place, "Government sign-in", "e1234")
    expect(sidebar).to_contain_text("Signed in as alex")
    expect(sidebar).to_contain_text("researcher of arl-vision")
    expect(sidebar).not_to_contain_text("state-u")
    page.locator(".st-key-unlink-gov button").click()
    expect(page.get_by_role("dialog")).to_contain_text("so this session ends too")
    page.get_by_role("button", name="Yes, unlink it").click()
    expect(page.get_by_text("Your session has ended")).to_be_visible()

    signed_in(page, place, "State University", "alex")
    expect(page.get_by_text("Does Government sign-in know you too?")).to_be_visible()
