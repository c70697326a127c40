"""The live log in a real browser: it follows, stays, goes on, and runs no script."""

import re

import pytest
from playwright.sync_api import expect

from scheduler.core.lifecycle import JobState
from tests.e2e.town import settled
from tests.portal.axe import inject, violations
from tests.portal.test_browser import NARROW, WIDE, browser, fresh_hub, go, place, visitor

__all__ = ["browser", "fresh_hub", "place", "visitor"]
pytestmark = pytest.mark.browser
JOB, PATH = "jdigits0001", "/job?id=digits-two-nodes"


def log(page):
    return page.get_by_role("log")


def said(page):
    return page.locator(".head .said")


def write(hub, text):
    hub.logs[JOB] += text


def where(page):
    """Return how far the log is scrolled, once it stands still."""
    still = """one => new Promise(done => {
        let before = -1
        const look = () => {
            if (one.scrollTop === before) { done(before); return }
            before = one.scrollTop
            setTimeout(look, 100)
        }
        look()
    })"""
    return log(page).evaluate(still)


def at_end(page):
    """Return whether the last line is in sight."""
    rest = "one => one.scrollHeight - one.scrollTop - one.clientHeight"
    return log(page).evaluate(rest) < 8


def test_lines_come_by_themselves_until_the_job_has_ended(visitor, fresh_hub, shots):
    go(visitor, PATH)
    expect(log(visitor)).to_contain_text("epoch 40: loss 0.050")
    expect(said(visitor)).to_have_text("Following.")
    write(fresh_hub, "epoch 41: loss")
    expect(log(visitor).locator(".line").last).to_have_text("epoch 41: loss")
    write(fresh_hub, " 0.049\nepoch 42: loss 0.048\n")
    expect(log(visitor).locator(".line").nth(40)).to_have_text("epoch 41: loss 0.049")
    visitor.screenshot(path=shots / "log-following.png")
    fresh_hub.change(JOB, state=JobState.SUCCEEDED)
    expect(said(visitor)).to_have_text("Complete: the job succeeded.")
    # The page itself is drawn anew, without anybody's doing: its state, and what can be done.
    expect(visitor.get_by_role("button", name="Retry")).to_be_visible()
    assert log(visitor).locator(".line").all_inner_texts() == fresh_hub.logs[JOB].splitlines()


def test_following_runs_no_script(visitor, fresh_hub):
    runs = []
    sent = lambda frame: runs.append(frame)  # noqa: E731, PLW0108  # Playwright marks what it calls
    visitor.on("websocket", lambda socket: socket.on("framesent", sent))
    go(visitor, PATH)
    expect(log(visitor)).to_contain_text("epoch 40")
    began = len(runs)
    for number in range(41, 61):
        write(fresh_hub, f"epoch {number}: loss 0\n")
        expect(log(visitor)).to_contain_text(f"epoch {number}:")
    assert began
    assert runs[began:] == []


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("sweep-large", "No output yet: the job has not started."),
        ("evening-run-0", "The job wrote nothing."),
    ],
)
def test_a_job_without_output_says_so(visitor, job, words):
    go(visitor, f"/job?id={job}")
    expect(log(visitor)).to_have_attribute("data-empty", words)


def test_what_a_job_prints_is_text_and_nothing_else(visitor, fresh_hub):
    write(
        fresh_hub,
        "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>\n"
        "\x1b[31mred\x1b[0m \x1b]0;title\x07and \x1b[2Kplain\x00\x08\n"
        "\u202eabc\u202c\n"
        "  1%|\r 50%|\r100%|done\r\n"
        "\tindented\n\n",
    )
    go(visitor, PATH)
    lines = log(visitor).locator(".line")
    expect(lines).to_have_count(46)
    found = [line.evaluate("one => one.textContent") for line in lines.all()[40:]]
    assert found == [
        "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>",
        "red and plain\u2400\u2408",
        "\ufffdabc\ufffd",
        "100%|done",
        "\tindented",
        "",
    ]
    assert log(visitor).locator("img, script").count() == 0
    assert "taken" not in visitor.title()


def test_a_reader_who_scrolls_up_stays_where_they_are_and_goes_on_by_the_keyboard(
    visitor, fresh_hub, shots
):
    write(fresh_hub, "".join(f"line {n}\n" for n in range(500)))
    go(visitor, PATH)
    expect(log(visitor)).to_contain_text("line 499")
    assert at_end(visitor)
    log(visitor).focus()
    visitor.keyboard.press("PageUp")
    button = visitor.get_by_role("button", name="Go on following")
    expect(button).to_be_visible()
    expect(said(visitor)).to_have_text("Paused where you read; the log goes on below.")
    stands = where(visitor)
    write(fresh_hub, "line 500\nline 501\n")
    expect(button).to_have_text("Go on following (2 new lines)")
    assert where(visitor) == stands
    visitor.screenshot(path=shots / "log-paused.png")
    visitor.keyboard.press("Tab")
    expect(button).to_be_focused()
    visitor.keyboard.press("Enter")
    expect(button).to_be_hidden()
    expect(log(visitor)).to_be_focused()
    expect(said(visitor)).to_have_text("Following.")
    assert at_end(visitor)


