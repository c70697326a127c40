"""The person's own jobs, or those of accounts that they lead, newest first, as they are now."""

from datetime import timedelta

import streamlit as st

from portal.format import JOB_LOOKS, ago, ahead, gang, plain, shortened
from portal.parts.problems import panel
from portal.session import Visit, latest, visit
from scheduler.core.lifecycle import JobState
from scheduler.core.roles import ALLOWED, Action
from scheduler.wire.jobs import JobPage, JobView

EVERY = "3s"
SELDOM = timedelta(seconds=10)
SHOWN = 20
EVERYTHING = "any state"
MINE, LED = "mine", "my accounts'"


def page() -> None:
    """Draw the filters, which the address keeps, and the list."""
    st.title("My jobs")
    words = [EVERYTHING, *(state.value for state in JobState)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        state = st.selectbox(
            "State", words, key="state", bind="query-params", width=220, on_change=_to_newest
        )
        me = latest("me", visit().hub.me, quietly=True, keep=SELDOM)
        leads = _leads()
        whose = _whose() if leads else MINE
        accounts = ["any account", *(leads if whose == LED else me.accounts)]
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
        LED if whose == LED else MINE,
    )


def _leads() -> list[str]:
    """Return the accounts on which the person's roles show other people's jobs."""
    who, seers = visit().session, ALLOWED[Action.SEE_JOBS]
    return [] if who is None else [one.account for one in who.roles if seers & set(one.roles)]


def _whose() -> str:
    chosen: str | None = st.selectbox(
        "Whose", [MINE, LED], key="whose", bind="query-params", width=180, on_change=_to_newest
    )
    return chosen or MINE


def _list(state: JobState | None, account: str | None, whose: str) -> None:
    here, before = visit(), st.session_state["before"]
    after = before[-1] if before else None
    found = latest(
        f"jobs {whose} {state} {account} {after}",
        lambda: here.hub.jobs(
            state, account, after, SHOWN, scope="accounts" if whose == LED else "mine"
        ),
    )
    if not found.jobs:
        _say_none(filtered=bool(state or account or after), whose=whose)
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
            f"{plain(job.account)} · {plain(job.user)}",
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


def _say_none(*, filtered: bool, whose: str) -> None:
    if whose == LED and not filtered:
        st.info("Nobody of your accounts has a job yet.", icon=":material/list_alt:")
        return
    if filtered:
        st.info("No job matches.", icon=":material/filter_alt_off:")
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
