"""When which nodes are kept for somebody, or for maintenance: a calendar of all pools."""

from collections.abc import Sequence
from datetime import timedelta

import streamlit as st

from portal.charts.windows import MOST_ROWS, Span, gantt
from portal.client.hub import Hub, HubProblem
from portal.format import ahead, moment, plain, span, zone_name
from portal.parts.drawn import markdown_table, picture
from portal.parts.operators import say_done
from portal.parts.problems import panel
from portal.parts.windows import draw_operating
from portal.session import Visit, is_dark, latest, visit
from portal.windows import Window, of_operators, of_policy
from scheduler.wire.operating import MaintenanceList

EVERY = "60s"
NOT_FOUND = 404
ROWS_SHOWN = 50
AHEAD = ["7", "30", "90", "365"]
ANY_POOL = "any pool"
NOTHING = "–"  # noqa: RUF001  # a dash for nothing


def page() -> None:
    """Draw what is chosen, which the address keeps, the calendar, and what operators do."""
    st.title("Reservations")
    st.caption(
        "Nodes that are kept for an account, or free of work for maintenance. A job names its"
        " reservation when it is submitted; others may use the nodes until it begins."
    )
    every = _windows(visit(), quietly=True)
    say_done()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        days = st.selectbox(
            "Days ahead", AHEAD, index=1, key="days", bind="query-params", width=160
        )
        pools = [ANY_POOL, *sorted({window.pool for window in every})]
        pool = st.selectbox("Pool", pools, key="of-pool", bind="query-params", width=240)
        if st.button("Ask for a reservation", icon=":material/event:", key="ask"):
            _ask(pool)
    only = None if pool in (None, ANY_POOL) else pool
    panel(_calendar, EVERY)(int(days or 30), only)
    draw_operating(every)


def _ask(pool: str | None) -> None:
    """Open the form of a request, with the pool that is looked at."""
    if pool not in (None, ANY_POOL):
        st.session_state["new-pool"] = pool
    st.switch_page("views/requests.py", query_params={"new": "reservation"})


def _windows(here: Visit, *, quietly: bool = False) -> list[Window]:
    """Return all windows that are not over, by pool and start."""
    text, planned = latest("windows", lambda: _read(here.hub), quietly=quietly)
    found = [*of_policy(text), *of_operators(planned.windows)]
    left = [window for window in found if window.ends_at > here.now]
    return sorted(left, key=lambda one: (one.pool, one.starts_at, one.name))


def _read(hub: Hub) -> tuple[str, MaintenanceList]:
    try:
        text = hub.policy()
    except HubProblem as problem:  # a hub without a policy keeps nothing for anybody
        if problem.status != NOT_FOUND:
            raise
        text = ""
    return text, hub.ask(MaintenanceList, "/v1/maintenance")


def _calendar(days: int, pool: str | None) -> None:
    here = visit()
    until = here.now + timedelta(days=days)
    every = [window for window in _windows(here) if pool in (None, window.pool)]
    shown = [window for window in every if window.starts_at < until]
    if not shown:
        later = f" {len(every)} begin later: look further ahead." if every else ""
        st.info(
            f"Nothing is reserved in the next {days} days, and no maintenance is planned.{later}",
            icon=":material/event_available:",
        )
        return
    drawn, table = st.tabs(["Calendar", "View as a table"])
    with drawn:
        chart = gantt(
            shown, Span(here.now - timedelta(days=days) / 10, here.now, until), dark=is_dark()
        )
        picture(chart)
        if len(shown) > MOST_ROWS:
            st.caption(f"The first {MOST_ROWS} of {len(shown):,}. Choose a pool to see others.")
    with table:
        _table(shown, here)


def _table(windows: Sequence[Window], here: Visit) -> None:
    markdown_table(
        [_row(window, here) for window in windows[:ROWS_SHOWN]],
        alt="Reservations and maintenance by pool: for whom, when, which nodes, and why",
    )
    more = f" The first {ROWS_SHOWN} of {len(windows):,}." if len(windows) > ROWS_SHOWN else ""
    st.caption(f"Times are in {zone_name(here.now, here.zone)}.{more}")


def _row(window: Window, here: Visit) -> dict[str, str]:
    now = window.starts_at <= here.now
    return {
        "Pool": plain(window.pool),
        "Name": plain(window.name),
        "What": f"reserved for {plain(window.whose)}" if window.whose else "maintenance",
        "Begins": "goes on now" if now else ahead(window.starts_at, here.now),
        "From": moment(window.starts_at, here.now, here.zone),
        "Until": moment(window.ends_at, here.now, here.zone),
        "Lasts": span(window.ends_at - window.starts_at),
        "Nodes": plain(window.nodes),
        "Why": plain(window.reason) or NOTHING,
        "By": "operators" if window.planned else "policy",
    }


page()
