"""What projects have left and what waits for a decision: beside each other, and of one alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

import streamlit as st

from portal.client.ledger import usage
from portal.client.requests import Requests
from portal.format import count, plain
from portal.parts.drawn import markdown_table
from portal.parts.request import draw_line
from portal.session import Visit, latest, visit
from scheduler.core.approvals import RequestState
from scheduler.wire.projects import ProjectView
from scheduler.wire.requests import RequestLine
from scheduler.wire.usage import BudgetView

NONE = "\N{EN DASH}"  # no budget that binds, or none that the viewer may see
MOST_REQUESTS = 200
SHOWN = 5
KEEP = timedelta(seconds=10)
_DAYS = 7  # what is left does not depend on it; shorter is less to read


@dataclass(frozen=True, slots=True)
class Figures:
    """What is left of budgets and what waits, by account; of those that the viewer may see."""

    budgets: Mapping[str, Sequence[BudgetView]]
    pending: Mapping[str, Sequence[RequestLine]]
    parents: Mapping[str, str | None]

    def binding(self, account: str) -> BudgetView | None:
        """Return the budget with the least left of those that bind an account (R4).

        Its own and those of all above it bind alike: a job starts only where all have room.
        """
        found: list[BudgetView] = []
        at: str | None = account
        while at is not None:
            found += self.budgets.get(at, ())
            at = self.parents.get(at)
        return min(found, key=lambda one: (one.left, one.budget), default=None)


def figures(projects: Sequence[ProjectView], here: Visit) -> Figures:
    """Ask the hub for both, once for all projects."""
    used = latest("projects used", lambda: usage(here.hub, _DAYS), quietly=True, keep=KEEP)
    asked = {"state": RequestState.OPEN.value}
    waiting = latest(
        "projects waiting",
        lambda: Requests(here.hub).page(asked, limit=MOST_REQUESTS),
        quietly=True,
        keep=KEEP,
    )
    now = here.now
    return Figures(
        _by_account([one for one in used.budgets if one.valid_from <= now < one.valid_to]),
        _by_account(waiting.requests),
        {one.account: one.parent for one in projects},
    )


class _OfAccount(Protocol):
    @property
    def account(self) -> str | None: ...


Row = TypeVar("Row", bound=_OfAccount)


def _by_account(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.account is not None:  # another policy concerns no one account
            found.setdefault(row.account, []).append(row)
    return found


def draw_overview(projects: Sequence[ProjectView], found: Figures) -> None:
    """Draw the viewer's projects as rows: what is left, and what waits."""
    markdown_table(
        [
            {
                "Project": plain(one.account),
                "Your roles": ", ".join(role.value for role in one.yours),
                "People": str(len(one.people)),
                "Budget left": _left(found.binding(one.account)),
                "Until": _until(found.binding(one.account)),
                "Pending requests": str(len(found.pending.get(one.account, ()))),
            }
            for one in projects
        ],
        alt="Your projects: what is left of their budgets, and requests that wait",
    )
    st.caption(
        "Left is in H100e-hours, of the budget that binds first: the project's own, or one of an"
        " account above it; a dash is where none binds."
    )


def _left(one: BudgetView | None) -> str:
    return NONE if one is None else f"{one.left:,.0f} of {one.limit:,.0f}"


def _until(one: BudgetView | None) -> str:
    return NONE if one is None else f"{one.valid_to:%Y-%m-%d}"


def draw_figures(project: ProjectView, found: Figures) -> None:
    """Draw what one project has left, and the requests about it that wait."""
    budget = found.binding(project.account)
    waiting = found.pending.get(project.account, ())
    with st.container(horizontal=True):
        st.metric(
            "Budget left, H100e-hours",
            NONE if budget is None else f"{budget.left:,.0f}",
            border=True,
            width="content",
        )
        st.metric("Pending requests", f"{len(waiting)}", border=True, width="content")
    st.caption(_said(project, budget))
    if waiting:
        st.subheader("Pending requests")
        for one in waiting[:SHOWN]:
            draw_line(one, visit())
        if len(waiting) > SHOWN:
            st.caption(f"and {count(len(waiting) - SHOWN, 'more request')}")
    with st.container(horizontal=True):
        st.page_link("views/usage.py", label="How budgets burn down", icon=":material/savings:")
        st.page_link(
            "views/requests.py",
            label="All open requests",
            icon=":material/inbox:",
            query_params={"of-state": RequestState.OPEN.value},
        )


def _said(project: ProjectView, budget: BudgetView | None) -> str:
    """Return the binding budget in words, or why there is none to tell."""
    if budget is None:
        if not project.yours:
            return "What is left of its budgets is told to its people, and to those above it."
        return "No budget binds it: quotas alone limit how much runs at once."
    whose = "Its own" if budget.account == project.account else f"{plain(budget.account)}'s"
    return (
        f"{whose} budget {plain(budget.budget)} binds first: {budget.used:,.0f} used and"
        f" {budget.reserved:,.0f} reserved by running jobs, of {budget.limit:,.0f} until"
        f" {budget.valid_to:%Y-%m-%d}."
    )
