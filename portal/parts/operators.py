"""What the viewer may do to the whole hub, and who does it where they may not."""

from collections.abc import Callable

import streamlit as st

from portal.client.hub import HubProblem, HubUnreachable
from portal.parts.problems import say, say_away
from portal.session import visit
from scheduler.core.roles import ALLOWED, Action, Role

_DONE = "operated"


def may(action: Action) -> bool:
    """Return whether the viewer's roles allow this; a hint for the page, the hub decides."""
    who = visit().session
    return who is not None and action in who.actions


def say_who_may(action: Action, what: str) -> None:
    """Say who does what the viewer may not."""
    roles = " and ".join(f"{role.value}s" for role in Role if role in ALLOWED[action])
    st.caption(
        f"{what} is for {roles} of the account above all others. The policy gives that role;"
        " what you are, the side bar says."
    )


def note_done(said: str) -> None:
    """Keep what was done for the run that follows, and start it."""
    st.session_state[_DONE] = said
    st.rerun()


def say_done() -> None:
    """Show what was done in the run before, once."""
    if said := st.session_state.pop(_DONE, ""):
        st.success(said, icon=":material/done:")


def tried(act: Callable[[], object]) -> bool:
    """Do it, or say right there why not; return whether it was done."""
    try:
        act()
    except HubProblem as problem:
        say(problem)
        return False
    except HubUnreachable as away:
        say_away(away)
        return False
    return True
