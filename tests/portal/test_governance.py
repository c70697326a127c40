"""Two people of two institutions, a browser and a hub of its own: ask, approve, propose, audit."""

import asyncio
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from scheduler import policy_file
from scheduler.clock import SystemClock
from scheduler.core.audit import Who
from scheduler.db.audit import record
from scheduler.db.engine import Database
from scheduler.db.policy_door import Change, replace_policy
from scheduler.db.tokens import issue_token
from scheduler.wire.accounts import Scope, TokenRequest
from tests.e2e.hub_process import free_port
from tests.e2e.town import ARGUMENTS, CHROMIUM, settled
from tests.portal.test_browser import NARROW, WIDE, answers, fault
from tests.waiting import until

pytestmark = pytest.mark.browser

POLICY_FILE = "infra/policies/demo.yaml"
PEOPLE = ("dana", "alex", "lee", "pat", "audra")
SHOTS = os.environ.get("COMMONPOOL_SCREENSHOTS", "")


async def prepared(data, policy):
    db = Database(f"sqlite+aiosqlite:///{data / 'hub.db'}")
    await db.migrate()
    now = SystemClock().now()
    tokens = {}
    async with db.transaction() as conn:
        change = Change(policy, policy_file.load(policy, 0), Who("test", "command"))
        await record(conn, (await replace_policy(conn, change, now)).entries)
        for name in PEOPLE:
            asked = TokenRequest(subject=name, scope=Scope.USER, expires_in_days=1)
            tokens[name] = (await issue_token(conn, asked, now)).token
    await db.close()
    return tokens


@contextmanager
def process(command, log, url, **env):
    environment = os.environ | env
    with (
        log.open("w") as out,
        subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stdout=out, stderr=out
        ) as it,
    ):
        try:
            until(lambda: answers(url), 60)
            yield
        finally:
            it.terminate()
            it.wait(20)


@pytest.fixture(scope="module")
def portals(tmp_path_factory):
    """One portal for each person, who has it alone, and one hub."""

    data = tmp_path_factory.mktemp("hub")
    tokens = asyncio.run(prepared(data, Path(POLICY_FILE).read_text(encoding="utf-8")))
    hub = f"http://127.0.0.1:{(port := free_port())}"
    with ExitStack() as stack:
        command = ["scheduler.main", "hub", "--data", str(data), "--port", str(port)]
        stack.enter_context(process(command, data / "hub.log", f"{hub}/healthz"))
        urls = {}
        for name, token in tokens.items():
            port = free_port()
            urls[name] = f"http://127.0.0.1:{port}"
            command = ["uvicorn", "portal.gate.asgi:app", "--port", str(port)]
            env = {"COMMONPOOL_HUB_URL": hub, "COMMONPOOL_PORTAL_TOKEN": token}
            log = data / f"portal-{name}.log"
            stack.enter_context(process(command, log, f"{urls[name]}/livez", **env))
        yield urls


@pytest.fixture(scope="module")
def browser(portals):
    """Not before the hub is prepared: Playwright keeps an event loop of its own."""
    del portals
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def visits(browser, portals):
    """Return a function that opens a portal as somebody, and fails the test on any fault."""
    faults, stack = [], ExitStack()

    def open_it(who, path, theme="light"):
        context = browser.new_context(color_scheme=theme)
        stack.callback(context.close)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"exception: {error}"))
        page.on("console", lambda said: faults.append(fault(said)))
        page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
        page.goto(portals[who] + path)
        settled(page)
        return page

    with stack:
        yield open_it
    assert [each for each in faults if each] == []


def shot(page, name):
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png")


