"""Another policy on its way: how it differs, whether it is valid, whom it changes, the proposal."""

from collections.abc import Callable

import streamlit as st
from pydantic import ValidationError

from portal.client.hub import HubProblem
from portal.client.requests import PolicyTexts, Requests
from portal.client.rollback import difference
from portal.format import count
from portal.parts.drawn import markdown_table
from portal.parts.problems import say
from portal.parts.request import draw_impact
from portal.session import Visit
from scheduler.wire.policies import PolicyFault
from scheduler.wire.requests import NewRequest, PolicyChange


def draw_difference(old: str, new: str, names: tuple[str, str]) -> None:
    """Draw what differs between two texts."""
    said = difference(old, new, names)
    if said:
        st.code(said, language=None, wrap_lines=True)
    else:
        st.caption("The texts are the same.")


def draw_check(text: str, here: Visit) -> None:
    """Draw every problem of a text, or what it would change for whom."""
    texts = PolicyTexts(here.hub)
    found = texts.check(text)
    if found.problems:
        st.error(
            f"{count(len(found.problems), 'problem')}: it cannot be proposed.",
            icon=":material/rule:",
        )
        _faults(found.problems, "What is wrong with the text, by line")
        return
    st.success("It is a valid policy.", icon=":material/check:")
    if found.warnings:
        st.warning("Odd, and not refused:", icon=":material/info:")
        _faults(found.warnings, "What is odd about the text, by line")
    st.subheader("What it would change, for whom")
    with st.spinner("The hub plans the present with and without it"):
        draw_impact(texts.diff(text))


def draw_proposal(
    change: PolicyChange, key: str, here: Visit, sent: Callable[[], None], before_why: str = ""
) -> None:
    """Draw the form that proposes a text. `before_why` begins the reason; `sent` is done after."""
    with st.form(f"{key}-propose-form", border=True):
        st.markdown("**Propose it.** Somebody else approves it, and then it is in force.")
        why = st.text_area("Why (approvers and auditors read it)", key=f"{key}-why", height=80)
        asked = st.form_submit_button("Propose", type="primary", key=f"{key}-propose")
    if not asked:
        return
    try:
        message = NewRequest(change=change, reason=f"{before_why}{why}" if why.strip() else "")
    except ValidationError:
        st.error("Say why, in a sentence: the reason is missing.", icon=":material/edit:")
        return
    try:
        made = Requests(here.hub).create(message)
    except HubProblem as problem:
        _say(problem)
        return
    st.session_state["done"] = "Proposed: its approvers are told."
    sent()
    st.switch_page("views/request.py", query_params={"id": made.id})


def _say(problem: HubProblem) -> None:
    say(problem)
    faults = tuple(
        PolicyFault(line=one.line or 1, field=one.field, reason=one.reason)
        for one in problem.errors or ()
    )
    if faults:
        _faults(faults, "What is wrong with the text, by line")


def _faults(faults: tuple[PolicyFault, ...], alt: str) -> None:
    rows = [{"Line": one.line, "Field": one.field, "Reason": one.reason} for one in faults]
    markdown_table(rows, alt=alt)
