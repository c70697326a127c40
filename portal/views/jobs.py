"""The person's own jobs, newest first, as they are now."""

import streamlit as st

from portal.format import JOB_LOOKS, ago, ahead, gang, plain, shortened
from portal.parts.problems import panel
from portal.session import Visit, latest, visit
from scheduler.core.lifecycle import JobState
from scheduler.wire.jobs import JobPage, JobView

EVERY = "3s"
SHOWN = 20
EVERYTHING = "any state"


def page() -> None:
    """Draw the filters, which the address keeps, and the list."""
    st.title("My jobs")
    words = [EVERYTHING, *(state.value for state in JobState)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        state = st.selectbox(
            "State", words, key="state", bind="query-params", width=220, on_change=_to_newest
        )
        me = latest("me", visit().hub.me, quietly=True)
        accounts = ["any account", *me.accounts]
        account = st.selectbox(
            "Account",
            accounts,
            key="account",
            bind="query-params",
            width=260,
            on_change=_to_newest,
        )
    panel(_list, EVERY)(
        None if state == EVERYTHING else JobState(state),
        None if account == accounts[0] else account,
    )


def _list(state: JobState | None, account: str | None) -> None:
    here, before = visit(), st.session_state["before"]
    after = before[-1] if before else None
    found = latest(
        f"jobs {state} {account} {after}",
        lambda: here.hub.jobs(state, account, after, limit=SHOWN),
    )
    if not found.jobs:
        _say_none(filtered=bool(state or account or after))
    for job in found.jobs:
        _row(job, here)
    _pages(found)


def _row(job: JobView, here: Visit) -> None:
    look = JOB_LOOKS[job.state]
    with st.container(border=True, gap="xxsmall"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(
                "views/job.py",
                label=f"**{plain(job.submission_id)}**",
                icon=":material/chevron_right:",
                icon_position="right",
                query_params={"id": job.id},
            )
            st.badge(look.word, icon=look.icon, color=look.colour)
        said = [
            plain(shortened(job.entrypoint, 60)),
            gang(job.nodes, job.gpus_per_node),
            plain(job.account),
            f"submitted {ago(job.submitted_at, here.now)}{_end(job, here)}",
        ]
        st.caption(" · ".join(said))
        if not job.state.is_terminal and job.reason:
            st.text(job.reason)


def _end(job: JobView, here: Visit) -> str:
    if job.ended_at:
        return f" · ended {ago(job.ended_at, here.now)}"
    if job.state is JobState.PENDING and job.starts_at:
        return f" · should start {ahead(job.starts_at, here.now)}"
    return ""


def _say_none(*, filtered: bool) -> None:
    if filtered:
        st.info("No job of yours matches.", icon=":material/filter_alt_off:")
        st.button("Show all my jobs", on_click=_clear)
        return
    st.info("You have no jobs yet.", icon=":material/list_alt:")
    st.page_link("views/submit.py", label="Submit the first one", icon=":material/add_circle:")


def _pages(found: JobPage) -> None:
    with st.container(horizontal=True):
        if st.session_state["before"]:
            st.button("Newest jobs", icon=":material/first_page:", on_click=_to_newest)
        if found.next:
            st.button(
                "Older jobs", icon=":material/chevron_right:", on_click=_older, args=(found.next,)
            )


def _to_newest() -> None:
    st.session_state["before"] = []


def _older(after: str) -> None:
    st.session_state["before"] = [*st.session_state["before"], after]


def _clear() -> None:
    _to_newest()
    st.session_state["state"] = EVERYTHING
    st.session_state["account"] = "any account"


page()
