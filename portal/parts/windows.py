"""What operators do on the reservations page: plan maintenance with a reason, and cancel it."""

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

import streamlit as st
from pydantic import ValidationError

from portal.format import moment, parse_duration, plain, zone_name
from portal.parts.operators import may, note_done, say_who_may, tried
from portal.session import Visit, latest, visit
from portal.windows import Window
from scheduler.core.roles import Action
from scheduler.wire.operating import MaintenanceRequest

NODES_OFFERED = 500
_LABELS = {"nodes": "Nodes", "starts_at": "From", "ends_at": "For how long", "reason": "Why"}


def draw_operating(windows: Sequence[Window]) -> None:
    """Draw the buttons of operators; others are told who they are."""
    if not may(Action.OPERATE_NODES):
        say_who_may(Action.OPERATE_NODES, "Planning maintenance and cancelling it")
        return
    planned = {one.name: one for one in windows if one.planned}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button("Plan maintenance…", icon=":material/build:", key="plan"):
            _plan()
        if planned:
            chosen = st.selectbox("Planned by operators", list(planned), key="window", width=220)
            if st.button("Cancel it…", icon=":material/event_busy:", key="cancel-window"):
                _cancel(planned[chosen or next(iter(planned))])
    st.caption("What the policy holds is changed in the policy.")


@st.dialog("Plan maintenance")
def _plan() -> None:
    here = visit()
    st.markdown(
        "Nothing that would still run then is started on these nodes, and what runs all the same"
        " ends by its notice."
    )
    known = latest("nodes", lambda: here.hub.nodes(limit=NODES_OFFERED), quietly=True).nodes
    with st.form("plan-form", border=False):
        nodes = st.multiselect(
            "Nodes", [node.node for node in known], key="plan-nodes", accept_new_options=True
        )
        zone = zone_name(here.now, here.zone)
        starts = st.text_input(
            f"From (year-month-day hour:minute, {zone})", _tomorrow(here), key="plan-from"
        )
        lasting = st.text_input("For how long, such as 8h", "4h", key="plan-for")
        reason = st.text_input("Why (everybody reads it)", key="plan-why")
        sent = st.form_submit_button("Plan it", type="primary", key="plan-yes")
    if sent:
        _send((nodes, starts, lasting, reason.strip()), here)


def _tomorrow(here: Visit) -> str:
    return f"{here.now.astimezone(here.zone) + timedelta(days=1):%Y-%m-%d} 08:00"


def _send(said: tuple[Sequence[str], str, str, str], here: Visit) -> None:
    nodes, starts, lasting, reason = said
    try:
        starts_at = _instant(starts, here.zone)
        length = parse_duration(lasting)
        asked = MaintenanceRequest(
            nodes=tuple(nodes),
            starts_at=starts_at,
            ends_at=starts_at + (length or timedelta()),
            reason=reason,
        )
    except ValidationError as error:
        for fault in error.errors():
            field = _LABELS.get(str(fault["loc"][0]), str(fault["loc"][0]))
            st.error(f"{field}: {plain(fault['msg'])}.", icon=":material/edit:")
        return
    except (ValueError, OverflowError) as error:
        st.error(f"{plain(str(error))}.", icon=":material/edit:")
        return
    if tried(lambda: here.hub.plan_maintenance(asked)):
        when = moment(starts_at, here.now, here.zone)
        note_done(f"Planned: maintenance of {plain(', '.join(nodes))} from {when}.")


def _instant(text: str, zone: tzinfo) -> datetime:
    """Read a time as the viewer's zone has it, unless it names one."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"From: “{text.strip()}” is not like 2026-03-02 18:00") from error
    return at if at.tzinfo else at.replace(tzinfo=zone)


@st.dialog("Cancel this maintenance?")
def _cancel(window: Window) -> None:
    here = visit()
    st.markdown(
        f"**{plain(window.name)}** of {plain(window.nodes)} from"
        f" {moment(window.starts_at, here.now, here.zone)}: {plain(window.reason)}. Jobs may start"
        " there again at once."
    )
    with st.container(horizontal=True):
        sent = st.button("Yes, cancel it", type="primary", key="cancel-window-yes")
        if st.button("Keep it", key="cancel-window-no"):
            st.rerun()
    if sent and tried(lambda: here.hub.cancel_maintenance(window.name)):
        note_done(f"{plain(window.name)} is cancelled.")
