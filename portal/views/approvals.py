"""What awaits the viewer's decision, oldest first."""

import streamlit as st

from portal.client.requests import Requests
from portal.format import ago, plain
from portal.parts.batch import draw_choice, draw_results, said_of
from portal.parts.problems import panel
from portal.session import latest, visit
from scheduler.core.approvals import RequestState

EVERY = "15s"


def page() -> None:
    """Draw the queue."""
    st.title("Approvals")
    draw_results()
    panel(_queue, EVERY)()


def _queue() -> None:
    here = visit()
    found = latest(
        "approvals", lambda: Requests(here.hub).page({"awaiting": "me"}, limit=200)
    ).requests
    if not found:
        _say_nothing()
        return
    st.caption(
        f"{said_of(found)} Open one to see what it would change and what was decided before;"
        " or choose several, and decide on them with one reason, each by itself."
    )
    draw_choice(tuple(reversed(found)), here)


def _say_nothing() -> None:
    """Say that nothing waits, and when somebody last decided."""
    here = visit()
    decided = [
        one
        for state in (RequestState.APPLIED, RequestState.DENIED)
        for one in Requests(here.hub).page({"state": state.value}, limit=1).requests
    ]
    last = max(decided, key=lambda one: one.created_at, default=None)
    said = (
        ""
        if last is None
        else f" The latest that was decided: {plain(last.title)}, asked for"
        f" {ago(last.created_at, here.now)}."
    )
    st.info(f"Nothing awaits your decision.{said}", icon=":material/done_all:")
    st.caption(
        "Approvers decide here. The policy gives that role, on an account and all below it; an"
        " administrator's token is no person and approves nothing."
    )
    st.page_link("views/requests.py", label="All requests", icon=":material/inbox:")


page()
