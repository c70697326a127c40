"""Whoever asked is told, before they try, that they cannot approve it, and who can."""

import pytest

from tests.api.test_requests import agreement, ask, budget, decide

WHY_NOT = "why_you_may_not_decide"


@pytest.mark.parametrize("draft", [False, True])
async def test_who_asked_and_approves_nothing_is_told_who_does(small, draft):
    asked = await ask(small, "dana", budget(), draft=draft)
    assert asked[WHY_NOT] == "You asked for it, so you cannot approve it yourself. Who can: lee."


@pytest.mark.parametrize("draft", [False, True])
async def test_the_only_approver_is_told_that_nobody_can_and_what_would_help(small, draft):
    asked = await ask(small, "lee", budget(), draft=draft)
    assert asked["who_may_decide"] == []
    assert "decide" not in asked["you_may"]
    assert asked[WHY_NOT] == (
        "You are its only approver, and nobody approves their own request. It waits until an"
        " administrator, or a proposal of another policy, names another approver."
    )
    if not draft:
        assert (await decide(small, "lee", asked)).status_code == 403


async def test_too_few_others_are_named_with_how_many_it_needs(small):
    """An agreement takes an approver of each side: pat, who asks, leaves lee alone."""
    asked = await ask(small, "pat", agreement())
    assert asked["who_may_decide"] == ["lee"]
    assert "It needs 2 approvers, and besides you there is only lee" in asked[WHY_NOT]
