"""Every page by axe-core in both themes, the hub's own pages too; and the way by keyboard alone."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from portal.gate.gate import COOKIE
from portal.pages import AWAY
from tests.e2e.town import ARGUMENTS, CHROMIUM, an_agreement, session_of, settled, town
from tests.portal.axe import every_face, inject, violations
from tests.portal.test_browser import (
    OURS,
    PAGES,
    SECONDS,
    WIDE,
    fault,
    fresh_hub,
    place,
    signed_in,
)

__all__ = ["fresh_hub", "place"]
pytestmark = [pytest.mark.browser, pytest.mark.axe]

PORTAL = Path(__file__).parents[2] / "portal"
VIEWS = re.findall(r'^    View\("(\w+)"', (PORTAL / "app.py").read_text(), re.MULTILINE)
BUSY = {path.partition("?")[0].strip("/") or VIEWS[0] for path in PAGES.values()}
# What the double of the hub does not answer is looked at on a real one, by who may see it.
REAL = [name for name in VIEWS if name not in BUSY]
SEEN_BY = {"audit": "audra", "operations": "ops"}
APPROVER = "lee"
THEMES = ("light", "dark")
MANY_TABS = 80


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with town(tmp_path_factory.mktemp("town")) as found:
        found.secrets = {}
        found.request = found.asks_for("alex", an_agreement(), "ARL asks for evenings")["id"]
        yield found


@pytest.fixture(scope="module")
def contexts(place, real):
    """One browser with a context for each theme, kept over all pages.

    Not before the hubs are there: Playwright keeps an event loop of its own.
    """
    del place, real
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield {theme: chromium.new_context(color_scheme=theme) for theme in THEMES}
        chromium.close()


@pytest.fixture(params=THEMES)
def theme(request):
    return request.param


@pytest.fixture
def page(contexts, theme):
    """A page that fails the test on any fault in it, and on whatever leaves this machine."""
    found = contexts[theme].new_page()
    faults = []
    found.on("pageerror", lambda error: faults.append(f"exception: {error}"))
    found.on("console", lambda said: faults.append(fault(said)))
    found.on("request", lambda sent: faults.append("" if OURS.match(sent.url) else sent.url))
    found.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    yield found
    found.close()
    assert [each for each in faults if each] == []


def be(page, real, name):
    """Give the browser a session of the real hub's."""
    if name not in real.secrets:
        real.secrets[name] = session_of(real, name)
    # As from https, which is where a browser takes it for secure; it sends it to loopback too.
    cookie = {"name": COOKIE, "value": real.secrets[name], "url": "https://127.0.0.1/"}
    page.context.add_cookies([cookie])


