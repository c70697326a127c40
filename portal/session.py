"""Who is looking, at which hub, at what time and in which zone: once per run of a page."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from portal.client.hub import Hub, HubUnreachable, http_client
from portal.format import ago
from portal.signin import Person
from scheduler.clock import SystemClock
from scheduler.wire.identity import Session

Answer = TypeVar("Answer")
WHO_SECONDS = 10.0
_NOTHING = timedelta(0)


@dataclass(frozen=True, slots=True)
class Visit:
    """What a page needs to know besides its own arguments.

    `session` is who the hub says is looking, with roles and what they allow; None while it
    never answered.
    """

    hub: Hub
    person: Person
    now: datetime
    zone: tzinfo
    session: Session | None = None


@st.cache_resource(show_spinner=False)  # process-wide: connections only, no token, no answer
def _connections() -> httpx.Client:
    return http_client()


def sign_in(person: Person, hub_url: str) -> None:
    """Remember who looks; what another person was shown is forgotten."""
    before: Person | None = st.session_state.get("person")
    if before is None or (before.name, before.token) != (person.name, person.token):
        st.session_state["shown"] = {}
        st.session_state["before"] = []
        st.session_state.pop("who", None)
        st.session_state.pop("issued", None)
    st.session_state["person"] = person
    st.session_state["hub_url"] = hub_url
    _ask_who()


def visit() -> Visit:
    """Return the present visit, also in a fragment that runs on its own."""
    person: Person = st.session_state["person"]
    who: Session | None = st.session_state.get("who")
    if who is not None and not person.signed_in:
        person = replace(person, name=who.user)
    hub = Hub(st.session_state["hub_url"], person.token, _connections(), passive=_looks_again())
    return Visit(hub, person, SystemClock().now(), _zone(), who)


def _ask_who() -> None:
    """Ask the hub who looks, once in a while: roles change with the policy.

    Whether the session still lives, the page's own questions show at each run.
    """
    now = SystemClock().monotonic()
    if "who" in st.session_state and now - st.session_state["who_at"] < WHO_SECONDS:
        return
    # While it is away the last answer stays, and the page itself tells that it is.
    with suppress(HubUnreachable):
        st.session_state["who"] = visit().hub.session()
        st.session_state["who_at"] = now


def _looks_again() -> bool:
    """Return whether only a part of the page runs: it looks again by itself, nobody acts.

    A click within such a part counts as no act either; the next one outside it does.
    """
    context = get_script_run_ctx()
    return context is not None and bool(context.fragment_ids_this_run)


def is_dark() -> bool:
    """Return whether the viewer's theme has a dark background."""
    return bool(st.context.theme.type == "dark")


def latest(
    what: str, ask: Callable[[], Answer], *, quietly: bool = False, keep: timedelta = _NOTHING
) -> Answer:
    """Return the hub's answer, or while it is away the last one, saying how old that is.

    `quietly` is for what stands beside something that already says so. `keep` is for sums that
    no click of the viewer's changes: an answer to this session that is younger is shown again.

    Raises:
        HubUnreachable: the hub is away, and this was never answered before.
    """
    shown: dict[str, tuple[object, datetime]] = st.session_state["shown"]
    now = SystemClock().now()
    if what in shown and now - shown[what][1] < keep:
        return cast("Answer", shown[what][0])
    try:
        answer = ask()
    except HubUnreachable as away:
        if what not in shown:
            raise
        answer, at = cast("tuple[Answer, datetime]", shown[what])
        if not quietly:
            _say_old(away, at, now)
        return answer
    shown[what] = (answer, now)
    return answer


def _say_old(away: HubUnreachable, at: datetime, now: datetime) -> None:
    st.warning(
        f"{away.reason.capitalize()}. This is what it said {ago(at, now)}. Jobs that run are"
        " not affected; this page catches up by itself when the hub is back.",
        title=f"No answer from the hub at `{away.url}`",
        icon=":material/cloud_off:",
    )


def _zone() -> tzinfo:
    """Return the viewer's own zone as the browser tells it."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):  # a browser may name a zone we do not have
        return ZoneInfo("UTC")
