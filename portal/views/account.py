"""Who the person is to the hub: roles, alerts, identities, tokens and sessions."""

import streamlit as st

from portal.format import ahead, count, moment, plain, zone_name
from portal.parts.account import ACTION_WORDS, draw_sessions, draw_tokens
from portal.parts.drawn import markdown_table
from portal.parts.identities import draw_identities
from portal.parts.problems import panel
from portal.session import Visit, latest, visit
from scheduler.wire.identity import Kind, Session

EVERY = "30s"
MOST_ROWS = 25


def page() -> None:
    """Draw who the person is, and what they may end."""
    st.title("Account")
    panel(_account, EVERY)()


def _account() -> None:
    here = visit()
    me = latest("session", here.hub.session)
    _who(me, here)
    _alerts(me)
    draw_identities(here)
    draw_tokens(here)
    draw_sessions(here)


def _who(me: Session, here: Visit) -> None:
    st.header("Who you are", divider="gray")
    st.markdown(f"**{plain(me.user)}**, by {_by(me)}{_until(me, here)}")
    if not me.roles:
        st.info(
            "You have no role on any account, so you can look, and little else. A project's lead"
            " can ask for you to be made a member, on the page Requests.",
            icon=":material/group_off:",
        )
    else:
        markdown_table(
            [
                {"Account": plain(on.account), "You are": " and ".join(on.roles)}
                for on in me.roles[:MOST_ROWS]
            ],
            alt="Your roles, account by account",
        )
        if len(me.roles) > MOST_ROWS:
            st.caption(f"And {count(len(me.roles) - MOST_ROWS, 'more account')}.")
    if me.actions:
        may = ", ".join(ACTION_WORDS[action] for action in me.actions)
        st.caption(f"On the whole hub you may {plain(may)}.")


def _by(me: Session) -> str:
    match me.kind:
        case Kind.PERSONAL:
            return f"a personal token for {', '.join(me.powers or ())}"
        case Kind.SESSION:
            place = f" for {plain(me.institution)}" if me.institution else ""
            return f"a sign-in at {plain(me.issuer or 'the hub')}{place}"
        case Kind.TOKEN:
            return "a token"


def _until(me: Session, here: Visit) -> str:
    said = ""
    if me.expires_at is not None:
        said += f", until {moment(me.expires_at, here.now, here.zone)}"
        said += f" {zone_name(here.now, here.zone)}"
    if me.idle_until is not None:
        said += f". Without a click it ends {ahead(me.idle_until, here.now)}"
    return f"{said}."


def _alerts(me: Session) -> None:
    st.header("Alerts", divider="gray")
    if me.email:
        # As text: Markdown would make a link of it.
        st.text(
            f"By e-mail to {me.email}: requests that await your decision, and what became of yours."
        )
        st.caption("The policy holds the address, at your name; an operator changes it.")
        return
    st.info(
        "The policy has no e-mail address of yours, so nothing is sent to you: requests wait on"
        " the page Approvals. An operator adds `email` to you in the policy's `users`.",
        icon=":material/notifications_off:",
    )


page()
