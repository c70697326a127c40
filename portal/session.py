"""Who is looking, at which hub, at what time and in which zone: once per run of a page."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
import streamlit as st

from portal.format import ago
from portal.hub import Hub, HubUnreachable, http_client
from portal.signin import Person
from scheduler.clock import SystemClock

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Visit:
    """What a page needs to know besides its own arguments."""

    hub: Hub
    person: Person
    now: datetime
    zone: tzinfo


@st.cache_resource(show_spinner=False)  # process-wide: connections only, no token, no answer
def _connections() -> httpx.Client:
    return http_client()


def sign_in(person: Person, hub_url: str) -> None:
    """Remember who looks; what another person was shown is forgotten."""
    if st.session_state.get("person") != person:
        st.session_state["shown"] = {}
        st.session_state["before"] = []
        st.session_state.pop("log", None)
    st.session_state["person"] = person
    st.session_state["hub_url"] = hub_url


def visit() -> Visit:
    """Return the present visit, also in a fragment that runs on its own."""
    person: Person = st.session_state["person"]
    hub = Hub(st.session_state["hub_url"], person.token, _connections())
    return Visit(hub, person, SystemClock().now(), _zone())


def is_dark() -> bool:
    """Return whether the viewer's theme has a dark background."""
    return bool(st.context.theme.type == "dark")


def latest(what: str, ask: Callable[[], Answer], *, quietly: bool = False) -> Answer:
    """Return the hub's answer, or while it is away the last one, saying how old that is.

    `quietly` is for what stands beside something that already says so.

    Raises:
        HubUnreachable: the hub is away, and this was never answered before.
    """
    shown: dict[str, tuple[object, datetime]] = st.session_state["shown"]
    now = SystemClock().now()
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
