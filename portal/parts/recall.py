"""The button that takes an idle job's lease back from the background work that sits on it (R18)."""

import streamlit as st

from portal.format import plain
from portal.parts.operators import tried
from portal.session import visit
from scheduler.wire.jobs import JobView


def draw_recall(job: JobView) -> None:
    """Draw the button; only where a lease of the job is lent."""
    if st.button(
        "Recall…",
        icon=":material/undo:",
        key="recall",
        help="Its GPUs idle and are lent to background work; this takes them back.",
    ):
        _confirm(job)


@st.dialog("Take the GPUs back?")
def _confirm(job: JobView) -> None:
    st.markdown(
        f"Background work sits on the idle GPUs of **{plain(job.submission_id)}**. It is told to"
        " save its work and leaves by its notice; the job itself goes on."
    )
    with st.container(horizontal=True):
        sent = st.button("Yes, take them back", type="primary", key="recall-yes")
        if st.button("Let it stay", key="recall-no"):
            st.rerun()
    if sent and tried(lambda: visit().hub.recall(job.id)):
        st.rerun()
