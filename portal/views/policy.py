"""The policy: what is in force, what it was, and another that a second person approves."""

import difflib

import streamlit as st
from pydantic import ValidationError

from portal.client.hub import HubProblem
from portal.client.requests import PolicyTexts, Requests
from portal.format import ago, count, moment, plain
from portal.parts.problems import say, told
from portal.parts.request import draw_impact
from portal.session import Visit, latest, visit
from scheduler.core.request_kinds import RequestKind
from scheduler.wire.policies import PolicyFault, PolicyRevision
from scheduler.wire.requests import NewRequest, PolicyChange

SHOWN = 30
_TEXT, _BASE = "policy-text", "policy-base"


def page() -> None:
    """Draw the revisions, and the editor."""
    st.title("Policy")
    here = visit()
    found = latest("policy revisions", PolicyTexts(here.hub).revisions).revisions
    if not found:
        st.info(
            "There is no policy yet. An administrator loads the first one:"
            " `commonpool policy apply FILE`.",
            icon=":material/policy:",
        )
        return
    now = found[0]
    st.caption(
        f"Revision {now.revision} is in force, by {plain(now.applied_by)} "
        f"{ago(now.applied_at, here.now)} ({moment(now.applied_at, here.now, here.zone)})."
        " Another comes into force when a second person approves it."
    )
    shown, history, edit = st.tabs(["In force", "Revisions", "Propose another"])
    with shown:
        # Neither coloured nor numbered nor in a box that scrolls: Streamlit's colours and numbers
        # are too faint for WCAG's 4.5 to 1, and no key reaches its box.
        st.code(_text(now.revision), language=None, wrap_lines=True)
    with history:
        _history(found, here)
    with edit:
        _edit(now, here)


def _text(revision: int) -> str:
    hub = visit().hub
    return latest(f"policy {revision}", lambda: PolicyTexts(hub).text(revision), quietly=True)


def _history(found: tuple[PolicyRevision, ...], here: Visit) -> None:
    st.table(
        [
            {
                "Revision": one.revision,
                "Since": f"{ago(one.applied_at, here.now)}"
                f" ({moment(one.applied_at, here.now, here.zone)})",
                "By": one.applied_by,
                "Lines": one.lines,
                "SHA-256": one.sha256[:16],
            }
            for one in found[:SHOWN]
        ],
        hide_index=True,
        alt="Revisions of the policy, newest first",
    )
    if len(found) == 1:
        return
    numbers = [one.revision for one in found]
    with st.container(horizontal=True):
        new = st.selectbox("What changed with revision", numbers[:-1], key="new-revision")
        earlier = [number for number in numbers if number < (new or 0)]
        old = st.selectbox("since revision", earlier, key="old-revision")
    if new is not None and old is not None:
        _difference(_text(old), _text(new), (f"revision {old}", f"revision {new}"))


def _difference(old: str, new: str, names: tuple[str, str]) -> None:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="", n=2)
    said = "\n".join(lines)
    if said:
        st.code(said, language=None, wrap_lines=True)
    else:
        st.caption("The texts are the same.")


def _edit(now: PolicyRevision, here: Visit) -> None:
    if _BASE not in st.session_state:
        _begin(now.revision)
    base: int = st.session_state[_BASE]
    if base != now.revision:
        _say_outdated(base, now, here)
    st.text_area(f"The policy in YAML, written against revision {base}", key=_TEXT, height=520)
    # Columns of a policy line up only where every letter is as wide as the next.
    st.html(f"<style>.st-key-{_TEXT} textarea {{font-family: monospace}}</style>")
    text: str = st.session_state[_TEXT]
    before = _text(base)
    if text == before:
        st.caption("Change the text; then check it, and see what it would change for whom.")
        return
    with st.container(horizontal=True):
        check = st.button("Check it, and plan the present with it", key="policy-check")
        if st.button("Begin again", icon=":material/undo:", key="policy-again"):
            _begin_again()
    st.subheader("What you changed")
    _difference(before, text, (f"revision {base}", "yours"))
    if check:
        with told():
            _checked(text, here)
    if base == now.revision:
        _propose(text, base, here)


def _begin(revision: int) -> None:
    st.session_state[_BASE] = revision
    st.session_state[_TEXT] = _text(revision)


def _begin_again() -> None:
    for key in (_BASE, _TEXT):
        st.session_state.pop(key, None)
    st.rerun()


def _say_outdated(base: int, now: PolicyRevision, here: Visit) -> None:
    st.warning(
        f"You began with revision {base}. {plain(now.applied_by)} put revision {now.revision} in"
        f" force {ago(now.applied_at, here.now)}, so yours can no longer be proposed as it is."
        " Take over what changed, shown here; then say that you did.",
        title="The policy changed while you were editing",
        icon=":material/merge:",
    )
    _difference(_text(base), _text(now.revision), (f"revision {base}", f"revision {now.revision}"))
    if st.button(f"I took it over: write against revision {now.revision}", key="policy-rebase"):
        st.session_state[_BASE] = now.revision
        st.rerun()


def _checked(text: str, here: Visit) -> None:
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


def _faults(faults: tuple[PolicyFault, ...], alt: str) -> None:
    rows = [{"Line": one.line, "Field": one.field, "Reason": one.reason} for one in faults]
    st.table(rows, hide_index=True, alt=alt)


def _propose(text: str, base: int, here: Visit) -> None:
    with st.form("propose", border=True):
        st.markdown("**Propose it.** Somebody else approves it, and then it is in force.")
        reason = st.text_area("Why (approvers and auditors read it)", key="policy-why", height=80)
        sent = st.form_submit_button("Propose", type="primary", key="policy-propose")
    if not sent:
        return
    try:
        change = PolicyChange(kind=RequestKind.POLICY, base_revision=base, document=text)
        message = NewRequest(change=change, reason=reason)
    except ValidationError:
        st.error("Say why, in a sentence: the reason is missing.", icon=":material/edit:")
        return
    try:
        made = Requests(here.hub).create(message)
    except HubProblem as problem:
        say(problem)
        if problem.errors:
            _faults(
                tuple(
                    PolicyFault(line=one.line or 1, field=one.field, reason=one.reason)
                    for one in problem.errors
                ),
                "What is wrong with the text, by line",
            )
        return
    st.session_state["done"] = "Proposed: its approvers are told."
    for key in (_BASE, _TEXT):
        st.session_state.pop(key, None)
    st.switch_page("views/request.py", query_params={"id": made.id})


page()
