"""What a job's GPUs did, and what it costs, as parts of its page."""

from datetime import timedelta

import streamlit as st

from portal.charts.base import Chart
from portal.charts.job import activity, activity_words, gpu_rows, memory, memory_words, point_rows
from portal.client import job_reports
from portal.cost_words import FREE, hours, who_pays
from portal.dry_run_words import hours_word
from portal.format import TIER_WORDS, count, moment, plain, span
from portal.parts.drawn import markdown_table, picture
from portal.session import Visit, is_dark, latest, visit
from scheduler.wire.job_reports import JobCost, JobUtilisation, Payer, RunCost, RunUse

MOST_ROWS = 50


def draw_utilisation(job: str, *, is_over: bool) -> None:
    """Draw how busy the GPUs of each attempt were, the latest first."""
    here = visit()
    found = latest(
        f"utilisation {job}", lambda: job_reports.utilisation(here.hub, job), quietly=True
    )
    every = span(timedelta(seconds=found.every_seconds))
    if not found.runs:
        st.info("No GPUs were leased yet, so none did anything.", icon=":material/monitoring:")
        return
    last, *earlier = reversed(found.runs)
    _use(last, found, here, is_open=not is_over)
    for run in earlier:
        with st.expander(f"Attempt {run.attempt}, on {plain(run.pool)}: {activity_words(run)}"):
            _use(run, found, here, is_open=False)
    st.caption(
        f"A point is written every {every}, for whoever has the GPU then, and kept for"
        f" {found.kept_days} days. *SMs at work* is the part of the time in which an SM had work."
        " A dash is what nobody measured."
    )


def _use(run: RunUse, found: JobUtilisation, here: Visit, *, is_open: bool) -> None:
    simulated = " · SIMULATED" if run.simulated else ""
    st.markdown(
        f"Attempt {run.attempt} on **{plain(run.pool)}**, {count(run.gpus_in_all, 'GPU')}"
        f"{simulated}"
    )
    if not run.points:
        every = span(timedelta(seconds=found.every_seconds))
        st.info(
            f"No point yet: one is written every {every}. What the GPUs do now is below."
            if is_open
            else f"Nothing was written of it: it was over before a point was, which is every"
            f" {every}, or it is longer ago than {found.kept_days} days.",
            icon=":material/monitoring:",
        )
    else:
        _points(run, here)
    if is_open or run.points:
        markdown_table(
            gpu_rows(run.gpus[:MOST_ROWS], is_open=is_open),
            alt=f"Each GPU of attempt {run.attempt}",
        )
    if run.gpus_in_all > MOST_ROWS:
        st.caption(f"The first {MOST_ROWS} of {count(run.gpus_in_all, 'GPU')}.")


def _points(run: RunUse, here: Visit) -> None:
    dark = is_dark()
    times = [moment(one.at, here.now, here.zone) for one in run.points]
    tabs = st.tabs(["At work", "Memory", "View as a table"])
    if activity_words(run) == memory_words(run):  # neither was measured
        tabs[0].info("Nobody measured what its GPUs did.", icon=":material/visibility_off:")
    else:
        _picture(tabs[0], activity(run, dark=dark), activity_words(run))
        _picture(tabs[1], memory(run, dark=dark), memory_words(run))
    markdown_table(
        point_rows(run, times)[-MOST_ROWS:], where=tabs[2], alt=activity(run, dark=dark).alt
    )


def _picture(where: "st.delta_generator.DeltaGenerator", chart: Chart, said: str) -> None:
    if said.startswith("nobody"):
        where.info("Nobody measured it.", icon=":material/visibility_off:")
        return
    with where:
        picture(chart)
    where.caption(f"{said[0].upper()}{said[1:]}.")


def draw_cost(job: str) -> None:
    """Draw what the job cost so far, what it may come to, who is charged, and prices by tier."""
    here = visit()
    found = latest(f"cost {job}", lambda: job_reports.cost(here.hub, job), quietly=True)
    with st.container(horizontal=True):
        st.metric(
            "H100e-hours charged so far",
            hours_word(found.charged_h100e_hours),
            border=True,
            width="content",
        )
        if found.prices:  # an ended job comes to nothing more
            most = found.at_limit_h100e_hours
            st.metric(
                "At its limit",
                "not known" if most is None else hours_word(most),
                border=True,
                width="content",
                help="H100e-hours, if the present or next attempt takes its whole time limit;"
                " where it waits, in the dearest pool that may take it.",
            )
    st.markdown(plain(who_pays(found)))
    if found.runs:
        _attempts(found, here)
    if found.prices and found.payer is Payer.ACCOUNT:
        _prices(found)


def _attempts(found: JobCost, here: Visit) -> None:
    markdown_table(
        [
            {
                "Attempt": run.attempt,
                "Where": f"{plain(run.pool)} ({TIER_WORDS[run.tier]})"
                if run.tier
                else plain(run.pool),
                "GPUs": run.gpus,
                "For": span((run.until or here.now) - run.since),
                "Took": hours(run.h100e_hours),
                "Charged": _charged(run),
            }
            for run in reversed(found.runs)
        ],
        alt="What each attempt took and what of it is charged, the latest first",
    )


def _charged(run: RunCost) -> str:
    if run.guest:
        return "nothing: a guest on an idle lease"
    if run.payer is Payer.NOBODY:
        return f"nothing: {FREE}"
    if run.payer is Payer.RESERVATION:
        return "nothing more: paid by its reservation"
    return hours(run.charged_h100e_hours)


def _prices(found: JobCost) -> None:
    st.markdown("**Price by tier**, of an attempt that takes its whole time limit:")
    markdown_table(
        [
            {
                "Tier": TIER_WORDS[one.tier],
                "Pool": plain(one.pool),
                "GPUs": f"{one.gpus} × {plain(one.gpu_model)}",  # noqa: RUF001  # a times sign
                "One GPU-hour": f"{one.h100e_factor:g} H100e-hours",
                "At its limit": hours(one.at_limit_h100e_hours),
            }
            for one in found.prices
        ],
        alt="What the job would cost in each pool that may take it",
    )
