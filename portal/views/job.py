"""One job: where it is and why, its log, its history, and how to end it."""

from datetime import timedelta

import streamlit as st

from portal.client.hub import HubProblem
from portal.format import JOB_LOOKS, ago, gang, moment, plain, span, tiers
from portal.parts.job import draw_again, draw_history, draw_runs, draw_verdicts
from portal.parts.job_log import draw_log
from portal.parts.job_reports import draw_cost, draw_utilisation
from portal.parts.problems import panel, say
from portal.parts.recall import draw_recall
from portal.parts.why import draw_ahead, draw_sooner, draw_start, draw_timeline, submit_again
from portal.session import Visit, latest, visit
from scheduler.core.lifecycle import JobState
from scheduler.wire.jobs import JobView

NOT_FOUND = 404
WAITING_EVERY, RUNNING_EVERY = "2s", "30s"


def page() -> None:
    """Draw the job that the address names."""
    name = st.query_params.get("id", "")
    job = _find(name) if name else None
    if job is None:
        _say_absent(name)
        return
    every = _looks_again(job.state)
    st.title(plain(job.submission_id))
    st.code(job.entrypoint, language=None, wrap_lines=True)
    panel(_now, every)(job.id, job.state)
    log, use, bill, history, runs, again = st.tabs(
        ["Log", "GPUs", "Cost", "History", "Runs", "From elsewhere"], key="tab"
    )
    with log:
        draw_log(job)
    slowly = RUNNING_EVERY if every else None
    with use:
        panel(draw_utilisation, slowly)(job.id, is_over=every is None)
    with bill:
        panel(draw_cost, slowly)(job.id)
    with history:
        panel(draw_history, every)(job.id)
    with runs:
        panel(draw_runs, every)(job.id)
    with again:
        draw_again(job, visit())


def _looks_again(state: JobState) -> str | None:
    """Return how often the page looks again: an ended job stays as it is.

    While it runs, the log tells of its next state at once, and little else changes.
    """
    if state.is_terminal:
        return None
    return RUNNING_EVERY if state is JobState.RUNNING else WAITING_EVERY


def _find(name: str) -> JobView | None:
    """Return the job; None for one that is not there or not this person's (the same answer)."""
    try:
        return _job(name, quietly=True)
    except HubProblem as problem:
        if problem.status == NOT_FOUND:
            return None
        raise


def _job(name: str, *, quietly: bool = False) -> JobView:
    return latest(f"job {name}", lambda: visit().hub.job(name), quietly=quietly)


def _say_absent(name: str) -> None:
    st.title("No such job")
    what = f"No job of yours is named “{plain(name)}”." if name else "The address names no job."
    st.info(
        f"{what} Whose jobs you see, the side bar says.",
        icon=":material/search_off:",
    )
    st.page_link("views/jobs.py", label="All my jobs", icon=":material/list_alt:")


def _now(name: str, drawn: JobState) -> None:
    here, job = visit(), _job(name)
    if job.state is not drawn:
        st.rerun()
    look = JOB_LOOKS[job.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(look.word, icon=look.icon, color=look.colour)
        if any(run.simulated for run in job.runs):
            st.badge("SIMULATED GPUs", icon=":material/science:", color="orange")
        if not job.state.is_terminal:
            _cancel_button(job)
        if any(run.lent and run.ended_at is None for run in job.runs):
            draw_recall(job)
        _again_buttons(job)
    draw_timeline(job, here)
    if job.reason:
        st.text(job.reason)
    _facts(job, here)
    if job.state is JobState.PENDING:
        _waiting(job, here)


def _waiting(job: JobView, here: Visit) -> None:
    why = latest(f"why {job.id}", lambda: here.hub.explanation(job.id), quietly=True)
    draw_start(job, why, here)
    st.subheader("Why it waits, pool by pool")
    draw_verdicts(why)
    draw_ahead(job, why)
    draw_sooner(job, why)


def _facts(job: JobView, here: Visit) -> None:
    asked = [
        gang(job.nodes, job.gpus_per_node),
        " or ".join(job.gpu_models) or "any GPU model",
        tiers(*job.tier),
        f"paid by {job.account}",
        f"label {job.label}",
        f"{job.priority.value} priority",
        "may be recalled" if job.preemptible else "never recalled, so only within its own quota",
        f"at most {span(timedelta(seconds=job.time_limit_seconds))}",
    ]
    st.caption(
        plain(" · ".join(asked))
        + f"  \nsubmitted {ago(job.submitted_at, here.now)}"
        + f" ({moment(job.submitted_at, here.now, here.zone)})"
        + (f" · ended {ago(job.ended_at, here.now)}" if job.ended_at else "")
    )


def _cancel_button(job: JobView) -> None:
    stopping = job.state is JobState.STOPPING
    if st.button("Cancel…", icon=":material/cancel:", disabled=stopping, key="cancel"):
        _confirm(job)


def _again_buttons(job: JobView) -> None:
    """Draw what makes another job of this one, with its files: those are their owner's alone."""
    person = visit().person
    if person.signed_in and job.user != person.name:
        return
    if job.state.is_terminal and st.button(
        "Retry", icon=":material/replay:", key="retry", help="The same once more, files and all."
    ):
        submit_again(job, {})
    if st.button(
        "Clone…",
        icon=":material/content_copy:",
        key="clone",
        help="Opens the form with what this job asked for; its files go along.",
    ):
        st.switch_page("views/submit.py", query_params={"from": job.id})


@st.dialog("Cancel this job?")
def _confirm(job: JobView) -> None:
    runs = job.state is not JobState.PENDING
    st.markdown(
        f"**{plain(job.submission_id)}** "
        + (
            "runs. It is told to save its work and has its notice to end."
            if runs
            else "waits. It leaves the queue at once and loses its place."
        )
    )
    reason = ""
    if visit().person.name != job.user:
        reason = st.text_input(f"Why ({plain(job.user)} and auditors read it)", key="cancel-why")
    with st.container(horizontal=True):
        if st.button("Yes, cancel it", type="primary", key="cancel-yes"):
            try:
                visit().hub.cancel(job.id, reason)
            except HubProblem as problem:
                say(problem)
            else:
                st.rerun()
        if st.button("Keep it", key="cancel-no"):
            st.rerun()


page()
