"""How a request's state looks: a word, an icon and a colour that are never apart."""

import streamlit as st

from portal.format import Look
from scheduler.core.approvals import RequestState

LOOKS = {
    RequestState.DRAFT: Look("Draft", ":material/edit_note:", "gray"),
    RequestState.OPEN: Look("Awaits a decision", ":material/hourglass_empty:", "orange"),
    RequestState.APPROVED: Look("Approved, not in force", ":material/rule:", "blue"),
    RequestState.APPLIED: Look("In force", ":material/check_circle:", "green"),
    RequestState.DENIED: Look("Denied", ":material/block:", "red"),
    RequestState.WITHDRAWN: Look("Withdrawn", ":material/undo:", "gray"),
    RequestState.EXPIRED: Look("Expired", ":material/timer_off:", "gray"),
}

_WHOLE = """<style>
[data-testid="stMain"] [data-testid="stPageLink-NavLink"] * {white-space: normal; overflow: visible}
</style>"""


def whole_titles() -> None:
    """Let a request's title go on in a second line where it is narrow, in place of a cut."""
    st.html(_WHOLE)
