"""Two clicks in a real browser, a real hub, a real Ray: from a template to what it printed."""

import os
import re
import subprocess
import sys

import pytest
from playwright.sync_api import sync_playwright

from scheduler.embedded.layout import Layout
from scheduler.embedded.processes import belonging
from tests.e2e.town import ARGUMENTS, CHROMIUM, READY

pytestmark = [pytest.mark.ray, pytest.mark.browser, pytest.mark.timeout(600)]
SECONDS = 1000


def commonpool(layout, command, *words, **environment):
    argv = [sys.executable, "-m", "scheduler.main", command, "--data", str(layout.data), *words]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("COMMONPOOL_", "RAY_"))}
    environment = clean | environment
    return subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def portal(tmp_path):
    layout = Layout.of(tmp_path / "data")
    up = commonpool(layout, "up", "--hub-port", "0", "--portal-port", "0")
    assert up.returncode == 0, up.stdout + up.stderr
    yield re.search(r"portal +(http://\S+)", up.stdout)[1]
    commonpool(layout, "down")
    assert belonging(layout) == []


def test_a_template_is_two_clicks_from_its_figures(portal, tmp_path):
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = chromium.new_context(color_scheme="light").new_page()
        page.set_default_timeout(120 * SECONDS)
        page.goto(f"{portal}/submit")
        page.get_by_role("button", name="Development sign-in").click()
        page.get_by_role("button", name=re.compile("^dana")).click()
        page.locator(READY).wait_for()
        page.get_by_role("radio", name="Reasoning").click()
        page.get_by_text("Chance of recall").first.wait_for()
        page.screenshot(path=tmp_path / "cards.png")
        page.get_by_role("button", name="Submit job").click()
        page.wait_for_url(re.compile("/job"))
        page.get_by_text("verified majority").first.wait_for()
        page.get_by_text("Succeeded").first.wait_for()
        page.screenshot(path=tmp_path / "done.png")
        chromium.close()
