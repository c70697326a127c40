"""A hub and a portal as real processes with the demo's policy, and browsers that come to them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, expect, sync_playwright

from portal.gate.gate import COOKIE
from scheduler.embedded.layout import Layout
from scheduler.embedded.prepare import prepare
from tests.e2e.hub_process import COMMONPOOL, free_port
from tests.waiting import until

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READY = '[data-testid="stApp"][data-test-script-state="notRunning"]'
SECONDS = 1000


@dataclass
class Town:
    """Where the hub and the portal are."""

    hub: str
    portal: str
    layout: Layout

    def token(self, name: str) -> str:
        return self.layout.token(name)

    def ask(self, method: str, path: str, secret: str, **options) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.request(method, self.hub + path, headers=headers, trust_env=False, **options)

    def asks_for(self, who: str, change: dict[str, object], reason: str) -> dict[str, Any]:
        """Ask for something that others decide on; return it as it waits for them."""
        body = {"change": change, "reason": reason}
        answer = self.ask("POST", "/v1/requests", self.token(who), json=body)
        assert answer.is_success, answer.text
        return answer.json()


def for_days(days: int, after: int = 0) -> dict[str, object]:
    """Return from when, so many days after now, and until when something is asked for."""
    now = datetime.now(UTC) + timedelta(days=after)
    return {
        "valid_from": now.isoformat(),
        "valid_to": (now + timedelta(days=days)).isoformat(),
    }


def an_agreement() -> dict[str, object]:
    """Return the agreement by which a university lends to the laboratory for a month."""
    return {
        "kind": "agreement",
        "id": "uni-lends-arl",
        "lender": "state-u",
        "borrower_account": "arl",
        "pools": ["state-u-hpc"],
        "cap": 8,
        **for_days(30),
    }


@contextmanager
def town(folder: Path, portal_port: int = 0, **environment: str) -> Iterator[Town]:
    """Start both; without an identity file the development issuer signs people in."""
    layout = Layout.of(folder / "data")
    layout.make()
    prepare(layout, None)
    hub, portal = free_port(), portal_port or free_port()
    found = Town(f"http://127.0.0.1:{hub}", f"http://127.0.0.1:{portal}", layout)
    environment = {
        "COMMONPOOL_PUBLIC_URL": found.portal,
        **(environment or {"COMMONPOOL_DEVELOPMENT_ISSUER": "true"}),
    }
    with ExitStack() as stack:
        words = ("hub", "--data", str(layout.data), "--port", str(hub))
        stack.enter_context(process(folder / "hub.log", *COMMONPOOL, *words, **environment))
        until(lambda: answers(f"{found.hub}/readyz"), 60)
        words = ("portal", "--hub", found.hub, "--port", str(portal))
        stack.enter_context(process(folder / "portal.log", *COMMONPOOL, *words))
        until(lambda: answers(f"{found.portal}/livez"), 60)
        yield found


@contextmanager
def process(log: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "COMMONPOOL_"))}
    with (
        log.open("w") as out,
        subprocess.Popen(command, env=kept | environment, stdout=out, stderr=out) as running,
    ):
        try:
            yield running
        finally:
            running.terminate()
            running.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


@contextmanager
def chromium() -> Iterator[Page]:
    """Give a page of a browser that nobody used before."""
    expect.set_options(timeout=30 * SECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_context(color_scheme="light").new_page()
        page.set_default_timeout(60 * SECONDS)
        yield page
        browser.close()


def settled(page: Page) -> None:
    """Wait until the page is drawn, and no part of it is still a grey block that stands for it."""
    page.locator("h1").first.wait_for()
    page.locator(READY).wait_for()
    expect(page.locator('[data-testid="stSkeleton"]')).to_have_count(0)


def sign_in(page: Page, found: Town, user: str, path: str = "/") -> None:
    """Sign in by the development issuer, with the mouse."""
    page.goto(found.portal + path)
    page.get_by_role("button", name="Development sign-in").click()
    page.get_by_role("button", name=re.compile(f"^{user}")).click()
    settled(page)


def session_of(found: Town, user: str) -> str:
    """Sign in as a browser does, without one; return the session's secret."""
    cookies: dict[str, str] = {}

    def ask(method: str, url: str, **form: str) -> httpx.Response:
        sent = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())}
        sent |= {"Origin": found.portal} if method == "POST" else {}
        url = url if url.startswith("http") else found.portal + url
        answer = httpx.request(method, url, headers=sent, data=form or None, trust_env=False)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            cookies[name] = value
        return answer

    mark = re.search(r'name="agreed" value="(\w+)"', ask("GET", "/auth/start").text)
    assert mark is not None
    left = ask("POST", "/auth/start", issuer="development", next="/", agreed=mark[1])
    chosen = ask("POST", left.headers["location"], user=user)
    assert ask("GET", chosen.headers["location"]).status_code == 303
    return cookies[COOKIE]


def commonpool(*words: str, **environment: str) -> subprocess.Popen[str]:
    """Start a command; its output is to be read."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "COMMONPOOL_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "scheduler.main", *words],
        env=kept | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
