"""The portal as people meet it: its own process, a real browser, a hub that comes and goes."""

import os
import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from scheduler.core.lifecycle import JobState
from tests.e2e.town import ARGUMENTS, CHROMIUM, READY, settled
from tests.portal.fake_hub import FakeHub, serving
from tests.waiting import until

pytestmark = pytest.mark.browser

WIDE, NARROW = (1366, 900), (390, 844)
OURS = re.compile(r"(https?|ws)://127\.0\.0\.1[:/]|data:|blob:")
# A page's address is first tried as the server's own: what Streamlit does, and no fault.
PROBE = re.compile(r"/_stcore/(health|host-config)$")
SECONDS = 1000
expect.set_options(timeout=20 * SECONDS)
PAGES = {
    "home": "/",
    "no-jobs-at-home": "/?as=alex",
    "capacity": "/capacity",
    "pool": "/capacity?pool=state-u-hpc",
    "submit": "/submit",
    "template": "/submit?tmpl=edge",
    "plan": "/plan_a_run",
    "jobs": "/jobs",
    "waiting": "/job?id=sweep-large",
    "running": "/job?id=digits-two-nodes",
    "ended": "/job?id=evening-run-1",
    "absent": "/job?id=not-there",
    "accounts": "/accounts",
    "usage": "/usage",
    "sharing": "/sharing",
    "operations": "/operations",
    "reservations": "/reservations",
    "sharing-accounts": "/sharing?by=account&days=90&as=iris",
    "account": "/account",
    "no-jobs": "/jobs?as=alex",
    "no-usage": "/usage?as=zoe",
    "no-account": "/submit?as=zoe",
}


class Place:
    """A portal's address, and the hub behind it, which can be taken away and put back."""

    def __init__(self, url, hub, port):
        self.url, self.hub, self.port = url, hub, port
        self.stack = ExitStack()

    def hub_on(self):
        self.stack.enter_context(serving(self.hub.app, self.port))

    def hub_off(self):
        self.stack.close()


@contextmanager
def portal_process(hub_url, log):
    command = [sys.executable, "-m", "uvicorn", "portal.gate.asgi:app", "--port", "0"]
    with serving(FakeHub().app) as free:  # its port is free the moment it is gone
        port = free.rpartition(":")[2]
    command[-1] = port
    env = os.environ | {"COMMONPOOL_HUB_URL": hub_url}
    with log.open("w") as out, subprocess.Popen(command, env=env, stdout=out, stderr=out) as it:
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: answers(f"{url}/livez"), 60)
            yield url
        finally:
            it.terminate()
            it.wait(20)


def answers(url):
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portal")
    hub = FakeHub()
    with serving(hub.app) as hub_url:
        port = int(hub_url.rpartition(":")[2])
    with portal_process(hub_url, folder / "portal.log") as url:
        place = Place(url, hub, port)
        yield place


@pytest.fixture(autouse=True)
def fresh_hub(place):
    place.hub.reset()
    place.hub_on()
    yield place.hub
    place.hub_off()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        # One context: what the portal is made of (5 MB) is fetched once.
        yield chromium.new_context(color_scheme="light", timezone_id="Asia/Tokyo")
        chromium.close()


@pytest.fixture
def visitor(browser, place):
    """A page that fails the test if anything went wrong in it or left this machine."""
    page = browser.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(f"exception: {error}"))
    page.on("console", lambda said: faults.append(fault(said)))
    page.on("request", lambda sent: faults.append("" if OURS.match(sent.url) else sent.url))
    page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    page.portal = place.url
    yield page
    page.close()
    assert [each for each in faults if each] == []


def fault(said):
    where = said.location["url"]
    return said.text if said.type in ("error", "warning") and not PROBE.search(where) else ""


def go(page, path, person="dana"):
    """Open a page as somebody: `as=` in the path names another person."""
    page.goto(page.portal + signed_in(page, path, person))
    settled(page)


