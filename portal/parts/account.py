"""The parts of the page Account: the person's tokens and sessions, and how each is ended."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import streamlit as st
from pydantic import ValidationError

from portal.client.identity import (
    end_session,
    make_token,
    my_sessions,
    my_tokens,
    revoke_token,
)
from portal.format import Look, ago, ahead, count, moment, plain, shortened
from portal.parts.problems import told
from portal.session import Visit, latest, visit
from scheduler.core.roles import Action
from scheduler.wire.identity import (
    MAX_TOKEN_DAYS,
    PersonalTokenIssued,
    PersonalTokenRequest,
    PersonalTokenView,
    Power,
    SessionView,
)

ACTION_WORDS = {
    Action.SUBMIT_JOB: "submit jobs",
    Action.SEE_JOBS: "see everybody's jobs and logs",
    Action.CANCEL_JOB: "cancel everybody's jobs",
    Action.SEE_USAGE: "see usage",
    Action.MANAGE_MEMBERS: "manage members",
    Action.ASK: "ask for projects, budgets and the like",
    Action.SEE_REQUESTS: "see everybody's requests",
    Action.DECIDE_REQUEST: "decide on requests",
    Action.OFFER_LOAN: "offer loans",
    Action.RECALL_LOAN: "recall loans",
    Action.PROPOSE_POLICY: "propose another policy",
    Action.APPROVE_POLICY: "approve a policy",
    Action.APPLY_POLICY: "replace the policy alone",
    Action.DIAGNOSE: "see the planner's own figures",
    Action.OPERATE_NODES: "drain and resume nodes",
    Action.MANAGE_TOKENS: "make and revoke tokens of others",
    Action.REVOKE_SESSIONS: "end sessions of others",
    Action.READ_AUDIT: "read the audit log",
}
POWER_WORDS = {
    Power.READ: "read: see what you may see",
    Power.JOBS: "jobs: also submit and end jobs",
    Power.MANAGE: "manage: all that your roles allow",
}
MAY = {Power.READ: "read", Power.JOBS: "submit jobs", Power.MANAGE: "do all that you may"}
USUAL_DAYS = 30
MOST_OVER = 20
SECRET_SHOWN_FOR = timedelta(minutes=10)
LIVES = Look("Works", ":material/check_circle:", "green")
REVOKED = Look("Revoked", ":material/block:", "red")
OVER = Look("Ended", ":material/timer_off:", "gray")
HERE = Look("This one", ":material/my_location:", "blue")
BROWSERS = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "Chrome": "Chrome",
    "Safari": "Safari",
}
SYSTEMS = {
    "Windows": "Windows",
    "Android": "Android",
    "iPhone": "an iPhone",
    "iPad": "an iPad",
    "Mac OS X": "a Mac",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


@dataclass(frozen=True, slots=True)
class _Issued:
    """A secret that is on the page, and since when."""

    token: PersonalTokenIssued
    at: datetime


def draw_tokens(here: Visit) -> None:
    """Draw the form for a new token, its secret once, and every token there is."""
    st.header("Personal tokens", divider="gray")
    st.caption(
        "For programs and scripts of yours: a token may less than you, and ends by itself."
        " For your command line, “commonpool login” makes one without any copying."
    )
    _form()
    _secret(here)
    found = latest("my tokens", lambda: my_tokens(here.hub), quietly=True).tokens
    works = [one for one in found if _works(one, here.now)]
    if not works:
        st.info("You have no token that works. Make one above.", icon=":material/key_off:")
    for one in works:
        _token(one, here)
    over = [one for one in found if not _works(one, here.now)]
    if over and st.toggle(f"Show {count(len(over), 'token')} that ended", key="over"):
        for one in over[:MOST_OVER]:
            _token(one, here)


def _works(one: PersonalTokenView, now: datetime) -> bool:
    return not one.revoked and one.expires_at > now


def _form() -> None:
    with (
        st.expander("Make a token", icon=":material/add:"),
        st.form("new-token", border=False, clear_on_submit=False),
    ):
        name = st.text_input(
            "What it is for", max_chars=100, key="token-name", placeholder="nightly sweep"
        )
        power = st.selectbox(
            "What it may do",
            list(POWER_WORDS),
            index=1,
            format_func=POWER_WORDS.__getitem__,
            key="token-power",
        )
        days = st.number_input(
            f"Days until it ends, at most {MAX_TOKEN_DAYS}",
            min_value=1,
            max_value=MAX_TOKEN_DAYS,
            value=USUAL_DAYS,
            key="token-days",
        )
        made = st.form_submit_button("Make token", type="primary", key="token-make")
    if made:
        _make(name, power or Power.JOBS, days)


def _make(name: str, power: Power, days: int) -> None:
    try:
        asked = PersonalTokenRequest(name=name.strip(), powers=(power,), expires_in_days=days)
    except ValidationError:
        st.error("Say what it is for, so that you know later which one to revoke.")
        return
    with told():
        issued = make_token(visit().hub, asked)
        st.session_state["issued"] = _Issued(issued, visit().now)


def _secret(here: Visit) -> None:
    """Draw the secret until the person has it, or for some minutes: nobody else should."""
    issued: _Issued | None = st.session_state.get("issued")
    if issued is None or here.now - issued.at > SECRET_SHOWN_FOR:
        st.session_state.pop("issued", None)
        return
    with st.container(border=True):
        st.warning(
            "It is shown this once, and the hub keeps only its hash. Whoever has it can do in"
            " your name what it may: keep it in a file that only you can read, never in a"
            " program or a notebook.",
            title=f"Copy the token for {plain(issued.token.name)} now",
            icon=":material/key:",
        )
        st.code(issued.token.token, language=None, wrap_lines=True)
        st.button("I have copied it", on_click=_forget_secret, key="copied")


def _forget_secret() -> None:
    st.session_state.pop("issued", None)


def _token(one: PersonalTokenView, here: Visit) -> None:
    works = _works(one, here.now)
    look = LIVES if works else REVOKED if one.revoked else OVER
    used = f"last used {ago(one.last_used_at, here.now)}" if one.last_used_at else "never used"
    end = f"ends {ahead(one.expires_at, here.now)}" if works else ""
    said = [
        f"may {' and '.join(MAY[power] for power in one.powers)}",
        f"made {ago(one.created_at, here.now)}",
        used,
        end,
        one.id,
    ]
    with row(one.name, look, said):
        if works and st.button("Revoke…", icon=":material/block:", key=f"revoke-{one.id}"):
            _confirm_revoke(one)


@contextmanager
def row(name: str, look: Look, said: list[str]) -> Iterator[None]:
    """Draw a name with its state and what is known of it; what ends it stands beside."""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        with st.container(gap="xxsmall", width="stretch"):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{plain(name)}**", width="content")
                st.badge(look.word, icon=look.icon, color=look.colour)
            st.caption(plain(" · ".join(part for part in said if part)))
        yield


@st.dialog("Revoke this token?")
def _confirm_revoke(one: PersonalTokenView) -> None:
    st.markdown(
        f"Whatever uses **{plain(one.name)}** is refused from its next request on. Jobs that it"
        " submitted are not affected."
    )
    with st.container(horizontal=True):
        if st.button("Yes, revoke it", type="primary", key="revoke-yes"):
            then_close(lambda: revoke_token(visit().hub, one.id))
        if st.button("Keep it", key="revoke-no"):
            st.rerun()


def draw_sessions(here: Visit) -> None:
    """Draw where the person is signed in, and how to end it there or everywhere."""
    st.header("Sessions", divider="gray")
    found = latest("my sessions", lambda: my_sessions(here.hub), quietly=True).sessions
    alive = [one for one in found if one.alive]
    if not alive:
        st.info("You are signed in with a browser nowhere.", icon=":material/logout:")
    for one in alive:
        _session(one, here)
    tokens = latest("my tokens", lambda: my_tokens(here.hub), quietly=True).tokens
    works = [one for one in tokens if _works(one, here.now)]
    if (alive or works) and st.button(
        "Sign out everywhere…", icon=":material/logout:", key="everywhere"
    ):
        _confirm_everywhere(alive, works)


def _session(one: SessionView, here: Visit) -> None:
    said = [
        f"signed in {ago(one.created_at, here.now)} at {one.issuer}",
        f"last click {ago(one.seen_at, here.now)}",
        f"ends by {moment(one.ends_at, here.now, here.zone)}",
    ]
    with row(device(one.user_agent), HERE if one.current else LIVES, said):
        if not one.current and st.button(
            "Sign out there…", icon=":material/logout:", key=f"end-{one.id}"
        ):
            _confirm_end(one)


def device(user_agent: str) -> str:
    """Return what a browser says of itself in words people know: `Firefox on Linux`."""
    browser = next((word for mark, word in BROWSERS.items() if f"{mark}/" in user_agent), None)
    system = next((word for mark, word in SYSTEMS.items() if mark in user_agent), None)
    if browser is None:
        return shortened(user_agent, 60) or "A browser that does not say which"
    return f"{browser} on {system}" if system else browser


@st.dialog("Sign out there?")
def _confirm_end(one: SessionView) -> None:
    st.markdown(f"The next click in **{plain(device(one.user_agent))}** asks to sign in again.")
    with st.container(horizontal=True):
        if st.button("Yes, sign out", type="primary", key="end-yes"):
            then_close(lambda: end_session(visit().hub, one.id))
        if st.button("Keep it", key="end-no"):
            st.rerun()


@st.dialog("Sign out everywhere?")
def _confirm_everywhere(sessions: list[SessionView], tokens: list[PersonalTokenView]) -> None:
    st.markdown(
        f"This ends {count(len(sessions), 'session')}, and you sign in anew, here too. Jobs are"
        " not affected."
    )
    also = bool(tokens) and st.toggle(
        f"Also revoke {count(len(tokens), 'personal token')}: command lines and programs stop",
        key="also-tokens",
    )
    with st.container(horizontal=True):
        if st.button("Yes, everywhere", type="primary", key="everywhere-yes"):
            then_close(lambda: _end_all(sessions, tokens if also else []))
        if st.button("Not now", key="everywhere-no"):
            st.rerun()


def _end_all(sessions: list[SessionView], tokens: list[PersonalTokenView]) -> None:
    """End all, the session that asks last: without it nothing more can be ended."""
    hub = visit().hub
    for token in tokens:
        revoke_token(hub, token.id)
    for session in sorted(sessions, key=lambda one: one.current):
        end_session(hub, session.id)


def then_close(act: Callable[[], None]) -> None:
    """Act, and close the dialog; where the hub refuses, say so in it and leave it open."""
    with told():
        act()
        st.rerun()
