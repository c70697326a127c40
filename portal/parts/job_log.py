"""A job's log as it is written: the browser follows it by itself, no script runs meanwhile."""

from pathlib import Path
from urllib.parse import quote

import streamlit as st

from portal.live.routes import FOLLOW, WHOLE
from scheduler.wire.jobs import JobView

_HERE = Path(__file__).parents[1] / "live"
_log = st.components.v2.component(
    "live_log",
    html=(_HERE / "log.html").read_text(encoding="utf-8"),
    css=(_HERE / "log.css").read_text(encoding="utf-8"),
    js=(_HERE / "log.js").read_text(encoding="utf-8"),
)


def draw_log(job: JobView) -> None:
    """Draw the end of the log, scrolled along while the reader is at its end.

    When the job changes its state the page runs once, to show that; lines alone run nothing.
    """
    name = quote(job.id, safe="")
    _log(
        data={
            "follow": FOLLOW.format(job=name),
            "whole": WHOLE.format(job=name),
            "name": job.submission_id,
            "state": job.state.value,
        },
        key=f"log {job.id}",
        on_state_change=_draw_anew,
    )


def _draw_anew() -> None:
    """Do nothing besides: that the page runs is all that is wanted."""
