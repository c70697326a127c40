"""What was asked for, and how to ask: projects, budgets, agreements, reservations, members."""

import streamlit as st

from portal.client.requests import Requests
from portal.parts.new_request import KINDS, draw_form
from portal.parts.problems import panel
from portal.parts.request import draw_line
from portal.session import latest, visit
from scheduler.core.approvals import RequestState
from scheduler.core.request_kinds import RequestKind

EVERY = "15s"
SHOWN = 50
ANY_STATE, ANY_KIND = "any state", "any kind"
WHOSE = {"all that I may see": None, "only mine": "me", "only others'": "others"}


def page() -> None:
    """Draw the form for a new one where the address says so, else the list."""
    st.title("Requests")
    new = st.query_params.get("new", "")
    if new in KINDS:
        st.button("All requests", icon=":material/arrow_back:", on_click=_leave)
        draw_form(RequestKind(new))
    else:
        _new_links()
        _list()


def _leave() -> None:
    st.query_params.clear()


def _new_links() -> None:
    st.markdown("Ask for …")
    with st.container(horizontal=True):
        for kind, (label, icon) in KINDS.items():
            st.button(label, icon=icon, key=f"ask-{kind}", on_click=_ask, args=(kind,))
        if st.button("another policy", icon=":material/policy:", key="ask-policy"):
            st.switch_page("views/policy.py")


def _ask(kind: str) -> None:
    st.query_params["new"] = kind


def _list() -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        whose = st.selectbox("Whose", list(WHOSE), key="whose", bind="query-params", width=220)
        states = [ANY_STATE, *(state.value for state in RequestState)]
        state = st.selectbox("State", states, key="of-state", bind="query-params", width=180)
        kinds = [ANY_KIND, *(kind.value for kind in RequestKind)]
        kind = st.selectbox("Kind", kinds, key="of-kind", bind="query-params", width=180)
    panel(_rows, EVERY)(
        WHOSE[whose or "all that I may see"],
        None if state == ANY_STATE else state,
        None if kind == ANY_KIND else kind,
    )


def _rows(whose: str | None, state: str | None, kind: str | None) -> None:
    here = visit()
    asked = {"who": whose, "state": state, "kind": kind}
    found = latest(f"requests {asked}", lambda: Requests(here.hub).page(asked, limit=SHOWN))
    if not found.requests:
        narrowed = whose or state or kind
        said = "No request matches." if narrowed else "Nobody has asked for anything yet."
        st.info(f"{said} Ask for something above.", icon=":material/inbox:")
        return
    for one in found.requests:
        draw_line(one, here)
    if found.next:
        st.caption(f"The latest {SHOWN}. All: `commonpool request list --after {found.next}`.")


page()
