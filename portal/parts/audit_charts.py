"""The audit log in two pictures, with the same as tables, under the filters of the page."""

from collections.abc import Mapping
from datetime import timedelta

import streamlit as st

from portal.charts.audit import by_day, decisions, events, outcomes
from portal.client.audit import AuditLog
from portal.parts.drawn import markdown_table, picture
from portal.parts.problems import told
from portal.session import Visit, is_dark
from scheduler.wire.audit import AuditCounts

DAYS = 14
_FRESH = timedelta(seconds=60)
_KEPT = "audit-counts"


def draw_charts(key: str, asked: Mapping[str, str | None], hours: int | None, here: Visit) -> None:
    """Draw both; the hub is asked anew for other filters, or after a minute.

    Each question is a row of the log itself, so a click elsewhere on the page asks none.
    """
    with told():
        found = _counts(key, asked, hours, here)
        if not found.counts:
            return
        left, right = st.columns((2, 1), gap="large")
        with left:
            _events(found)
        with right:
            _decisions(found)


def _counts(
    key: str, asked: Mapping[str, str | None], hours: int | None, here: Visit
) -> AuditCounts:
    kept = st.session_state.get(_KEPT)
    if kept is not None and kept[0] == (key, here.person.name) and here.now - kept[1] < _FRESH:
        found: AuditCounts = kept[2]
        return found
    narrowed = {name: value for name, value in asked.items() if name != "since"}
    days = DAYS if hours is None else max(1, round(hours / 24))
    found = AuditLog(here.hub).counts(narrowed, days)
    st.session_state[_KEPT] = ((key, here.person.name), here.now, found)
    return found


def _events(found: AuditCounts) -> None:
    st.subheader("Events by day and kind")
    drawn, table = st.tabs(["Picture", "Table"])
    chart = events(found, dark=is_dark())
    with drawn:
        picture(chart)
    with table:
        rows = [
            {"Day": row["day"], "Kind": row["kind"], "Events": row["events"]}
            for row in by_day(found)
            if row["events"]
        ]
        markdown_table(rows, alt="Events of the audit log by day and kind")
    st.caption("Days are of UTC.")


def _decisions(found: AuditCounts) -> None:
    st.subheader("Decisions on requests")
    if not outcomes(found.counts):
        st.caption("None in this time, under these filters.")
        return
    chart = decisions(found.counts, dark=is_dark())
    picture(chart)
