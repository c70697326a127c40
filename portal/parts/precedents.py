"""Beside a request's impact: what its requester asked for before, and what was decided alike."""

from collections.abc import Sequence

import streamlit as st

from portal.client.requests import Requests
from portal.format import ago, plain
from portal.parts.problems import told
from portal.parts.request_looks import LOOKS, whole_titles
from portal.session import Visit, visit
from scheduler.wire.precedents import PastRequest, Precedents


def draw_precedents(name: str) -> None:
    """Draw both lists, with who decided and why."""
    here = visit()
    with told():
        found = Requests(here.hub).precedents(name)
        _history(found, here)
        _similar(found.similar, here)


def _history(found: Precedents, here: Visit) -> None:
    st.subheader(f"What {plain(found.requester)} asked for before")
    if found.first_time:
        st.caption("Nothing that you may see: this is the first request.")
        return
    said = [f"{one.count} {LOOKS[one.state].word.lower()}" for one in found.counts]
    st.markdown(" · ".join(said))
    _list(found.history, here)


def _similar(some: Sequence[PastRequest], here: Visit) -> None:
    st.subheader("How the like of it was decided")
    if not some:
        st.caption("Nobody decided on a request of this kind yet, that you may see.")
        return
    st.caption("Of the same kind; this account's first, then its institution's, the newest first.")
    _list(some, here, by=True)


def _list(some: Sequence[PastRequest], here: Visit, *, by: bool = False) -> None:
    whole_titles()
    for one in some:
        look = LOOKS[one.state]
        with st.container(border=True, gap="xxsmall"):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.page_link(
                    "views/request.py",
                    label=plain(one.title),
                    icon=":material/chevron_right:",
                    icon_position="right",
                    query_params={"id": one.id},
                )
                st.badge(look.word, icon=look.icon, color=look.colour)
            who = f"{one.requester}, " if by else ""
            st.caption(plain(f"{who}{ago(one.created_at, here.now)}: {one.reason}"))
            for word in one.words:
                did = "approved" if word.approve else "denied"
                st.caption(plain(f"{word.by} {did} it {ago(word.at, here.now)}: {word.reason}"))
