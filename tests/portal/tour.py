"""The pictures of docs/tour.md: a real `commonpool up`, real Ray jobs, a page for each role.

Run: `make tour`, or `python -m tests.portal.tour --data FOLDER` with an instance that is up.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from portal.gate.gate import COOKIE
from scheduler.embedded.layout import Layout
from tests.e2e.town import ARGUMENTS, CHROMIUM, Town, session_of, settled
from tests.waiting import until

OUT = Path(__file__).parents[2] / "docs" / "tour"
MOST_BYTES = 150_000
SIZE = {"width": 1180, "height": 860}
COLOURS = 96
TALKS = (
    'for n in $(seq 1 60); do echo epoch $n: loss $(awk "BEGIN {print 2/$n}"); sleep 2;'
    " python -c 'sum(i * i for i in range(3000000))'; done"
)
# Who, the page, what to press on it first, and the picture's name.
SHOTS = (
    ("dana", "/", "", "researcher-home"),
    ("dana", "/submit?tmpl=reasoning", "", "researcher-submit"),
    ("dana", "/plan_a_run", "", "researcher-plan"),
    ("dana", "/job?id=tour-waits", "", "researcher-why"),
    ("dana", "/job?id=tour-runs", "Log", "researcher-log"),
    ("dana", "/job?id=tour-runs", "Cost", "researcher-cost"),
    ("lee", "/usage", "", "lead-usage"),
    ("lee", "/projects", "", "lead-projects"),
    ("ops", "/capacity?pool=national-hub", "", "operator-capacity"),
    ("ops", "/operations", "", "operator-operations"),
    ("pat", "/sharing?days=7", "", "owner-sharing"),
    ("pat", "/approvals", "", "approver-approvals"),
    ("pat", "/request?id={request}", "", "approver-request"),
    ("audra", "/audit", "", "auditor-audit"),
)


def commonpool(data: Path, *words: str) -> str:
    """Run a command against the instance; return what it printed."""
    end = words.index("--") if "--" in words else len(words)
    said = (*words[:end], "--data", str(data), *words[end:])
    done = subprocess.run(  # our own
        [sys.executable, "-m", "scheduler.main", *said],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"commonpool {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def submit(data: Path, who: str, name: str, *words: str) -> None:
    """Submit a job under a name."""
    commonpool(data, "submit", "--as", who, "--submission-id", name, *words)


def state(data: Path, who: str, name: str) -> str:
    """Return a job's state."""
    said: dict[str, str] = json.loads(commonpool(data, "explain", name, "--as", who, "--json"))
    return said["state"]


def day(data: Path) -> str:
    """Let three sectors work, lend and wait; return the request that is left to decide."""
    commonpool(data, "submit", "--as", "dana", "--template", "reasoning", "--follow")
    national = ("--tier", "national", "--gpus-per-node", "8", "--time-limit", "8m")
    submit(data, "iris", "tour-guest", *national, "--nodes", "2", "--", "sleep 400")
    submit(data, "dana", "tour-runs", *national, "--", TALKS)
    until(lambda: state(data, "iris", "tour-guest") == "running", 120)
    submit(data, "alex", "tour-owner", *national, "--nodes", "2", "--", "sleep 200")
    until(lambda: state(data, "dana", "tour-runs") == "running", 120)
    submit(data, "dana", "tour-waits", *national, "--nodes", "4", "--", "sleep 60")
    change = {
        "id": "uni-arl",
        "lender": "state-u",
        "borrower_account": "arl",
        "pools": "state-u-hpc",
        "cap": "8",
        "valid_from": "2026-01-01T00:00Z",
        "valid_to": "2036-01-01T00:00Z",
    }
    fields = [part for name, value in change.items() for part in ("--set", f"{name}={value}")]
    asked = ("request", "create", "agreement", "--as", "alex", "--reason", "ARL asks for evenings")
    made = json.loads(commonpool(data, *asked, *fields, "--json"))
    until(lambda: state(data, "alex", "tour-owner") in ("running", "pending"), 120)
    return str(made["id"])


def kept(png: bytes, name: str) -> None:
    """Write a picture with few colours, which its few flat ones bear well."""
    with Image.open(io.BytesIO(png)) as whole:
        small = whole.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    path = OUT / f"{name}.png"
    small.save(path, optimize=True)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise RuntimeError(f"{path.name} has {size:,} bytes, and {MOST_BYTES:,} are the most")
    print(f"{path.name}: {size:,} bytes")


def take(browser: Browser, found: Town, request: str) -> None:
    """Take every picture, each person with a session of their own."""
    secrets: dict[str, str] = {}
    for who, path, press, name in SHOTS:
        secrets.setdefault(who, session_of(found, who))
        context = browser.new_context(viewport=SIZE, color_scheme="light", timezone_id="UTC")
        cookie = {"name": COOKIE, "value": secrets[who], "url": "https://127.0.0.1/"}
        context.add_cookies([cookie])
        page = context.new_page()
        page.goto(found.portal + path.format(request=request))
        settled(page)
        if press:
            page.get_by_role("tab", name=press).click()
            page.get_by_role("tab", name=press).scroll_into_view_if_needed()
        page.locator('[data-testid="stSkeleton"]').first.wait_for(state="detached")
        settled(page)
        page.wait_for_timeout(1500)  # a chart draws itself after its page is said to be done
        kept(page.screenshot(), name)
        context.close()


def portal_of(layout: Layout) -> str:
    """Return the address that the instance's pages have."""
    plan = json.loads(layout.plan.read_text(encoding="utf-8"))
    given = dict(next(each["env"] for each in plan if each["name"] == "hub"))
    return str(given["COMMONPOOL_PUBLIC_URL"])


@contextmanager
def instance(data: Path | None) -> Iterator[Path]:
    """Give an instance that is up: the one that is named, or one of its own."""
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "data"
        commonpool(own, "up", "--hub-port", "0", "--portal-port", "0")
        try:
            yield own
        finally:
            commonpool(own, "down")


def main() -> None:
    """Make the day, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="an instance that is up; else one is started")
    with instance(parser.parse_args().data) as data:
        layout = Layout.of(data)
        hub = layout.hub_url.read_text(encoding="utf-8").strip()
        request = day(data)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            OUT.mkdir(parents=True, exist_ok=True)
            take(browser, Town(hub, portal_of(layout), layout), request)
            browser.close()


if __name__ == "__main__":
    main()
