"""A job's log, followed by asking again: only its end is kept and shown."""

import streamlit as st

from portal.client.hub import Hub, HubUnreachable
from portal.session import visit

LINES_SHOWN = 500
CHARACTERS_KEPT = 200_000
PIECES_PER_LOOK = 16  # about 4 MB: a long log is caught up with in a few looks
HEIGHT_PIXELS = 440


def draw_log(job: str) -> None:
    """Draw the end of the log, scrolled along while the reader is at its end."""
    hub = visit().hub
    try:
        complete = _catch_up(hub, job)
    except HubUnreachable:  # the page says so above; what was read stays
        complete = False
    _, text, seen = _kept(job)
    if not text:
        st.info("The job wrote nothing." if complete else "No output yet.", icon=":material/notes:")
        return
    lines = text.splitlines()
    cut = len(lines) > LINES_SHOWN or seen > CHARACTERS_KEPT
    with st.container(height=HEIGHT_PIXELS, border=True, autoscroll=True, key="log"):
        st.code("\n".join(lines[-LINES_SHOWN:]), language=None, wrap_lines=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download the whole log",
            data=lambda: whole_log(hub, job),
            file_name=f"{job}.log",
            mime="text/plain",
            on_click="ignore",
            icon=":material/download:",
        )
        said = f"The last {min(len(lines), LINES_SHOWN)} lines. " if cut else ""
        st.caption(said + ("Complete." if complete else "Following."))


def whole_log(hub: Hub, job: str) -> str:
    """Return all that is there now, without waiting for more."""
    pieces: list[str] = []
    offset = 0
    while True:
        page = hub.log(job, offset)
        if not page.text:
            return "".join(pieces)
        pieces.append(page.text)
        offset = page.next_offset


def _catch_up(hub: Hub, job: str) -> bool:
    """Read what is new, and return whether no more will come."""
    complete = False
    for _ in range(PIECES_PER_LOOK):
        _, text, offset = _kept(job)
        page = hub.log(job, offset)
        complete = page.complete
        if not page.text:
            break
        kept = (text + page.text)[-CHARACTERS_KEPT:]
        st.session_state["log"] = (job, kept, page.next_offset)
    return complete


def _kept(job: str) -> tuple[str, str, int]:
    """Return the job, the end of its log, and the bytes read of it so far."""
    kept: tuple[str, str, int] = st.session_state.get("log", ("", "", 0))
    return kept if kept[0] == job else (job, "", 0)
