"""One researcher's whole way, with every part real: provider, hub, portal, Ray, browser.

Sign in at an OpenID provider, submit from a template, see that it waits and why, see it run,
read its log to the end, see its cost; and somebody else sees nothing of it.
"""

import re
import sys

import pytest
from playwright.sync_api import TimeoutError as TookTooLong
from playwright.sync_api import expect

from scheduler.embedded.layout import Layout
from scheduler.embedded.processes import belonging
from tests.e2e.hub_process import free_port
from tests.e2e.test_real_provider import SETTINGS
from tests.e2e.town import answers, chromium, process, settled
from tests.embedded.test_template_ray import SECONDS, commonpool
from tests.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.browser, pytest.mark.timeout(600)]
USERS = """\
config_version: 1
users:
  dana: {password: pw, email: dana@arl.example, tenant: arl, roles: [USER]}
"""
IDENTITY = """\
development_beside_others: true
issuers:
  - name: arl
    title: The Laboratory
    issuer: http://127.0.0.1:{port}
    client_id: commonpool
    client_secret: {{env: ARL_SECRET}}
    scopes: [openid, profile, email]
    speaks_for: [arl]
    user: {{claim: sub}}
    sector: {{value: dod}}
    institution: {{claim: tenant, values: {{arl: arl}}}}
"""


@pytest.fixture
def layout(tmp_path):
    return Layout.of(tmp_path / "data")


@pytest.fixture
def portal(tmp_path, layout):
    """The address of a portal beside real Ray, whose hub takes sign-ins by a real provider."""
    port = free_port()
    (tmp_path / "settings.yaml").write_text(SETTINGS.format(port=port, folder=tmp_path))
    (tmp_path / "users.yaml").write_text(USERS)
    identity = tmp_path / "identity.yaml"
    identity.write_text(IDENTITY.format(port=port))
    command = (sys.executable, "-m", "nanoidp", "--config", str(tmp_path))
    with process(tmp_path / "nanoidp.log", *command):
        until(lambda: answers(f"http://127.0.0.1:{port}/.well-known/openid-configuration"), 60)
        words = ("--hub-port", "0", "--portal-port", "0")
        settings = {"COMMONPOOL_IDENTITY": str(identity), "ARL_SECRET": "s3cret"}
        up = commonpool(layout, "up", *words, **settings)
        assert up.returncode == 0, up.stdout + up.stderr
        yield re.search(r"portal +(http://\S+)", up.stdout)[1]
        commonpool(layout, "down")
        assert belonging(layout) == []


@pytest.fixture
def page(tmp_path):
    with chromium() as found:
        found.set_default_timeout(60 * SECONDS)
        yield found
        found.screenshot(path=tmp_path / "last.png", full_page=True)


def all_team_gpus(layout):
    """Have dana's other job hold all GPUs of the team for as long as nobody cancels it."""
    words = ("--as", "dana", "--tier", "team", "--gpus-per-node", "8", "--submission-id", "holder")
    made = commonpool(layout, "submit", *words, "--", "sleep 500")
    assert made.returncode == 0, made.stdout + made.stderr


def sign_in_at_the_provider(page):
    page.get_by_role("button", name="The Laboratory").click()
    page.get_by_label("Username").fill("dana")
    page.get_by_label("Password").fill("pw")
    page.locator('form button[type="submit"]').click()
    expect(page.locator('[data-testid="stSidebar"]')).to_contain_text("Signed in as dana")


def submit_to_the_team_only(page):
    page.get_by_text("Costs").first.wait_for()  # the cards: the page is drawn whole
    settled(page)
    page.get_by_text("Adjust", exact=True).click()
    until(lambda: chosen(page, "Highest tier", "Team"), 60)
    settled(page)
    page.get_by_role("button", name="Submit job").click()
    page.wait_for_url(re.compile("/job"))


def chosen(page, label, option):
    """Choose from a list, which closes where the page still moves under it; so one tries again."""
    page.get_by_label(label).click()
    try:
        page.get_by_role("option", name=option).click(timeout=3 * SECONDS)
    except TookTooLong:
        return False
    return True


def sees_nothing(stranger, address):
    stranger.goto(address)
    stranger.get_by_role("button", name="Development sign-in").click()
    stranger.get_by_role("button", name=re.compile("^alex")).click()
    settled(stranger)
    main = stranger.locator('[data-testid="stMain"]')
    expect(main).to_contain_text("No such job")
    expect(main).not_to_contain_text("verified majority")


def test_from_signing_in_to_what_it_cost_and_a_stranger_sees_nothing(
    layout, portal, page, tmp_path
):
    all_team_gpus(layout)
    page.goto(f"{portal}/submit?tmpl=reasoning")
    sign_in_at_the_provider(page)
    submit_to_the_team_only(page)

    page.get_by_text("Why it waits, pool by pool").wait_for()
    expect(page.locator('[data-testid="stMain"]')).to_contain_text("Planned start")
    page.screenshot(path=tmp_path / "waits.png", full_page=True)
    ended = commonpool(layout, "cancel", "--as", "dana", "holder")
    assert ended.returncode == 0, ended.stdout + ended.stderr

    page.get_by_text("It runs on").first.wait_for()
    told = page.locator(".head .said")
    expect(told).to_have_text("Complete: the job succeeded.", timeout=120 * SECONDS)
    expect(page.get_by_role("log", name="Log of")).to_contain_text("verified majority")
    page.get_by_role("tab", name="Cost").click()
    expect(page.get_by_role("tabpanel", name="Cost")).to_contain_text("H100e-hours")
    page.screenshot(path=tmp_path / "cost.png", full_page=True)
    with page.context.browser.new_context() as other:
        sees_nothing(other.new_page(), page.url)
