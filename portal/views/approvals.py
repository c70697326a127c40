"""What awaits the viewer's decision, oldest first."""

import streamlit as st

from portal.client.requests import Requests
from portal.format import ago, count, plain
from portal.parts.problems import panel
from portal.parts.request import draw_line
from portal.session import latest, visit
from scheduler.core.approvals import RequestState

EVERY = "15s"


def page() -> None:
    """Draw the queue."""
    st.title("Approvals")
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
        f"{count(len(found), 'request')} awaits your decision, the oldest first."
        if len(found) == 1
        else f"{count(len(found), 'request')} await your decision, the oldest first."
    )
    for one in reversed(found):
        draw_line(one, here)


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
