"""axe-core on a page: what of the rules of WCAG 2.2 AA and Section 508 it breaks, in words."""

from dataclasses import dataclass
from importlib.metadata import files

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "section508")
"""axe-core's names for WCAG 2.0 to 2.2, levels A and AA, and for Section 508."""
MANY_FACES = 8


@dataclass(frozen=True)
class Excuse:
    """A violation that is not the portal's to mend: where it is, whose it is, who says so."""

    rule: str
    within: str  # a part of the element's markup
    reason: str
    source: str


STREAMLITS_OWN: tuple[Excuse, ...] = ()
"""What Streamlit draws so, with no setting against it. Nothing else is overlooked."""


def source():
    """Return axe-core itself, as the package `axe-playwright-python` carries it."""
    (script,) = (each for each in files("axe-playwright-python") if each.name == "axe.min.js")
    return script.read_text(encoding="utf-8")


AXE = source()


def inject(page):
    """Put axe-core into the page by the debugger: the page's own policy lets no script in."""
    debugger = page.context.new_cdp_session(page)
    debugger.send("Runtime.evaluate", {"expression": AXE + ";0"})
    debugger.detach()


def violations(page, face=""):
    """Return a sentence for each element that breaks a rule."""
    rules = list(RULES)
    run = "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})"
    found = page.evaluate(run, rules)["violations"]
    return [
        f"{face}: {each['id']} ({each['impact']}) at {node['target']}: {node['html'][:300]}"
        f" – {node['failureSummary']}"  # noqa: RUF001
        for each in found
        for node in each["nodes"]
        if not any(it.rule == each["id"] and it.within in node["html"] for it in STREAMLITS_OWN)
    ]


def every_face(page, settled):
    """Yield as the page is shown at first, with all that unfolds unfolded, and each row of tabs."""
    yield "at first"
    # What stands behind a tab is no one's to unfold yet.
    folded = page.locator("main details:not([open]) > summary:visible")
    if folded.count():
        for _ in range(folded.count()):
            folded.first.click()
            settled(page)
        yield "unfolded"
    for number in range(1, MANY_FACES):
        if not _turn(page, settled, number, inside=False):
            return
        yield f"tabs {number + 1}"
        for inner in range(1, MANY_FACES):
            if not _turn(page, settled, inner, inside=True):
                break
            yield f"tabs {number + 1}, {inner + 1} inside"


def _turn(page, settled, number, *, inside):
    """Choose the tab of that number in each row; rows inside of a tab are for when it is open."""
    within = "one => !!one.parentElement.closest('[role=tabpanel]')"
    tabs = page.locator(f'main [role="tablist"] [role="tab"]:nth-of-type({number + 1})')
    shown = [tab for tab in tabs.all() if tab.is_visible() and tab.evaluate(within) == inside]
    for tab in shown:
        tab.click()
    settled(page)
    return bool(shown)
