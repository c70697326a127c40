"""The way back to an earlier revision of the policy: as a new one, which somebody else approves."""

from collections.abc import Sequence

import streamlit as st

from portal.client.requests import PolicyTexts
from portal.client.rollback import NothingToRollBack, rollback_to
from portal.format import ago, plain
from portal.parts.policy_proposal import draw_check, draw_proposal
from portal.parts.problems import told
from portal.session import Visit
from scheduler.wire.policies import PolicyRevision

_CHOSEN = "rollback-of"


def draw_rollback(found: Sequence[PolicyRevision], here: Visit) -> None:
    """Draw the choice of a revision, and for the one that was chosen all before the proposal."""
    st.subheader("Roll back")
    st.caption(
        "An earlier revision becomes the draft of a new one. Nothing is taken out of the history,"
        " and somebody else approves it, as any policy."
    )
    earlier = {one.revision: one for one in found[1:]}

    def name(revision: int) -> str:
        one = earlier[revision]
        return f"{revision}, by {one.applied_by} {ago(one.applied_at, here.now)}"

    with st.container(horizontal=True, vertical_alignment="bottom"):
        revision = st.selectbox(
            "Back to revision", list(earlier), format_func=name, key="rollback-to", width=320
        )
        if st.button("Roll back…", icon=":material/history:", key="rollback"):
            st.session_state[_CHOSEN] = revision
    chosen: int | None = st.session_state.get(_CHOSEN)
    if chosen in earlier:
        with told():
            _draft(chosen, here)


def _draft(revision: int, here: Visit) -> None:
    try:
        back = rollback_to(PolicyTexts(here.hub), revision)
    except NothingToRollBack as nothing:
        said = str(nothing)
        st.info(plain(f"{said[0].upper()}{said[1:]}."), icon=":material/info:")
        return
    st.markdown(f"**Revision {back.revision} in place of revision {back.base}**")
    st.code(back.difference(), language=None, wrap_lines=True)
    draw_check(back.text, here)
    if st.button("Leave it as it is", icon=":material/close:", key="rollback-not"):
        _forget()
        st.rerun()
    draw_proposal(back.change, "rollback", here, _forget, back.because)


def _forget() -> None:
    st.session_state.pop(_CHOSEN, None)
