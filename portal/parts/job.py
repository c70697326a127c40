"""The parts of a job's page: verdicts, history, runs, and the job in Ray's own words."""

from datetime import datetime

import streamlit as st

from portal.format import (
    QUOTA_WORDS,
    TIER_WORDS,
    ago,
    count,
    moment,
    plain,
    run_word,
    span,
    zone_name,
)
from portal.job_forms import request_of
from portal.parts.approval import draw_approval
from portal.parts.drawn import markdown_table
from portal.parts.submit_cards import draw_request_forms
from portal.session import Visit, latest, visit
from scheduler.wire.jobs import Explanation, JobRun, JobView


def draw_verdicts(why: Explanation) -> None:
    """Draw each pool's verdict in the hub's own sentence, with its numbers."""
    draw_approval(why.approval, why.job)
    if not why.verdicts:
        st.caption("The hub has not planned this job yet; it does so within seconds.")
        return
    markdown_table(
        [
            {
                "Pool": plain(verdict.pool or "every pool"),
                "Tier": TIER_WORDS[verdict.tier] if verdict.tier else "",
                "Why not there": plain(verdict.sentence),
            }
            for verdict in why.verdicts
        ],
        alt="Why the job waits, pool by pool",
    )


def draw_history(job: str) -> None:
    """Draw what happened, oldest first."""
    here = visit()
    history = latest(f"why {job}", lambda: here.hub.explanation(job), quietly=True).history
    if not history:
        st.info("Nothing has happened yet.", icon=":material/history:")
        return
    markdown_table(
        [
            {
                "When": f"{ago(event.at, here.now)} ({moment(event.at, here.now, here.zone)})",
                "What": plain(event.event),
                "How": plain(event.sentence),
            }
            for event in history
        ],
        alt="The job's history, oldest first",
    )
    st.caption(f"Exact times are in {zone_name(here.now, here.zone)}.")


def draw_runs(name: str) -> None:
    """Draw each attempt: where, on whose GPUs, and how it ended."""
    here = visit()
    job = latest(f"job {name}", lambda: here.hub.job(name), quietly=True)
    if not job.runs:
        st.info("No GPUs were leased yet, so there is no run.", icon=":material/memory:")
        return
    for run in reversed(job.runs):
        _run(run, here)


def _run(run: JobRun, here: Visit) -> None:
    with st.container(border=True, gap="xsmall"):
        st.markdown(
            f"**Attempt {run.attempt}**: {run_word(run.state)}, on {plain(run.pool)}"
            f" ({TIER_WORDS[run.tier]} tier), {QUOTA_WORDS[run.quota_class]}"
            + (f" under {plain(run.agreement)}" if run.agreement else "")
        )
        st.text(run.why)
        if "\n" in run.message:
            st.code(run.message, language=None, wrap_lines=True)
        elif run.message:
            st.text(run.message)
        marked = " · SIMULATED" if run.simulated else ""
        ended = f" · exit code {run.exit_code}" if run.exit_code is not None else ""
        st.caption(
            f"{count(run.gpus, 'GPU')} on {plain(', '.join(run.nodes))} · {_times(run, here)}"
            f"{ended} · {plain(run.run)}{marked}"
        )


def _times(run: JobRun, here: Visit) -> str:
    def at(instant: datetime) -> str:
        return moment(instant, here.now, here.zone)

    if run.started_at is None:
        return f"leased {at(run.leased_at)}, never started" if run.ended_at else "not started yet"
    length = span((run.ended_at or here.now) - run.started_at)
    if run.ended_at:
        return f"{at(run.started_at)} to {at(run.ended_at)} ({length})"
    return f"since {at(run.started_at)} ({length})"


def draw_again(job: JobView, here: Visit) -> None:
    """Draw the same job for other tools, ready to copy; the token stays in its file.

    Without colours for the syntax: theirs are too pale on a light background.
    """
    st.markdown("The same job from elsewhere, from the folder that holds your program:")
    draw_request_forms(request_of(job), here)