def signed_in(page, path, person="dana"):
    """Give the browser a person's session, and return the path without its `as=`."""
    path, _, other = path.partition("?as=")
    page.goto(f"{page.portal}/auth/as-{other or person}")
    return path


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", PAGES)
def test_each_page_draws_without_a_fault_and_fits(visitor, shots, name, size):
    visitor.set_viewport_size({"width": size[0], "height": size[1]})
    go(visitor, PAGES[name])
    visitor.screenshot(path=shots / f"{name}-{size[0]}.png")
    assert visitor.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert visitor.locator('[data-testid="stException"]').count() == 0
    assert visitor.title().endswith(
        (
            *("Commonpool", "Home", "Capacity", "Submit a job", "Plan a run", "My jobs", "Job"),
            *("Accounts", "Usage and budgets", "Sharing", "Account"),
            *("Operations", "Reservations"),
        )
    )


@pytest.mark.parametrize("path", ["/home", "/home?from=a-bookmark"])
def test_the_name_of_home_leads_home(visitor, path):
    go(visitor, path)
    expect(visitor.get_by_text("Page not found")).to_have_count(0)
    expect(visitor).to_have_url(f"{visitor.portal}/{path.removeprefix('/home')}")


def test_a_list_stays_open_while_the_page_looks_again(visitor, fresh_hub):
    go(visitor, "/capacity")
    expect(visitor.get_by_role("heading", name="GPUs in use, or not well")).to_be_visible()
    choice = visitor.get_by_role("combobox")
    choice.scroll_into_view_if_needed()
    settled(visitor)
    choice.click()
    expect(visitor.get_by_role("option", name="national-hub")).to_be_visible()
    asked = fresh_hub.requests.count("GET /v1/pools")
    until(lambda: fresh_hub.requests.count("GET /v1/pools") > asked + 1, 30)
    visitor.get_by_role("option", name="national-hub").click()
    expect(visitor).to_have_url(re.compile("pool=national-hub"))
    expect(visitor.get_by_text("National tier, site")).to_be_visible()


def test_each_chart_says_in_words_what_it_shows(visitor):
    go(visitor, "/capacity")
    charts = visitor.locator('[data-testid="stVegaLiteChart"]')
    expect(charts).to_have_count(3)
    said = re.compile(r"GPUs by use\. arl-team \(simulated\): 8 GPUs, 4 in quota")
    expect(charts.first).to_have_attribute("aria-label", said)
    visitor.get_by_role("tab", name="Table").click()
    expect(visitor.get_by_role("cell", name="national-hub (simulated)")).to_be_visible()


def test_a_job_is_submitted_followed_and_cancelled(visitor, fresh_hub):
    go(visitor, "/")
    visitor.get_by_role("link", name="Submit a job").first.click()
    visitor.get_by_label("Command", exact=True).fill("python train.py")
    visitor.get_by_label("Nodes", exact=True).fill("2")
    visitor.get_by_label("Submission id (may be left out)", exact=True).fill("by-hand")
    visitor.get_by_role("button", name="Submit job").click()
    expect(visitor.get_by_role("heading", name="by-hand")).to_be_visible()
    job = next(job.id for job in fresh_hub.jobs.values() if job.submission_id == "by-hand")
    expect(visitor).to_have_url(re.compile(f"/job.*id={job}"))
    expect(visitor.get_by_text("being planned")).to_be_visible()

    fresh_hub.change(job, state=JobState.RUNNING, reason="Runs on arl-team, in quota.")
    fresh_hub.logs[job] = "epoch 1\n"
    expect(visitor.get_by_text("Runs on arl-team, in quota.")).to_be_visible(timeout=30 * SECONDS)
    expect(visitor.get_by_text("epoch 1")).to_be_visible(timeout=30 * SECONDS)

    visitor.get_by_role("button", name="Cancel…").click()
    expect(visitor.get_by_role("dialog")).to_contain_text("by-hand runs")
    visitor.get_by_role("button", name="Yes, cancel it").click()
    expect(visitor.get_by_role("dialog")).to_have_count(0)
    expect(visitor.locator("main")).to_contain_text("Stopping")
    assert fresh_hub.jobs[job].state is JobState.STOPPING
    assert fresh_hub.jobs[job].user == "dana"

    fresh_hub.change(job, state=JobState.STOPPED, ended_at=datetime.now(UTC))
    expect(visitor.locator("main")).to_contain_text("Stopped", timeout=30 * SECONDS)
    expect(visitor.get_by_role("button", name="Cancel…")).to_have_count(0)


