"""Projects: what is left and what waits are figures, and a sole approver is told so."""

from datetime import timedelta

from portal.parts.project_figures import Figures
from scheduler.core.approvals import RequestState
from tests.portal import asked, lent_days
from tests.portal.test_pages import closed_connections, said
from tests.portal.test_sharing_pages import of

__all__ = ["closed_connections"]


def metric(at, label):
    return next(each.value for each in at.metric if each.label == label)


def test_the_persons_projects_have_what_is_left_and_what_waits_beside_each_other(open_page, hub):
    hub.asked = [asked.line(hub.now, "r-1"), asked.line(hub.now, "r-2")]
    (row,) = of(open_page("projects"), "Budget left")
    assert (row["Project"], row["Pending requests"]) == ("arl\\-vision", "2")
    left = min(one.left for one in hub.budgets if one.account in lent_days.ABOVE["dana"])
    assert row["Budget left"].startswith(f"{left:,.0f} of ")


def test_one_project_says_which_budget_binds_and_lists_its_requests(open_page, hub):
    hub.asked = [asked.line(hub.now, f"r-{n}", title=f"Ask number {n}") for n in range(7)]
    at = open_page("projects")
    assert metric(at, "Pending requests") == "7"
    assert "binds first" in said(at)
    assert "and 2 more requests" in said(at)


def test_a_request_that_is_decided_waits_no_more(open_page, hub):
    hub.asked = [asked.line(hub.now, "r-1", state=RequestState.DENIED)]
    assert metric(open_page("projects"), "Pending requests") == "0"


def test_without_a_budget_a_dash_stands_and_the_reason(open_page, hub):
    hub.budgets = []
    at = open_page("projects")
    assert metric(at, "Budget left, H100e-hours") == "–"  # noqa: RUF001
    assert "No budget binds it: quotas alone" in said(at)


def test_a_budget_above_binds_too_and_the_least_left_is_told(hub):
    """R4: a start needs room in every budget, its account's own and those above it."""
    own = next(one for one in hub.budgets)
    above = own.model_copy(update={"budget": "above", "account": "arl", "left": own.left - 1})
    own = own.model_copy(update={"account": "arl-vision"})
    found = Figures({"arl-vision": [own], "arl": [above]}, {}, {"arl-vision": "arl", "arl": None})
    assert found.binding("arl-vision") == above
    assert found.binding("arl") == above
    assert found.binding("elsewhere") is None


def test_a_budget_that_is_over_is_not_what_is_left(open_page, hub):
    past = {"valid_to": hub.now - timedelta(days=1)}
    hub.budgets = [one.model_copy(update=past) for one in hub.budgets]
    assert metric(open_page("projects"), "Budget left, H100e-hours") == "–"  # noqa: RUF001
