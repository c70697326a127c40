"""Pages of a real portal on a real hub, opened as somebody, in both themes and any width."""

import os
from contextlib import ExitStack

import pytest
from playwright.sync_api import sync_playwright

from portal.gate.gate import COOKIE
from tests.e2e.town import ARGUMENTS, CHROMIUM, session_of, settled, town
from tests.portal.axe import every_face, inject, violations
from tests.portal.test_browser import NARROW, WIDE, fault

SHOTS = os.environ.get("COMMONPOOL_SCREENSHOTS", "")
MANY_TABS = 120


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with town(tmp_path_factory.mktemp("town")) as found:
        yield found


@pytest.fixture(scope="module")
def chromium(real):
    """Not before the hub is there: Playwright keeps an event loop of its own."""
    del real
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


@pytest.fixture
def visits(chromium, real):
    """Return a function that opens a page as somebody, and fails the test on any fault in it."""
    faults, stack, secrets = [], ExitStack(), {}

    def open_it(who, path, theme="light", size=WIDE):
        context = chromium.new_context(color_scheme=theme)
        stack.callback(context.close)
        if who not in secrets:
            secrets[who] = session_of(real, who)
        cookie = {"name": COOKIE, "value": secrets[who], "url": "https://127.0.0.1/"}
        context.add_cookies([cookie])
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"exception: {error}"))
        page.on("console", lambda said: faults.append(fault(said)))
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.goto(real.portal + path)
        settled(page)
        return page

    with stack:
        yield open_it
    found = [each for each in faults if each]
    assert not found, "\n".join(found)


def shot(page, name):
    """Keep a screenshot of the whole page, where COMMONPOOL_SCREENSHOTS says so."""
    if not SHOTS:
        return
    # Streamlit scrolls inside the page: as high a window as what is in it shows all of it.
    size = page.viewport_size
    high = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": max(size["height"], high)})
    settled(page)
    page.screenshot(path=f"{SHOTS}/{name}.png")
    page.set_viewport_size(size)


def shots_of(visits, who, path, name):
    """Look at a page in both themes and at two widths; it must fit, and break no rule of axe."""
    found = []
    for theme in ("light", "dark"):
        for size in ((1280, 900), NARROW):
            page = visits(who, path, theme, size)
            wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            assert not page.evaluate(wide), f"{name} is wider than {size[0]}"
            shot(page, f"{name}-{theme}-{size[0]}")
        inject(page)
        found += [
            each
            for face in every_face(page, settled)
            for each in violations(page, f"{name} {theme} {face}")
        ]
    assert not found, "\n" + "\n".join(found)


def tab_to(page, target):
    """Press Tab until the target has the focus."""
    for _ in range(MANY_TABS):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"Tab does not reach {target} in {MANY_TABS} presses")