def test_a_refused_field_is_marked_and_nothing_typed_is_lost(visitor):
    go(visitor, "/submit")
    visitor.get_by_label("Command", exact=True).fill("python train.py")
    visitor.get_by_label("Nodes", exact=True).fill("9")
    visitor.get_by_role("button", name="Submit job").click()
    expect(visitor.get_by_text("nodes of the largest pool it may use: 4")).to_be_visible()
    expect(visitor.get_by_label("Command", exact=True)).to_have_value("python train.py")
    expect(visitor.get_by_label("Nodes", exact=True)).to_have_value("9")


def test_more_options_unfold_and_a_mistake_in_them_stays_in_sight(visitor, fresh_hub, shots):
    go(visitor, "/submit")
    visitor.get_by_label("Command", exact=True).fill("python train.py")
    expect(visitor.get_by_label("Software", exact=True)).to_be_hidden()
    visitor.get_by_text("More options").click()
    visitor.get_by_label("Name", exact=True).fill("digits")
    visitor.get_by_label("Software", exact=True).fill("CUDA 12")
    options = visitor.locator('[data-testid="stExpander"]').filter(has_text="More options")
    options.screenshot(path=shots / "more.png")
    visitor.get_by_role("button", name="Submit job").click()
    expect(visitor.get_by_text("Use the names of the policy, such as")).to_be_visible()
    options.screenshot(path=shots / "more-refused.png")
    visitor.get_by_label("Software", exact=True).fill("cuda-12.4, pytorch")
    visitor.get_by_role("button", name="Submit job").click()
    visitor.wait_for_url(re.compile("/job"))
    job = list(fresh_hub.jobs.values())[-1]
    assert (job.name, job.software) == ("digits", ("cuda-12.4", "pytorch"))


def test_files_go_with_the_job(visitor, fresh_hub):
    go(visitor, "/submit")
    visitor.get_by_label("Command", exact=True).fill("python train.py")
    file = {"name": "work.zip", "mimeType": "application/zip", "buffer": b"PK\x05\x06" + b"\0" * 18}
    visitor.locator('input[type="file"]').set_input_files(file)
    expect(visitor.get_by_text("work.zip")).to_be_visible()
    visitor.get_by_role("button", name="Submit job").click()
    visitor.wait_for_url(re.compile("/job"))
    assert list(fresh_hub.packages.values()) == [file["buffer"]]


def test_a_hub_that_goes_away_is_named_and_its_return_is_noticed(visitor, place):
    go(visitor, "/capacity")
    place.hub_off()
    away = visitor.get_by_text(f"No answer from the hub at http://127.0.0.1:{place.port}").first
    expect(away).to_be_visible(timeout=30 * SECONDS)
    expect(visitor.get_by_text("This is what it said").first).to_be_visible()
    expect(visitor.locator('[data-testid="stVegaLiteChart"]')).to_have_count(3)
    place.hub_on()
    expect(away).to_have_count(0, timeout=30 * SECONDS)


@pytest.mark.parametrize("path", ["/", "/capacity", "/jobs", "/submit", "/job?id=sweep-large"])
def test_a_page_opened_while_the_hub_is_away_fills_itself_in_later(visitor, place, path):
    known_at_the_gate(visitor)
    place.hub_off()
    go_without_heading(visitor, path)
    away = visitor.get_by_text("No answer from the hub at").first
    expect(away).to_be_visible(timeout=30 * SECONDS)
    expect(visitor.get_by_text("commonpool up").first).to_be_visible()
    place.hub_on()
    expect(away).to_have_count(0, timeout=30 * SECONDS)
    expect(visitor.locator("h1").first).to_be_visible()


def known_at_the_gate(page):
    """Let the gate ask the hub who this is while it can: it remembers while the hub is away."""
    page.goto(page.portal + signed_in(page, "/accounts"))


def go_without_heading(page, path):
    page.goto(page.portal + path)
    page.locator(READY).wait_for(timeout=30 * SECONDS)


