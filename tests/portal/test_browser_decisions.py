"""An approver decides on several requests at once, with the keyboard alone, and looks back."""

import pytest
from playwright.sync_api import expect

from tests.e2e.town import an_agreement, for_days
from tests.portal.axe import inject, violations
from tests.portal.real_pages import chromium, real, shot, shots_of, tab_to, visits

__all__ = ["chromium", "real", "visits"]
pytestmark = pytest.mark.browser


def budget(name, hours, account="arl", year=0):
    return {
        "kind": "budget",
        "id": name,
        "account": account,
        "h100e_hours": hours,
        **for_days(300, after=365 * year),
    }


def decide(real, who, request, approve, reason):
    body = {"approve": approve, "digest": request["digest"], "reason": reason}
    path = f"/v1/requests/{request['id']}/decide"
    answer = real.ask("POST", path, real.token(who), json=body)
    assert answer.is_success, answer.text


@pytest.fixture(scope="module")
def waiting(real):
    """Two decided budgets, and three requests that wait for lee, one with a second approver."""
    decide(real, "lee", real.asks_for("dana", budget("arl-first", 4_000), "a start"), True, "small")
    refused = real.asks_for("dana", budget("arl-large", 900_000), "a large model")
    decide(real, "lee", refused, False, "more than the institution has")
    return (
        real.asks_for("dana", budget("arl-next", 20_000, year=1), "the next milestone needs it"),
        real.asks_for(
            "dana", budget("vision-more", 1_000, "arl-vision"), "a rerun of the evaluation"
        ),
        real.asks_for("alex", an_agreement(), "ARL asks for evenings"),
    )


def test_beside_the_impact_stands_what_was_decided_before(visits, waiting):
    page = visits("lee", f"/request?id={waiting[0]['id']}")
    expect(page.get_by_text("What dana asked for before")).to_be_visible()
    expect(page.get_by_text("lee denied it").first).to_be_visible()
    expect(page.get_by_text("more than the institution has").first).to_be_visible()
    expect(page.get_by_text("Runs recalled").first).to_be_visible()
    shots_of(visits, "lee", f"/request?id={waiting[0]['id']}", "request-precedents")


def test_the_queue_fits_and_breaks_no_rule(visits, waiting):
    del waiting
    shots_of(visits, "lee", "/approvals", "approvals")


def test_several_are_decided_by_keyboard_alone_each_with_its_result(visits, waiting):
    page = visits("lee", "/approvals")
    for one in (waiting[1], waiting[2]):
        tab_to(page, page.get_by_role("checkbox", name=f"Choose: {one['title']}"))
        page.keyboard.press("Space")
    tab_to(page, page.get_by_role("button", name="Approve those chosen"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("Say why, in a sentence")).to_be_visible()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_label("Reason, for all that you chose")).to_be_focused()
    page.keyboard.type("as planned")
    tab_to(page, page.get_by_role("button", name="Approve those chosen"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("Approved. It is in force as policy revision")).to_be_visible()
    expect(page.get_by_text("It needs another approver: it has 1 of 2")).to_be_visible()
    expect(page.get_by_role("checkbox")).to_have_count(1)
    shot(page, "approvals-decided")


def test_an_earlier_policy_becomes_the_draft_of_a_new_one(visits, waiting):
    del waiting
    page = visits("lee", "/policy")
    page.get_by_role("tab", name="Revisions").click()
    page.get_by_role("button", name="Roll back…").click()
    expect(page.get_by_text("It is a valid policy.")).to_be_visible()
    expect(page.get_by_text("is gone").first).to_be_visible()
    inject(page)
    assert violations(page, "rollback") == []
    shot(page, "policy-rollback")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "policy-rollback-390")
    why = page.get_by_label("Why (approvers and auditors read it)")
    why.fill("the milestone moved")
    why.blur()
    page.get_by_role("button", name="Propose", exact=True).click()
    expect(page.get_by_text("Proposed: its approvers are told.")).to_be_visible()
    expect(page.get_by_text("the milestone moved").first).to_be_visible()
    expect(
        page.get_by_text("You asked for it, so you cannot approve it yourself. Who can: ")
    ).to_be_visible()
    before = visits("pat", "/approvals")
    expect(before.get_by_text("open it: its text is to be read")).to_be_visible()