def checked(page, name):
    """Fail with all that any face of a Streamlit page breaks."""
    settled(page)
    inject(page)
    found = [
        each for face in every_face(page, settled) for each in violations(page, f"{name} {face}")
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_of_a_busy_day_breaks_a_rule(page, place, shots, theme, name):
    page.portal = place.url
    page.goto(place.url + signed_in(page, PAGES[name]))
    settled(page)
    page.screenshot(path=shots / f"{name}-{theme}.png", full_page=True)
    checked(page, name)


@pytest.mark.parametrize("name", REAL)
def test_no_page_of_a_real_hub_breaks_a_rule(page, real, shots, theme, name):
    be(page, real, SEEN_BY.get(name, APPROVER))
    query = f"?id={real.request}" if name == "request" else ""
    page.goto(f"{real.portal}/{name if name != VIEWS[0] else ''}{query}")
    settled(page)
    page.screenshot(path=shots / f"{name}-{theme}.png", full_page=True)
    checked(page, name)


def test_the_name_of_the_chosen_tab_stands_out(page, place, theme):
    """By WCAG's own formula, since axe-core overlooks it."""
    page.portal = place.url
    page.goto(place.url + signed_in(page, PAGES["running"]))
    settled(page)
    colour = "(one, what) => getComputedStyle(one)[what]"
    name = page.locator('[role="tab"][aria-selected="true"] p').first
    ink = name.evaluate(colour, "color")
    ground = page.locator('[data-testid="stApp"]').evaluate(colour, "backgroundColor")
    assert contrast(ink, ground) >= 4.5, (theme, ink, ground)


def contrast(one, other):
    """Return the ratio of two colours as browsers write them. Source: WCAG 2.2, 1.4.3."""

    def light(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_every_file_of_views_is_a_page_that_is_looked_at():
    files = {path.stem for path in (PORTAL / "views").glob("*.py")} - {"__init__"}
    assert files == set(VIEWS)


def test_the_question_before_a_job_is_cancelled_breaks_no_rule(page, place, shots, theme):
    page.portal = place.url
    page.goto(place.url + signed_in(page, PAGES["running"]))
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    settled(page)
    page.screenshot(path=shots / f"cancel-{theme}.png")
    inject(page)
    assert violations(page) == []


def test_a_refused_form_breaks_no_rule(page, place, shots, theme):
    page.portal = place.url
    page.goto(place.url + signed_in(page, PAGES["submit"]))
    page.get_by_label("Command", exact=True).fill("python train.py")
    page.get_by_label("Nodes", exact=True).fill("9")
    page.get_by_role("button", name="Submit job").click()
    expect(page.get_by_text("nodes of the largest pool it may use: 4")).to_be_visible()
    page.screenshot(path=shots / f"refused-{theme}.png", full_page=True)
    checked(page, "refused")


def plain_page(page, heading, shots, name):
    """Look at a page that is the hub's own."""
    page.get_by_role("heading", name=heading).wait_for()
    page.screenshot(path=shots / f"{name}.png")
    inject(page)
    return violations(page, name)


def test_the_hubs_own_pages_break_no_rule(page, real, shots, theme):
    """Each is looked at on the way: in, a command line's question, and out."""
    page.context.clear_cookies()
    page.goto(real.portal)
    found = plain_page(page, "Sign in", shots, f"sign-in-{theme}")
    page.get_by_role("button", name="Development sign-in").click()
    found += plain_page(page, "Whom do you want to be?", shots, f"whom-{theme}")
    page.get_by_role("button", name=re.compile("^dana")).click()
    settled(page)
    page.goto(f"{real.portal}/auth/device")
    found += plain_page(page, re.compile("."), shots, f"device-{theme}")
    page.goto(f"{real.portal}/auth/sign-out")
    found += plain_page(page, "Sign out", shots, f"sign-out-{theme}")
    page.get_by_role("button", name="Sign out").click()
    found += plain_page(page, "You are signed out", shots, f"signed-out-{theme}")
    assert not found, "\n" + "\n".join(found)


def test_the_page_in_place_of_an_absent_hub_breaks_no_rule(page):
    page.set_content(AWAY)
    inject(page)
    assert violations(page) == []


def tab_to(page, target):
    """Press Tab until the target has the focus."""
    for _ in range(MANY_TABS):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"Tab does not reach {target} in {MANY_TABS} presses")


@pytest.mark.parametrize("theme", ["light"], indirect=True)
def test_a_job_is_submitted_by_keyboard_alone(page, place, fresh_hub):
    page.portal = place.url
    page.goto(place.url + signed_in(page, "/"))
    settled(page)
    page.keyboard.press("Tab")
    skip = page.get_by_text("Skip to main content")
    expect(skip).to_be_focused()
    page.keyboard.press("Enter")
    inside = "document.querySelector('main, [role=main]').contains(document.activeElement)"
    assert page.evaluate(inside)
    page.reload()
    settled(page)
    tab_to(page, page.get_by_test_id("stSidebarNav").get_by_role("link", name="Submit a job"))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/submit"), timeout=30 * SECONDS)
    page.get_by_label("Command", exact=True).wait_for()
    settled(page)
    tab_to(page, page.get_by_label("Command", exact=True))
    page.keyboard.type("python train.py")
    tab_to(page, page.get_by_role("button", name="Submit job"))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/job"), timeout=30 * SECONDS)
    assert [sent.entrypoint for sent in fresh_hub.sent] == ["python train.py"]
