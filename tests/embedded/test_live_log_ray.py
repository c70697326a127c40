"""A real Ray job's log, read in a real browser from its first line to its last, live."""

import re

import pytest
from playwright.sync_api import expect, sync_playwright
from streamlit.proto.BackMsg_pb2 import BackMsg

from scheduler.embedded.layout import Layout
from tests.e2e.town import ARGUMENTS, CHROMIUM, READY
from tests.embedded.test_template_ray import SECONDS, commonpool, portal

__all__ = ["portal"]
pytestmark = [pytest.mark.ray, pytest.mark.browser, pytest.mark.timeout(600)]
LINES = 16
PROGRAM = f"for n in $(seq 1 {LINES}); do echo step $n of {LINES}; sleep 0.5; done; echo the end"


@pytest.fixture
def submitted(portal, tmp_path):
    """A job of dana's that talks for some seconds."""
    del portal
    words = ("--as", "dana", "--tier", "team", "--submission-id", "live", "--", PROGRAM)
    made = commonpool(Layout.of(tmp_path / "data"), "submit", *words)
    assert made.returncode == 0, made.stdout + made.stderr


def runs_in(frames):
    """Return what the browser asked Streamlit to run: the page, or a part of it by its name."""
    found = []
    for frame in frames:
        message = BackMsg()
        message.ParseFromString(frame)
        if message.WhichOneof("type") == "rerun_script":
            found.append(message.rerun_script.fragment_id or "the page")
    return found


@pytest.fixture
def page(portal):
    """A page in which dana is signed in, at a job that was just submitted."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = chromium.new_context(color_scheme="light").new_page()
        page.set_default_timeout(120 * SECONDS)
        page.frames_sent = []
        sent = lambda frame: page.frames_sent.append(frame)  # noqa: E731, PLW0108  # it is marked
        page.on("websocket", lambda socket: socket.on("framesent", sent))
        page.goto(f"{portal}/job?id=live")
        page.get_by_role("button", name="Development sign-in").click()
        page.get_by_role("button", name=re.compile("^dana")).click()
        page.locator(READY).wait_for()
        yield page
        chromium.close()


@pytest.mark.usefixtures("submitted")
def test_a_log_is_read_to_its_end_while_no_script_runs(page, tmp_path):
    told = page.locator(".head .said")
    expect(told).to_have_text("Following.", timeout=120 * SECONDS)
    # The page runs once to show that the job runs; from here on it has no reason to.
    page.get_by_text("It runs on").first.wait_for()
    page.get_by_text(f"step 3 of {LINES}", exact=True).wait_for()
    page.locator(READY).wait_for()
    began = len(page.frames_sent)
    page.get_by_text(f"step {LINES} of {LINES}", exact=True).wait_for()
    before, meanwhile = page.frames_sent[:began], page.frames_sent[began:]
    expect(told).to_have_text("Complete: the job succeeded.", timeout=60 * SECONDS)
    page.get_by_role("button", name="Retry").wait_for()
    page.screenshot(path=tmp_path / "read.png")
    assert runs_in(before)  # so that none is no mistake in the counting
    assert runs_in(meanwhile) == []
    steps = [f"step {n} of {LINES}" for n in range(1, LINES + 1)]
    lines = page.get_by_role("log").locator(".line").all_inner_texts()
    assert lines[-LINES - 1 :] == [*steps, "the end"]  # before them, what Ray says itself
