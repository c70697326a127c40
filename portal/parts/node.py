"""One node closely, and what operators do to it: drain it with a reason, let it work again."""

import streamlit as st
from pydantic import ValidationError

from portal.format import ago, moment, parse_duration, plain, span, zone_name
from portal.parts.drawn import markdown_table
from portal.parts.operations import Fleet, returns, state_of
from portal.parts.operators import may, note_done, say_who_may, tried
from portal.session import Visit, latest, visit
from scheduler.core.roles import Action
from scheduler.wire.operating import DrainRequest, NodeDetail
from scheduler.wire.telemetry import NodeTelemetry

HISTORY_SHOWN = 10


def draw_one_node(found: Fleet) -> None:
    """Draw the node that is chosen, which the address keeps, and what may be done to it."""
    nodes = {node.node: node for node in found.nodes}
    if not nodes:
        return
    st.header("One node closely", divider="gray")
    first = next((place for place, node in enumerate(found.nodes) if not node.usable), 0)
    name = st.selectbox(
        "Node", list(nodes), index=first, key="node", bind="query-params", width=320
    )
    here = visit()
    node = nodes[name or next(iter(nodes))]
    detail = latest(f"node {node.node}", lambda: here.hub.node(node.node), quietly=True)
    _state(node, detail, here)
    if may(Action.OPERATE_NODES):
        _buttons(detail)
    else:
        say_who_may(Action.OPERATE_NODES, "Draining a node and letting it work again")
    _history(detail, here)


def _state(node: NodeTelemetry, detail: NodeDetail, here: Visit) -> None:
    cordon = detail.cordon
    mark = "✓" if node.usable and cordon is None else "✗"
    st.markdown(
        f"**{plain(node.node)}** in {plain(node.pool)}, {len(node.gpus)} × "  # noqa: RUF001
        f"{plain(node.gpu_model)}: {mark} {state_of(node, cordon)}."
    )
    if cordon is not None:
        st.text(
            f"{cordon.why}. Said by {cordon.by} {ago(cordon.at, here.now)}; comes back"
            f" after: {returns(cordon)}."
        )
    elif not node.usable:
        st.text(
            f"{node.why_unusable or 'Why was not told'}. Reported"
            f" {ago(node.reported_at, here.now)}."
        )


def _buttons(detail: NodeDetail) -> None:
    name = detail.node.node
    with st.container(horizontal=True):
        if st.button("Drain…", icon=":material/output:", key="drain"):
            _drain(name)
        if st.button(
            "Let it work again…",
            icon=":material/play_arrow:",
            key="resume",
            disabled=detail.cordon is None,
            help="Ends the cordon, whoever said so; its next report must be well.",
        ):
            _resume(detail)


@st.dialog("Drain this node?")
def _drain(node: str) -> None:
    st.markdown(
        f"Nothing starts on **{plain(node)}** any more. Its runs are told, end by their notice,"
        " and wait anew for other GPUs."
    )
    with st.form("drain-form", border=False):
        reason = st.text_input("Why (the people whose jobs run there read it)", key="drain-why")
        lasting = st.text_input(
            "For how long, such as 8h (empty: until somebody ends it)", key="drain-for"
        )
        notice = st.text_input(
            "Notice for its runs at most, such as 10m (empty: what each was promised)",
            key="drain-notice",
        )
        sent = st.form_submit_button("Drain it", type="primary", key="drain-yes")
    if sent:
        _send_drain(node, reason, lasting, notice)


def _send_drain(node: str, reason: str, lasting: str, notice: str) -> None:
    here = visit()
    if not reason.strip():
        st.error("Say why: the people whose jobs run there read it.", icon=":material/edit:")
        return
    try:
        length, at_most = parse_duration(lasting), parse_duration(notice)
        asked = DrainRequest(
            reason=reason.strip(),
            until=None if length is None else here.now + length,
            notice_seconds=None if at_most is None else int(at_most.total_seconds()),
        )
    except ValidationError as error:
        fault = error.errors()[0]
        field = {"reason": "Why", "notice_seconds": "Notice, in seconds"}.get(
            str(fault["loc"][0]), "For how long"
        )
        st.error(f"{field}: {plain(fault['msg'])}.", icon=":material/edit:")
        return
    except (ValueError, OverflowError) as error:
        st.error(f"{plain(str(error))}. Write 30m, 8h or 2d.", icon=":material/edit:")
        return
    if tried(lambda: here.hub.drain(node, asked)):
        ends = "until somebody ends it" if length is None else f"for {span(length)}"
        note_done(f"{plain(node)} takes no new work {ends}; its runs were told.")


@st.dialog("Let this node work again?")
def _resume(detail: NodeDetail) -> None:
    name, cordon = detail.node.node, detail.cordon
    why = "" if cordon is None else f" {plain(cordon.by)} took it out: {plain(cordon.why)}."
    st.markdown(f"**{plain(name)}** works again from its next report on that is well.{why}")
    # A field of a form hands over what was typed with the button; alone, only when it is left.
    with st.form("resume-form", border=False):
        reason = st.text_input(
            "Why (may be left out; the audit log keeps it)", key="resume-why", max_chars=200
        )
        sent = st.form_submit_button("Yes, let it work", type="primary", key="resume-yes")
    if st.button("Leave it out", key="resume-no"):
        st.rerun()
    if sent and tried(lambda: visit().hub.resume(name, reason.strip())):
        note_done(f"{plain(name)} works again from its next report on that is well.")


def _history(detail: NodeDetail, here: Visit) -> None:
    if not detail.history:
        st.caption("Nothing is recorded of it yet.")
        return
    st.subheader("What happened to it")
    markdown_table(
        [
            {
                "When": f"{ago(event.at, here.now)} ({moment(event.at, here.now, here.zone)})",
                "What": plain(event.event),
                "How": plain(event.sentence),
            }
            for event in detail.history[:HISTORY_SHOWN]
        ],
        alt=f"What last happened to {detail.node.node}, newest first",
    )
    st.caption(
        f"Exact times are in {zone_name(here.now, here.zone)}. More:"
        f" `commonpool node show {detail.node.node}`."
    )
