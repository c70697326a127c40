"""What needs the person: their jobs, what waits for them, what is left, and the next job."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from statistics import median

import streamlit as st

from portal.catalogue import Template, templates
from portal.charts import sector_use as charts
from portal.client.hub import HubUnreachable
from portal.client.ledger import sector_use, usage
from portal.client.overview import overview
from portal.format import JOB_LOOKS, count, plain, rough
from portal.parts.drawn import picture, table
from portal.parts.home import (
    STRIP_JOBS,
    budget_rows,
    failed,
    nearly_used,
    quota_rows,
    recalled,
    sign_words,
    strip,
    strip_rows,
    waits,
)
from portal.parts.no_account import say_no_account
from portal.parts.problems import panel
from portal.parts.why import submit_again
from portal.session import Visit, is_dark, latest, visit
from scheduler.wire.jobs import JobView
from scheduler.wire.overview import JobCount, Overview
from scheduler.wire.usage import BudgetView

EVERY = "30s"
SELDOM = "300s"
SHOWN = STRIP_JOBS
NOTICES = 5
DAYS = 28
IN_USE_DAYS = 14
SUMS = timedelta(seconds=60)
"""How long sums over days are shown again; the hub works most of them out as seldom."""


def page() -> None:
    """Draw all of it, which looks again by itself."""
    st.title("Home")
    panel(_home, EVERY)()
    panel(_in_use, SELDOM)()


def _home() -> None:
    here = visit()
    found = latest("overview", partial(overview, here.hub, SHOWN))
    jobs = found.jobs
    if not found.me.accounts:
        say_no_account(found.me.subject)
    elif not jobs:
        _first()
    else:
        _next(jobs[0])
    budgets = _budgets(here)
    _needs(found, budgets, here)
    if jobs:
        _jobs(found, here)
    if found.me.accounts:
        _left(found, budgets)


def _next(last: JobView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Repeat last job",
            type="primary",
            icon=":material/replay:",
            key="repeat",
            help=f"{plain(last.submission_id)}, once more, files and all.",
        ):
            submit_again(last, {})
        st.page_link("views/submit.py", label="Submit a job", icon=":material/add_circle:")


def _first() -> None:
    """Lead somebody without jobs to the quickest templates."""
    st.subheader("Run your first job")
    st.markdown("Each is a small real Ray program: a click fills in the form, another submits it.")
    quickest = sorted(templates(), key=lambda one: one.said.expected_seconds)[:3]
    for one, column in zip(quickest, st.columns(3), strict=True):
        with column, st.container(border=True):
            _card(one)
    st.page_link(
        "views/submit.py",
        label="All templates, or a program of your own",
        icon=":material/add_circle:",
    )


def _card(one: Template) -> None:
    st.markdown(f"**{plain(one.said.challenge)}**: {plain(one.said.title)}")
    st.caption(plain(f"{one.said.purpose} Takes about {one.said.expected_seconds} s."))
    st.page_link(
        "views/submit.py",
        label=f"Start with {one.said.challenge.lower()}",
        icon=":material/play_arrow:",
        query_params={"tmpl": one.name},
    )


def _needs(found: Overview, budgets: Sequence[BudgetView], here: Visit) -> None:
    """Draw what waits for the person, and what happened that they may not know."""
    st.header("What needs you", divider="gray")
    asked = _awaiting(found)
    little = nearly_used(budgets)
    for sentence in little:
        st.warning(plain(sentence), icon=":material/savings:")
    if little:
        st.page_link("views/usage.py", label="Usage and budgets", icon=":material/savings:")
    ended = failed(found.jobs, here.now)[:NOTICES]
    taken = recalled(found.jobs, here.now)[:NOTICES]
    for job in ended:
        _notice(job, ":material/error:", f"failed. {job.reason}")
    for one in taken:
        _notice(one.job, ":material/keyboard_return:", one.sentence(here.now))
    if not (asked or little or ended or taken):
        st.info("Nothing: no decision, no failure, no recall.", icon=":material/done_all:")


def _awaiting(found: Overview) -> bool:
    """Draw requests that await the person, and their own that others hold."""
    if found.awaiting:
        more = f"{found.awaiting}+ requests" if found.more_awaiting else ""
        st.page_link(
            "views/approvals.py",
            label=f"**{more or count(found.awaiting, 'request')}** for you to decide",
            icon=":material/approval:",
        )
    for one in found.asked:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(
                "views/request.py",
                label=f"**{plain(one.title)}**",
                icon=":material/inbox:",
                query_params={"id": one.id},
            )
            st.text(f"your request has {one.standing}")
    return bool(found.awaiting or found.asked)


def _notice(job: JobView, icon: str, said: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            "views/job.py",
            label=f"**{plain(job.submission_id)}**",
            icon=icon,
            query_params={"id": job.id},
        )
        st.text(said)


def _jobs(found: Overview, here: Visit) -> None:
    st.header("Your jobs", divider="gray")
    with st.container(horizontal=True):
        for one in found.counts:
            st.page_link(
                "views/jobs.py",
                label=_so_many(one),
                icon=JOB_LOOKS[one.state].icon,
                query_params={"state": one.state.value},
            )
        st.page_link("views/jobs.py", label="All my jobs", icon=":material/list_alt:")
    jobs = found.jobs
    _median_wait(jobs)
    chart = strip(jobs, here.now, dark=is_dark())
    drawn, rows = st.tabs([f"Last {len(jobs)}", "View as a table"], key="strip")
    with drawn:
        picture(chart)
        st.caption(f"Oldest first; the higher, the longer it ran (a logarithm). {sign_words(jobs)}")
    with rows:
        table(strip_rows(jobs, here.now), chart.alt)


def _so_many(one: JobCount) -> str:
    return f"**{one.jobs}{'+' if one.more else ''}** {JOB_LOOKS[one.state].word.lower()}"


def _median_wait(jobs: Sequence[JobView]) -> None:
    waited = waits(jobs)
    if not waited:
        st.caption("None of them has started yet, so there is no wait to tell.")
        return
    st.metric(
        "Median wait",
        rough(timedelta(seconds=median(each.total_seconds() for each in waited))),
        border=True,
        width="content",
        help=f"From submission to the first start, of the last {count(len(waited), 'job')} of"
        " yours that started.",
    )


def _budgets(here: Visit) -> Sequence[BudgetView]:
    ask = partial(usage, here.hub, DAYS)
    return latest(f"usage {DAYS}", ask, quietly=True, keep=SUMS).budgets


def _left(found: Overview, budgets: Sequence[BudgetView]) -> None:
    st.header("What is left", divider="gray")
    quotas = quota_rows(found.pools, found.me.accounts)
    if quotas:
        table(quotas, "GPUs left of your accounts' quotas, pool by pool")
    else:
        st.caption("No quota of a pool is your accounts' own: they borrow.")
    if budgets:
        table(budget_rows(budgets), "What is left of the budgets that bind you")


def _in_use() -> None:
    """Draw who had how many GPUs of all: sums of sectors are everybody's to see."""
    here = visit()
    try:
        ask = partial(sector_use, here.hub, IN_USE_DAYS)
        found = latest("sector use", ask, quietly=True, keep=SUMS)
    except HubUnreachable:  # the page says so above
        return
    st.header("GPUs in use", divider="gray")
    if not found.sectors:
        st.info(
            f"Nobody had a GPU in the last {IN_USE_DAYS} days.", icon=":material/event_available:"
        )
        return
    chart = charts.over_time(found, dark=is_dark())
    drawn, rows = st.tabs([f"Last {IN_USE_DAYS} days", "View as a table"], key="in-use")
    marked = " Some of them are SIMULATED." if found.simulated else ""
    with drawn:
        picture(chart)
        st.caption(
            f"The mean of each hour, by sector; the dashed line is all {found.capacity:,} GPUs of"
            f" the pools.{marked}"
        )
    with rows:
        table(charts.days(found), chart.alt)


page()
