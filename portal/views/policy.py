"""The policy: what is in force, what it was, and another that a second person approves."""

import streamlit as st

from portal.client.requests import PolicyTexts
from portal.format import ago, moment, plain
from portal.parts.drawn import markdown_table
from portal.parts.policy_proposal import draw_check, draw_difference, draw_proposal
from portal.parts.problems import told
from portal.parts.rollback import draw_rollback
from portal.session import Visit, latest, visit
from scheduler.core.request_kinds import RequestKind
from scheduler.wire.policies import PolicyRevision
from scheduler.wire.requests import PolicyChange

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
        if len(found) > 1:
            draw_rollback(found, here)
    with edit:
        _edit(now, here)


def _text(revision: int) -> str:
    hub = visit().hub
    return latest(f"policy {revision}", lambda: PolicyTexts(hub).text(revision), quietly=True)


def _history(found: tuple[PolicyRevision, ...], here: Visit) -> None:
    markdown_table(
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
        draw_difference(_text(old), _text(new), (f"revision {old}", f"revision {new}"))


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
    draw_difference(before, text, (f"revision {base}", "yours"))
    if check:
        with told():
            draw_check(text, here)
    if base == now.revision:
        change = PolicyChange(kind=RequestKind.POLICY, base_revision=base, document=text)
        draw_proposal(change, "policy", here, _forget)


def _begin(revision: int) -> None:
    st.session_state[_BASE] = revision
    st.session_state[_TEXT] = _text(revision)


def _begin_again() -> None:
    _forget()
    st.rerun()


def _forget() -> None:
    for key in (_BASE, _TEXT):
        st.session_state.pop(key, None)


def _say_outdated(base: int, now: PolicyRevision, here: Visit) -> None:
    st.warning(
        f"You began with revision {base}. {plain(now.applied_by)} put revision {now.revision} in"
        f" force {ago(now.applied_at, here.now)}, so yours can no longer be proposed as it is."
        " Take over what changed, shown here; then say that you did.",
        title="The policy changed while you were editing",
        icon=":material/merge:",
    )
    draw_difference(
        _text(base), _text(now.revision), (f"revision {base}", f"revision {now.revision}")
    )
    if st.button(f"I took it over: write against revision {now.revision}", key="policy-rebase"):
        st.session_state[_BASE] = now.revision
        st.rerun()


page()