def click(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def fill(page, label, text):
    """Fill a field, and leave it: Streamlit takes what was typed when it loses the focus."""
    field = page.get_by_label(label).first
    field.fill(text)
    field.blur()


def decide(page, word, reason):
    fill(page, "Reason (whoever asked reads it", reason)
    click(page, word)


def ask_for_an_agreement(visits):
    asks = visits("alex", "/requests?new=agreement")
    for label, choice in (("Lender", "state-u"), ("Borrower", "arl")):
        asks.get_by_label(label).first.click()
        asks.get_by_role("option", name=choice, exact=True).click()
    asks.get_by_label("Pools").first.click()
    asks.get_by_role("option", name="state-u-hpc").click()
    asks.keyboard.press("Escape")
    fill(asks, "Name of the agreement", "uni-lends-arl")
    fill(asks, "Why", "ARL asks for evenings")
    click(asks, "Send it to its approvers")
    expect(asks.get_by_text("Sent: its approvers are told.")).to_be_visible()
    expect(asks.get_by_text("0 of 2 approvers, from 0 of 2 institutions")).to_be_visible()
    shot(asks, "asked")


def test_an_agreement_is_approved_by_two_people_of_two_institutions(visits):
    ask_for_an_agreement(visits)
    first = visits("pat", "/approvals")
    first.get_by_role("link", name="state-u to lend arl up to 8 GPUs").click()
    expect(first.get_by_text("Runs recalled")).to_be_visible()
    click(first, "Approve")
    expect(first.get_by_text("Say why, in a sentence")).to_be_visible()
    decide(first, "Approve", "they lent us theirs")
    expect(first.get_by_text("1 of 2 approvers, from 1 of 2 institutions").first).to_be_visible()
    expect(first.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
    shot(first, "first-approval")

    second = visits("lee", "/approvals")
    second.get_by_role("link", name="state-u to lend arl up to 8 GPUs").click()
    decide(second, "Approve", "good for both")
    expect(second.get_by_text("It is in force as policy revision 2.")).to_be_visible()
    shot(second, "second-approval")

    nobody = visits("dana", "/approvals")
    expect(nobody.get_by_text("Nothing awaits your decision.")).to_be_visible()


def test_a_policy_is_checked_proposed_and_the_second_editor_is_told(visits):
    lee, pat = visits("lee", "/policy"), visits("pat", "/policy")
    for page in (lee, pat):
        page.get_by_role("tab", name="Propose another").click()
        page.get_by_label("The policy in YAML").wait_for()
    text = lee.get_by_label("The policy in YAML").input_value()
    fill(lee, "The policy in YAML", text.replace("cap: 8", "cap: 0", 1))
    click(lee, "Check it, and plan the present with it")
    expect(lee.get_by_text("1 problem: it cannot be proposed.")).to_be_visible()
    expect(lee.get_by_text("agreements[0].cap")).to_be_visible()
    shot(lee, "policy-problem")
    fill(lee, "The policy in YAML", text.replace("cap: 8", "cap: 6", 1))
    click(lee, "Check it, and plan the present with it")
    expect(lee.get_by_text("It is a valid policy.")).to_be_visible()
    expect(lee.get_by_text("cap from 8 to 6")).to_be_visible()
    fill(lee, "Why", "we need two ourselves")
    click(lee, "Propose")
    expect(lee.get_by_text("Proposed: its approvers are told.")).to_be_visible()

    approver = visits("pat", "/approvals")
    approver.get_by_role("link", name="another policy in place of revision").click()
    decide(approver, "Approve", "agreed")
    expect(approver.get_by_text("It is in force as policy revision")).to_be_visible()

    fill(pat, "The policy in YAML", text.replace("cap: 8", "cap: 7", 1))
    expect(pat.get_by_text("The policy changed while you were editing")).to_be_visible()
    expect(pat.get_by_role("button", name="Propose", exact=True)).to_have_count(0)
    shot(pat, "policy-outdated")


def test_an_auditor_finds_who_did_it_and_verifies_the_chain(visits):
    page = visits("audra", "/audit?action=policy")
    expect(page.get_by_text("policy.apply").first).to_be_visible()
    click(page, "Verify all rows")
    expect(page.get_by_text("The chain holds")).to_be_visible()
    shot(page, "audit")
    stranger = visits("dana", "/audit")
    expect(stranger.get_by_text("the role auditor or operator")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", ["requests", "approvals", "policy", "audit"])
def test_pages_fit_a_narrow_window(visits, path, theme):
    page = visits("audra", f"/{path}", theme)
    page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    settled(page)
    wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wider)
    shot(page, f"{path}-{theme}-narrow")
