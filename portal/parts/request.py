"""A request on a page: how it stands, what it would change, and what the viewer may do."""

from collections.abc import Callable

import streamlit as st
from pydantic import ValidationError

from portal.client.hub import HubProblem
from portal.client.requests import Requests
from portal.format import ago, ahead, count, moment, plain
from portal.parts.drawn import markdown_table
from portal.parts.precedents import draw_precedents
from portal.parts.problems import say, told
from portal.parts.request_looks import LOOKS, whole_titles
from portal.session import Visit, latest, visit
from scheduler.core.approvals import RequestState
from scheduler.wire.requests import (
    RequestDecision,
    RequestImpact,
    RequestLine,
    RequestView,
)

SHOWN = 20


def draw_line(one: RequestLine, here: Visit, *, why: bool = False) -> None:
    """Draw a request as one row of a list; its name leads to it. `why` adds the reason."""
    look = LOOKS[one.state]
    whole_titles()
    with st.container(border=True, gap="xxsmall"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(
                "views/request.py",
                label=f"**{plain(one.title)}**",
                icon=":material/chevron_right:",
                icon_position="right",
                query_params={"id": one.id},
            )
            st.badge(look.word, icon=look.icon, color=look.colour)
        said = [f"asked by {one.requester}", ago(one.created_at, here.now), one.standing]
        if one.state in {RequestState.OPEN, RequestState.DRAFT}:
            said.append(f"expires {ahead(one.expires_at, here.now)}")
        st.caption(plain(" · ".join(said)))
        if why:
            st.markdown(f"**Why:** {plain(one.reason)}")


def draw_request(name: str) -> None:
    """Draw a request whole; for who decides, with what it would change."""
    here = visit()
    view = latest(f"request {name}", lambda: Requests(here.hub).show(name))
    _flash()
    _head(view, here)
    _actions(view, here)
    if "decide" in view.you_may:
        # Beside each other where there is room: what it would do, and what was done before.
        now, before = st.columns(2, gap="large")
        with now:
            _would_change(view)
        with before:
            draw_precedents(name)
    else:
        _would_change(view)
    _asked(view)
    _history(view, here)


def _would_change(view: RequestView) -> None:
    if view.state not in {RequestState.OPEN, RequestState.DRAFT, RequestState.APPROVED}:
        return
    st.subheader("What it would change")
    if "decide" in view.you_may or st.toggle("Plan the present with it", key="plan"):
        with told():
            draw_impact(_impact(view.id))


def _flash() -> None:
    said = st.session_state.pop("done", "")
    if said:
        st.success(said, icon=":material/check:")


def _head(view: RequestView, here: Visit) -> None:
    look = LOOKS[view.state]
    st.header(plain(view.title))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(look.word, icon=look.icon, color=look.colour)
        st.markdown(
            f"{plain(view.requester)} asked {ago(view.created_at, here.now)}"
            f" ({moment(view.created_at, here.now, here.zone)}) · `{view.id}`"
        )
    st.markdown(f"**Why:** {plain(view.reason)}")
    if view.state is RequestState.OPEN:
        people = (
            ", ".join(view.who_may_decide)
            or "nobody besides who asked: the policy names no other approver"
        )
        st.markdown(
            f"**Has** {plain(view.standing)}. **May decide:** {plain(people)}."
            f" **Expires** {ahead(view.expires_at, here.now)}."
        )
    if view.revision is not None:
        st.markdown(f"**In force** since policy revision {view.revision}.")
    if view.note:
        st.warning(plain(view.note), title="Approved, and not in force", icon=":material/rule:")


def _actions(view: RequestView, here: Visit) -> None:
    if "decide" in view.you_may:
        _decision(view, here)
    elif view.state in {RequestState.OPEN, RequestState.DRAFT}:
        st.info(plain(view.why_you_may_not_decide), icon=":material/lock:")
    desk = Requests(here.hub)
    with st.container(horizontal=True):
        if "send" in view.you_may and st.button("Send it to its approvers", type="primary"):
            _do(lambda: desk.send(view.id), "Sent: its approvers are told.")
        if "apply" in view.you_may and st.button("Put it in force now", type="primary"):
            _do(lambda: desk.apply(view.id), "It is in force.")
        if "withdraw" in view.you_may and st.button("Withdraw…", icon=":material/undo:"):
            _withdraw(view)


def _decision(view: RequestView, here: Visit) -> None:
    with st.form("decision", border=True):
        st.markdown("**Your decision**")
        reason = st.text_area(
            "Reason (whoever asked reads it, and the audit log keeps it)", key="why", height=80
        )
        with st.container(horizontal=True):
            approved = st.form_submit_button(
                "Approve", type="primary", icon=":material/check:", key="approve"
            )
            denied = st.form_submit_button("Deny", icon=":material/block:", key="deny")
    if not approved and not denied:
        return
    try:
        decision = RequestDecision(approve=approved, digest=view.digest, reason=reason)
    except ValidationError:
        st.error("Say why, in a sentence: the reason is missing.", icon=":material/edit:")
        return
    word = "Approved" if approved else "Denied"
    _do(lambda: Requests(here.hub).decide(view.id, decision), f"{word}.")


@st.dialog("Withdraw this request?")
def _withdraw(view: RequestView) -> None:
    st.markdown(f"**{plain(view.title)}** is then over; you can ask again.")
    why = st.text_input("Why", value="No longer needed", key="withdraw-why")
    if st.button("Yes, withdraw it", type="primary", key="withdraw-yes"):
        _do(lambda: Requests(visit().hub).withdraw(view.id, why), "Withdrawn.")


def _do(step: Callable[[], RequestView], done: str) -> None:
    """Take a step; what came of it is said after the page has drawn itself anew."""
    try:
        after = step()
    except HubProblem as problem:
        say(problem)
        return
    if after.state is RequestState.APPLIED and after.revision is not None:
        done += f" It is in force as policy revision {after.revision}."
    elif after.state is RequestState.OPEN and after.votes:
        done += f" It has {after.standing}."
    st.session_state["done"] = done
    st.session_state.pop("why", None)
    st.rerun()


def _impact(name: str) -> RequestImpact:
    with st.spinner("The hub plans the present with and without it"):
        return Requests(visit().hub).impact(name)


def draw_impact(found: RequestImpact) -> None:
    """Draw what the next cycle would do otherwise, in numbers and sentences."""
    if not found.fits:
        st.warning(
            plain(found.why_not),
            title=f"It does not fit policy revision {found.revision}",
            icon=":material/rule:",
        )
        return
    with st.container(horizontal=True):
        st.metric("Jobs start that would wait", found.jobs_start_more, border=True, width="content")
        st.metric("Jobs wait that would start", found.jobs_start_less, border=True, width="content")
        st.metric("Runs recalled", found.runs_recalled, border=True, width="content")
    st.caption(
        f"In the next planning cycle, on what waits and runs now, against policy revision"
        f" {found.revision}."
    )
    for sentence in found.rows[:SHOWN]:
        st.markdown(f"- {plain(sentence)}")
    if len(found.rows) > SHOWN:
        st.caption(f"and {count(len(found.rows) - SHOWN, 'more row')}")
    if found.accounts:
        markdown_table(
            [
                {
                    "Account": one.account,
                    "GPUs that would start, as it is": one.before,
                    "With it": one.after,
                }
                for one in found.accounts
            ],
            alt="GPUs of each account that would start in the next cycle, as it is and with it",
        )
    sentences = (*found.jobs, *found.runs)
    if sentences:
        with st.expander(f"{count(len(sentences), 'job or run')} that you may see"):
            for sentence in sentences:
                st.markdown(f"- {plain(sentence)}")


def _asked(view: RequestView) -> None:
    st.subheader("What is asked for")
    said = view.change.model_dump(mode="json", exclude_none=True)
    document = said.pop("document", None)
    rows = [
        {"Field": name.replace("_", " "), "Value": _value(value)}
        for name, value in said.items()
        if value != []
    ]
    markdown_table(rows, alt="What is asked for, field by field")
    if document is not None:
        with st.expander("The whole text that is proposed"):
            st.code(document, language=None, wrap_lines=True)


def _value(value: object) -> str:
    match value:
        case list():
            return ", ".join(_value(one) for one in value)
        case dict():
            return ", ".join(f"{name} {_value(one)}" for name, one in value.items())
        case int() if not isinstance(value, bool):
            return f"{value:,}"
        case _:
            return str(value)


def _history(view: RequestView, here: Visit) -> None:
    st.subheader("History")
    rows = [
        {
            "When": f"{ago(one.at, here.now)} ({moment(one.at, here.now, here.zone)})",
            "Who": one.actor,
            "Did": one.event,
            "Said": one.text,
        }
        for one in view.history
    ]
    markdown_table(rows, alt="What happened to the request, oldest first")
    void = [vote.by for vote in view.votes if not vote.counts]
    if void:
        people = ", ".join(dict.fromkeys(void))
        st.caption(
            plain(f"Words of {people} count no more: the text was edited, or they lost the role.")
        )
    with st.form("comment", border=False, clear_on_submit=True):
        text = st.text_input("Ask or answer something", key="comment-text")
        sent = st.form_submit_button("Comment", icon=":material/chat:", key="comment")
    if sent and text.strip():
        _do(lambda: Requests(here.hub).comment(view.id, text), "Said.")