def test_sharing_has_words_tables_and_files_for_its_pictures(visitor, tmp_path):
    go(visitor, "/sharing?by=account", "iris")
    said = re.compile(r"Who lent to whom\. .*lent acme-robotics .* H100e-hours in \d+ loans")
    expect(visitor.locator('[data-testid="stEChartsChart"]')).to_have_attribute("aria-label", said)
    charts = visitor.locator('[data-testid="stVegaLiteChart"]')
    expect(charts).to_have_count(4)
    pictures = ("Net balance", "Balance of each pair", "loans over time", "How long lenders")
    for place, words in enumerate(pictures):
        expect(charts.nth(place)).to_have_attribute("aria-label", re.compile(words))
    twins = visitor.get_by_role("tab", name="View as a table")
    expect(twins).to_have_count(5)
    twins.first.focus()
    visitor.keyboard.press("Enter")
    expect(visitor.get_by_role("cell", name="state-u", exact=True).first).to_be_visible()
    for kind, ending in (("CSV", "csv"), ("Parquet", "parquet")):
        with visitor.expect_download() as file:
            visitor.get_by_role("button", name=f"Entries as {kind}").click()
        assert file.value.suggested_filename == f"commonpool-ledger-30-days.{ending}"
        file.value.save_as(tmp_path / ending)
        assert (tmp_path / ending).read_text() == f"loan,side as {ending}\n"


def test_usage_follows_the_days_in_the_address(visitor):
    go(visitor, "/usage?days=7")
    visitor.get_by_label("Days back").click()
    visitor.get_by_role("option", name="90", exact=True).click()
    expect(visitor).to_have_url(re.compile("days=90"))
    visitor.reload()
    settled(visitor)
    expect(visitor.get_by_text("Of the last 31 days.")).to_be_visible()
    with visitor.expect_download() as file:
        visitor.get_by_role("button", name="Usage by account and day as CSV").click()
    assert file.value.suggested_filename == "commonpool-usage-90-days.csv"


def test_the_address_holds_the_filter(visitor):
    go(visitor, "/jobs")
    visitor.get_by_label("State").click()
    visitor.get_by_role("option", name="failed").click()
    expect(visitor).to_have_url(re.compile("state=failed"))
    visitor.reload()
    settled(visitor)
    expect(visitor.get_by_role("link", name="evening-run-1")).to_be_visible()
    expect(visitor.get_by_role("link", name="digits-two-nodes")).to_have_count(0)


def test_the_person_stays_over_pages_links_and_a_reload(visitor):
    go(visitor, "/", "iris")
    visitor.get_by_role("link", name="My jobs", exact=True).click()
    visitor.get_by_role("link", name="raysubmit_jforeign001").click()
    foreign = visitor.get_by_role("heading", name="raysubmit_jforeign001")
    expect(foreign).to_be_visible()
    visitor.reload()
    expect(foreign).to_be_visible(timeout=30 * SECONDS)
    visitor.go_back()
    expect(visitor.get_by_role("heading", name="My jobs")).to_be_visible()


def test_whoever_is_not_signed_in_is_led_to_the_hubs_door_and_back(visitor):
    visitor.context.clear_cookies()
    visitor.goto(f"{visitor.portal}/jobs?state=failed")
    expect(visitor.get_by_role("heading", name="the hub's start")).to_be_visible()
    expect(visitor.locator("body")).to_contain_text("next=/jobs%3Fstate%3Dfailed")


def test_a_session_that_is_ended_elsewhere_ends_at_the_next_click(visitor, fresh_hub):
    go(visitor, "/jobs?state=failed", "iris")
    fresh_hub.signed_out.add("iris")
    visitor.get_by_role("link", name="Accounts").click()
    expect(visitor.get_by_text("Your session has ended")).to_be_visible()
    expect(visitor.get_by_text("GPUs")).to_have_count(0)
    visitor.get_by_role("link", name="Sign in again").click()
    expect(visitor.locator("body")).to_contain_text("next=/accounts")


def test_exact_times_are_in_the_viewers_zone(visitor):
    go(visitor, "/job?id=digits-two-nodes")
    visitor.get_by_role("tab", name="History").click()
    expect(visitor.get_by_text("Exact times are in JST.")).to_be_visible()


def test_peoples_text_is_shown_as_it_was_written(visitor, fresh_hub):
    name = "<b>*x*</b> [y](http://evil.example) :material/home: $a$"
    fresh_hub.change("jwaits00001", reason=name, entrypoint=name)
    go(visitor, "/jobs")
    expect(visitor.get_by_text(name, exact=True)).to_be_visible()
    assert visitor.get_by_role("link", name="y", exact=True).count() == 0
    assert visitor.locator("main b").count() == 0
