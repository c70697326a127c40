"""The approval that a job waits for, or would: how it stands, and the way to ask for it (R17)."""

import streamlit as st

from portal.format import plain
from scheduler.core.request_kinds import RequestKind
from scheduler.core.thresholds import UNNAMED
from scheduler.wire.explanations import ApprovalView


def draw_approval(approval: ApprovalView | None, job: str | None = None) -> None:
    """Draw which threshold needs approvers, who has agreed, and the button that asks for it.

    With `job`, a job's id, the request is filled in for that job alone where it names no line.
    """
    if approval is None:
        return
    st.warning(
        f"**Needs approval of the threshold {plain(approval.threshold)}.** With this job the"
        f" model line {plain(approval.model_line)} of {plain(approval.account)} reaches"
        f" {approval.flop:.3g} FLOP. {plain(approval.sentence)} It starts once enough approvers"
        " have agreed.",
        icon=":material/approval:",
    )
    if approval.request is not None and st.button(
        "Open the request", icon=":material/open_in_new:", key="approval-open"
    ):
        st.switch_page("views/request.py", query_params={"id": approval.request})
    if _may_be_asked(approval) and st.button(
        "Ask for the approval", icon=":material/speed:", key="approval-ask"
    ):
        st.switch_page("views/requests.py", query_params=prefilled(approval, job))


def _may_be_asked(approval: ApprovalView) -> bool:
    return not approval.sentence.startswith("It was asked for:")


def prefilled(approval: ApprovalView, job: str | None = None) -> dict[str, str]:
    """Return the address of the form for this approval, filled in."""
    alone = {"job": job} if job and approval.model_line == UNNAMED else {}
    return {
        "new": RequestKind.THRESHOLD.value,
        "account": approval.account,
        "line": approval.model_line,
        "threshold": approval.threshold,
        "flop": f"{approval.flop:.6g}",
        **alone,
    }
