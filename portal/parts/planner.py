"""The planner's vitals for who may see them, and how much of their leases accounts used."""

import streamlit as st

from portal.format import count, plain
from portal.parts.drawn import markdown_table
from portal.parts.operators import may, say_who_may
from portal.session import latest, visit
from scheduler.core.roles import Action
from scheduler.wire.diagnostics import Diagnostics

WASTE_DAYS = 7
ACCOUNTS_SHOWN = 10
REASONS_SHOWN = 20


def draw_planner() -> None:
    """Draw cycles, phases and decisions of the process that answers."""
    if not may(Action.DIAGNOSE):
        say_who_may(Action.DIAGNOSE, "How planning goes")
        return
    found = latest("diagnostics", visit().hub.diagnostics, quietly=True)
    _numbers(found)
    part = "plans" if found.leads else "does not plan: another one leads"
    cycles = ", ".join(f"{number:,} {plain(end)}" for end, number in found.cycles.items())
    st.caption(
        f"Counts are of the process that answers, since it started. It {part}. Policy revision"
        f" {found.policy}. Cycles: {cycles or 'none yet'}. Told of {count(found.events, 'change')};"
        f" {count(found.stale, 'decision')} dropped, since they no longer held."
    )
    _phases(found)
    _decisions(found)


def _numbers(found: Diagnostics) -> None:
    rate = "–" if found.etas.rate is None else f"{found.etas.rate:.0%}"  # noqa: RUF001  # a dash
    with st.container(horizontal=True):
        st.metric("Jobs that wait", f"{found.waiting:,}", border=True, width="content")
        st.metric("Runs", f"{found.runs:,}", border=True, width="content")
        st.metric(
            "Starts within their interval",
            rate,
            border=True,
            width="content",
            help="Of jobs' first intervals for the start, which are to hold in 80 of 100 cases:"
            f" {found.etas.hits:,} held, {found.etas.misses:,} did not.",
        )


def _phases(found: Diagnostics) -> None:
    if not found.phases:
        return
    markdown_table(
        [
            {
                "Phase of a cycle": plain(one.phase),
                "Times": f"{one.count:,}",
                "Last, ms": f"{1000 * one.last_seconds:,.1f}",
                "Mean, ms": f"{1000 * one.mean_seconds:,.1f}",
                "Longest, ms": f"{1000 * one.max_seconds:,.1f}",
            }
            for one in found.phases
        ],
        alt="How long each phase of a planning cycle took",
    )


def _decisions(found: Diagnostics) -> None:
    if not found.decisions:
        return
    most = sorted(found.decisions, key=lambda one: -one.count)[:REASONS_SHOWN]
    markdown_table(
        [
            {
                "Decision": plain(one.kind),
                "Reason": plain(one.reason),
                "Times": f"{one.count:,}",
            }
            for one in most
        ],
        alt="What the planner decided, most often first",
    )


def draw_waste() -> None:
    """Draw the accounts that left most of what they had leased unused."""
    found = latest("waste", lambda: visit().hub.waste(WASTE_DAYS), quietly=True)
    if not found.accounts:
        st.info(f"Nobody held a lease in the last {WASTE_DAYS} days.", icon=":material/savings:")
        return
    st.caption(
        f"GPU-hours of the last {WASTE_DAYS} days, most unused first. Used is measured time times"
        " SM activity; a dash was not measured."
    )
    markdown_table(
        [
            {
                "Account": plain(one.account),
                "Leased": f"{one.leased_gpu_hours:,.1f}",
                "Measured": f"{one.measured_gpu_hours:,.1f}",
                "Used": f"{one.used_gpu_hours:,.1f}",
                "Of what was measured": "–"  # noqa: RUF001  # a dash for nothing
                if one.share_used is None
                else f"{one.share_used:.0%}",
            }
            for one in found.accounts[:ACCOUNTS_SHOWN]
        ],
        alt="Accounts by GPU-hours that they leased and left unused",
    )
    if len(found.accounts) > ACCOUNTS_SHOWN:
        st.caption(f"The first {ACCOUNTS_SHOWN} accounts. All: `commonpool waste`.")
