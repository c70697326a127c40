"""What a page shows in place of what it cannot show, and how it recovers by itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import wraps
from typing import Concatenate, ParamSpec
from urllib.parse import quote, urlencode, urlsplit

import httpx
import streamlit as st

from portal.client.hub import HubProblem, HubUnreachable, sentences
from portal.format import plain
from portal.parts.door import SIGN_IN, link_to
from portal.session import visit

LOOK_AGAIN = "3s"
SIGN_IN_AGAIN = "sign-in"
"""The field of the hub's refusal of a decision after a sign-in that is old or weak."""
JUST_NOW = timedelta(seconds=1)
Arguments = ParamSpec("Arguments")
NEXT_STEPS = {
    httpx.codes.UNAUTHORIZED: "Sign in again, or ask for a new token with"
    " `commonpool token create`.",
    httpx.codes.FORBIDDEN: "Ask somebody who may do this, or an operator for the role.",
}
TITLES = {
    httpx.codes.UNAUTHORIZED: "The hub does not accept this token",
    httpx.codes.FORBIDDEN: "You may not do this",
    httpx.codes.NOT_FOUND: "Not found",
    httpx.codes.SERVICE_UNAVAILABLE: "The hub cannot store anything now",
}


@contextmanager
def told() -> Iterator[None]:
    """Show a refusal or an absent hub where the content would have been."""
    try:
        yield
    except HubUnreachable as away:
        say_away(away)
    except HubProblem as problem:
        say(problem)


def panel(
    draw: Callable[Arguments, None], every: str | None
) -> Callable[Concatenate[Arguments], None]:
    """Return `draw` as a part of the page that redraws itself `every` so often.

    It tells its own problems, since a page's own guard is not on the way when only the
    part runs; and once an absent hub is back it heals at once, however seldom it looks again.
    """

    @wraps(draw)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        with told():
            try:
                draw(*args, **kwargs)
            except HubUnreachable:
                come_back(visit().now)
                raise

    fragment: Callable[Arguments, None] = st.fragment(guarded, run_every=every)
    return fragment


def say(problem: HubProblem) -> None:
    """Show a refusal: what, the limit, and what to do."""
    if problem.status == httpx.codes.UNAUTHORIZED and visit().person.signed_in:
        say_session_ended(problem.detail)
        return
    if problem.field == SIGN_IN_AGAIN and visit().person.signed_in:
        say_again(problem)
        return
    body = plain(sentences(problem))
    if not problem.next_step and problem.status in NEXT_STEPS:
        body += " " + NEXT_STEPS[httpx.codes(problem.status)]
    if problem.request_id:
        body += f" Name this when you ask for help: `{problem.request_id}`."
    title = next((said for code, said in TITLES.items() if code == problem.status), problem.title)
    st.error(body, title=title, icon=":material/block:")


def say_again(problem: HubProblem) -> None:
    """Show that a decision asks for a fresh sign-in, and the way there and back to this page."""
    limit = f"It asks for {problem.limit}." if problem.limit else ""
    why = plain(f"{problem.detail or ''} {limit}")
    st.warning(
        f"{why} Nothing was changed. Signing in brings you back to this page, to decide then.",
        title=problem.title,
        icon=":material/lock_clock:",
    )
    link_to(f"{SIGN_IN}?again=1&next={quote(_here(), safe='/')}", "Sign in again")


def say_session_ended(why: str = "") -> None:
    """Show that nobody is signed in any more, and the way back to this very page."""
    st.info(
        f"{plain(why)} Jobs are not affected. Signing in brings you back to this page.".strip(),
        title="Your session has ended",
        icon=":material/lock:",
    )
    link_to(f"{SIGN_IN}?next={quote(_here(), safe='/')}", "Sign in again")


def _here() -> str:
    """Return this page's own address, below the host; Streamlit tells the query apart from it."""
    path = urlsplit(st.context.url or "/").path or "/"
    query = urlencode([(name, one) for name in st.query_params for one in _values(name)])
    return f"{path}?{query}" if query else path


def _values(name: str) -> list[str]:
    return list(st.query_params.get_all(name))


def say_away(away: HubUnreachable) -> None:
    """Show that the hub is away: where it should be, why, and what to do."""
    st.error(
        f"{plain(away.reason.capitalize())}. Jobs that run are not affected. Is it started?"
        " `commonpool status` tells, `commonpool up` starts it. This page looks again every few"
        " seconds and comes back by itself.",
        title=f"No answer from the hub at `{away.url}`",
        icon=":material/cloud_off:",
    )


@st.fragment(run_every=LOOK_AGAIN)
def come_back(away_at: datetime) -> None:
    """Redraw the whole page once the hub answers again; draws nothing itself.

    Not in the very run that found it away: that would be a loop without a pause.
    """
    if visit().now - away_at < JUST_NOW:
        return
    try:
        visit().hub.me()
    except HubUnreachable:
        return
    except HubProblem:
        pass  # it answers: the page will show what it says
    st.rerun()
