"""Several requests decided at once: chosen in one form, with one reason, each by itself.

A choice is of the text that was shown: where it was edited meanwhile, the choice does not
count, and the page says so.
"""

import re
from collections.abc import Sequence

import streamlit as st
from pydantic import ValidationError

from portal.client.decisions import Chosen, Decided, decide_each
from portal.client.requests import Requests
from portal.format import count, plain
from portal.parts.request import draw_line
from portal.session import Visit
from scheduler.core.request_kinds import RequestKind
from scheduler.wire.requests import RequestLine

_RESULTS, _ROUND = "batch-results", "batch-round"
_DIGEST = 16
_MARKUP = re.compile(r"[^\w ,.:/+-]|:(?=\w+[:\[])")


def draw_results() -> None:
    """Say what became of each that was decided; once."""
    results: Sequence[Decided] = st.session_state.pop(_RESULTS, ())
    for one in results:
        said = f"**{plain(one.title)}.** {plain(one.said)}"
        if one.ok:
            st.success(said, icon=":material/check:")
        else:
            st.error(said, icon=":material/block:")


def draw_choice(found: Sequence[RequestLine], here: Visit) -> None:
    """Draw requests to choose from, and below them the reason and the two decisions."""
    with st.form("batch", border=False):
        for one in found:
            _row(one, here)
        # Another field for each round, so that it is empty after what was decided.
        key = f"batch-why-{st.session_state.get(_ROUND, 0)}"
        reason = st.text_area(
            "Reason, for all that you chose (who asked reads it, and the audit log keeps it)",
            key=key,
            height=80,
        )
        with st.container(horizontal=True):
            approved = st.form_submit_button(
                "Approve those chosen", type="primary", icon=":material/check:"
            )
            denied = st.form_submit_button("Deny those chosen", icon=":material/block:")
    if approved or denied:
        _decide(found, reason, here, approve=approved)


def _row(one: RequestLine, here: Visit) -> None:
    with st.container(horizontal=True, vertical_alignment="top"):
        if one.kind is RequestKind.POLICY:
            st.caption("open it: its text is to be read", width=110)
        else:
            st.checkbox(_spoken(one), key=_key(one), label_visibility="collapsed")
        draw_line(one, here, why=True)


def _spoken(one: RequestLine) -> str:
    """Return a label that is only read aloud: Streamlit reads it as it is, so nothing to escape."""
    return f"Choose: {_MARKUP.sub(' ', one.title)}"


def _key(one: RequestLine) -> str:
    return f"choose-{one.id}-{one.digest[:_DIGEST]}"


def _decide(found: Sequence[RequestLine], reason: str, here: Visit, *, approve: bool) -> None:
    chosen = [Chosen(one.id, one.title, one.digest) for one in found if _is_on(_key(one))]
    edited = [one for one in found if not _is_on(_key(one)) and _older(one)]
    for one in edited:
        st.warning(
            f"{plain(one.title)} was edited while you looked, and is not chosen: read it again.",
            icon=":material/edit:",
        )
    if not chosen:
        st.error("Choose at least one request, with the box before it.", icon=":material/edit:")
        return
    try:
        results = tuple(decide_each(Requests(here.hub), chosen, reason, approve=approve))
    except ValidationError:
        st.error("Say why, in a sentence: the reason is missing.", icon=":material/edit:")
        return
    st.session_state[_RESULTS] = results
    if all(one.ok for one in results):
        st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
    st.rerun()


def _is_on(key: str) -> bool:
    return bool(st.session_state.get(key))


def _older(one: RequestLine) -> bool:
    mine = f"choose-{one.id}-"
    return any(str(key).startswith(mine) and _is_on(str(key)) for key in st.session_state)


def said_of(found: Sequence[RequestLine]) -> str:
    """Return how many wait, as a sentence."""
    verb = "awaits" if len(found) == 1 else "await"
    return f"{count(len(found), 'request')} {verb} your decision, the oldest first."