def test_a_hub_that_goes_away_leaves_what_is_shown_and_says_since_when(visitor, fresh_hub, place):
    go(visitor, PATH)
    expect(log(visitor)).to_contain_text("epoch 40")
    place.hub_off()
    expect(said(visitor)).to_contain_text(
        re.compile(r"No answer from the hub since \d\d:\d\d:\d\d")
    )
    assert log(visitor).locator(".line").count() == 40
    write(fresh_hub, "epoch 41: loss 0\n")
    place.hub_on()
    expect(log(visitor)).to_contain_text("epoch 41")
    expect(said(visitor)).to_have_text("Following.")
    assert log(visitor).locator(".line").count() == 41


def look_away(page, *, away):
    """Have the page hidden, as behind another tab, or in sight again."""
    page.evaluate(
        "away => { Object.defineProperty(document, 'hidden', {value: away, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')) }",
        away,
    )


def test_a_page_that_nobody_looks_at_is_not_served_and_catches_up_later(visitor, fresh_hub):
    go(visitor, PATH)
    expect(log(visitor)).to_contain_text("epoch 40")
    look_away(visitor, away=True)
    write(fresh_hub, "epoch 41: loss 0\n")
    look_away(visitor, away=False)
    expect(log(visitor)).to_contain_text("epoch 41")
    assert log(visitor).locator(".line").all_inner_texts() == fresh_hub.logs[JOB].splitlines()


def test_a_connection_that_breaks_goes_on_without_a_line_lost_or_doubled(browser, place, fresh_hub):
    page = browser.new_page()  # whose console may say that the network is away
    page.portal = place.url
    go(page, PATH)
    expect(log(page)).to_contain_text("epoch 40")
    page.context.set_offline(True)
    try:
        write(fresh_hub, "epoch 41: loss 0\n")
        # What is open is not cut by this, so the page looks away and back.
        look_away(page, away=True)
        look_away(page, away=False)
        expect(said(page)).to_contain_text("No connection since")
        assert log(page).locator(".line").count() >= 40
    finally:
        page.context.set_offline(False)
    write(fresh_hub, "epoch 42: loss 0\n")
    expect(log(page)).to_contain_text("epoch 42")
    expect(said(page)).to_have_text("Following.")
    assert log(page).locator(".line").all_inner_texts() == fresh_hub.logs[JOB].splitlines()
    page.close()


def test_a_session_that_ends_ends_the_log_and_leads_to_the_door(visitor, fresh_hub):
    go(visitor, PATH)
    expect(log(visitor)).to_contain_text("epoch 40")
    fresh_hub.signed_out.add("dana")
    expect(said(visitor)).to_contain_text("Your session has ended")
    again = visitor.get_by_role("link", name="Sign in again").first
    expect(again).to_have_attribute("href", re.compile(r"next=%2Fjob%3Fid%3Ddigits-two-nodes"))
    write(fresh_hub, "secret\n")
    visitor.reload()
    expect(visitor.get_by_role("log")).to_have_count(0)


def test_fifty_megabytes_are_passed_over_and_the_whole_log_is_a_file(visitor, fresh_hub, shots):
    go(visitor, PATH)
    expect(log(visitor)).to_contain_text("epoch 40")
    line = "x" * 999 + "\n"
    write(fresh_hub, line * (50 * 10**6 // len(line)) + "the last line\n")
    expect(visitor.get_by_text("the last line", exact=True)).to_be_visible()
    passed = visitor.get_by_text("MB are passed over here; the whole log has them")
    expect(passed).to_have_count(1)
    assert log(visitor).locator(".line").count() < 400
    passed.scroll_into_view_if_needed()
    visitor.screenshot(path=shots / "log-passed-over.png")
    with visitor.expect_download() as file:
        visitor.get_by_role("link", name="Download the whole log").click()
    assert file.value.suggested_filename == f"{JOB}.log"
    assert file.value.path().stat().st_size == len(fresh_hub.logs[JOB])


def test_the_page_keeps_two_thousand_lines_and_says_so(visitor, fresh_hub):
    go(visitor, PATH)
    expect(log(visitor)).to_contain_text("epoch 40")
    write(fresh_hub, "".join(f"line {n}\n" for n in range(5000)))
    expect(visitor.get_by_text("line 4999", exact=True)).to_be_visible()
    expect(visitor.get_by_text("Only the last 2,000 lines are shown.")).to_be_visible()
    assert log(visitor).locator(".line").count() == 2000
    assert log(visitor).locator(".line").first.inner_text() == "line 3000"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_breaks_no_rule_of_axe_and_fits(visitor, fresh_hub, shots, theme, size):
    visitor.emulate_media(color_scheme=theme)
    visitor.set_viewport_size({"width": size[0], "height": size[1]})
    write(fresh_hub, "a long line " * 60 + "\n")
    go(visitor, PATH)
    expect(log(visitor)).to_contain_text("a long line")
    log(visitor).focus()
    visitor.keyboard.press("PageUp")
    inject(visitor)
    assert violations(visitor, f"the log, {theme}") == []
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not visitor.evaluate(wide)
    log(visitor).scroll_into_view_if_needed()
    visitor.screenshot(path=shots / f"log-{theme}-{size[0]}.png")
    settled(visitor)
