"""Who may decide on a request, when it is approved, and what voids an approval."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import policy_file
from scheduler.core.approvals import (
    No,
    Request,
    RequestState,
    Vote,
    Why,
    as_of,
    decide,
    edit,
    institutions_of,
    may_apply,
    may_ask,
    may_see,
    send,
    sides,
    standing,
    withdraw,
)
from scheduler.core.model import Account, Sector, User
from scheduler.core.policy import Policy
from scheduler.core.request_kinds import ApprovalRule, RequestKind, rule_for
from scheduler.core.roles import Actor
from tests.build import NOON

DAY = timedelta(days=1)


def account(name, parent="nation", **people):
    return Account(name, parent, Sector.DOD, **{k: frozenset(v) for k, v in people.items()})


POLICY = Policy(
    revision=1,
    sites=(),
    accounts=(
        account("nation", None, operators=["ops"], auditors=["audra"]),
        account("army", leads=["amy"], approvers=["ann", "al"]),
        account("army-lab", "army", members=["dana"]),
        account("uni", approvers=["una"]),
        account("uni-lab", "uni", members=["alex"]),
        account("firm", approvers=["fay", "ann"]),
    ),
    users=tuple(
        User(n) for n in ("ann", "al", "amy", "una", "fay", "dana", "alex", "ops", "audra")
    ),
    pools=(),
    quotas=(),
    agreements=(),
    tiers=(),
    hardware=(),
)
TWO = ApprovalRule(RequestKind.BUDGET, approvers=2, institutions=2)


def asked(kind=RequestKind.BUDGET, accounts=("army-lab",), **more):
    where = None if accounts is None else frozenset(accounts)
    made = Request("r1", kind, "dana", where, RequestState.OPEN, "d1", NOON + DAY)
    return replace(made, **more)


def vote(by, approves=True, digest="d1", reason="it is right", at=NOON):
    return Vote(by, approves, digest, reason, at)


def after(request, *votes, policy=POLICY):
    for one in votes:
        request = decide(request, policy, one)
        assert not isinstance(request, No), request
    return request


def why(request, one, policy=POLICY):
    found = decide(request, policy, one)
    assert isinstance(found, No), found.state
    return found.why


def test_one_approver_is_enough_where_the_policy_says_nothing():
    assert after(asked(), vote("ann")).state is RequestState.APPROVED


def test_a_denial_ends_a_request_whatever_was_said_before():
    policy = replace(POLICY, approvals=(replace(TWO, institutions=1),))
    denied = after(asked(), vote("ann"), vote("al", approves=False), policy=policy)
    assert denied.state is RequestState.DENIED
    assert why(denied, vote("ann", reason="again", digest="d2"), policy) is Why.OVER


def test_agreements_and_threshold_crossings_need_two_institutions_by_default():
    """R17: two approvers from different institutions."""
    request = asked(RequestKind.THRESHOLD, accounts=None)
    one = after(request, vote("ann"))
    assert one.state is RequestState.OPEN
    assert standing(one, POLICY).sentence() == "1 of 2 approvers, from 1 of 2 institutions"
    assert after(one, vote("al")).state is RequestState.OPEN, "al is of ann's institution"
    assert after(one, vote("una")).state is RequestState.APPROVED
    assert rule_for((), RequestKind.AGREEMENT).institutions == 2


def test_somebody_of_two_institutions_is_not_two():
    """ann approves for the army and for the firm: with fay of the firm she is one institution."""
    assert institutions_of(POLICY, "ann") == {"army", "firm"}
    request = asked(RequestKind.THRESHOLD, accounts=None)
    assert after(request, vote("ann"), vote("fay")).state is RequestState.OPEN
    assert after(request, vote("al"), vote("fay")).state is RequestState.APPROVED


REFUSALS = [
    pytest.param({"requester": "ann"}, vote("ann"), Why.OWN, id="never who asks"),
    pytest.param({}, vote("una"), Why.NO_ROLE, id="an approver of another institution"),
    pytest.param({}, vote("amy"), Why.NO_ROLE, id="a lead is no approver"),
    pytest.param({}, vote("admin"), Why.NO_ROLE, id="an administrator is no person"),
    pytest.param({}, vote("ann", digest="d0"), Why.EDITED, id="an older text"),
    pytest.param({}, vote("ann", reason=" "), Why.NO_REASON, id="no reason"),
    pytest.param({"state": RequestState.DRAFT}, vote("ann"), Why.DRAFT, id="a draft"),
    pytest.param({"state": RequestState.WITHDRAWN}, vote("ann"), Why.OVER, id="withdrawn"),
    pytest.param({}, vote("ann", at=NOON + DAY), Why.OVER, id="expired"),
]


@pytest.mark.parametrize(("more", "one", "reason"), REFUSALS)
def test_a_vote_that_does_not_count_says_why(more, one, reason):
    assert why(asked(**more), one) is reason


def test_the_same_vote_twice_is_one():
    policy = replace(POLICY, approvals=(TWO,))
    once = after(asked(accounts=("army", "uni")), vote("ann"), policy=policy)
    assert after(once, vote("ann", reason="a double click"), policy=policy) == once
    approved = after(once, vote("una"), policy=policy)
    assert after(approved, vote("una"), policy=policy) == approved


def test_an_edit_voids_approvals():
    policy = replace(POLICY, approvals=(replace(TWO, institutions=1),))
    one = after(asked(), vote("ann"), policy=policy)
    edited = edit(one, "dana", "d2", NOON)
    assert standing(edited, policy).approvals == ()
    both = after(edited, vote("al", digest="d2"), policy=policy)
    assert both.state is RequestState.OPEN, "ann approved another text"
    assert after(both, vote("ann", digest="d2"), policy=policy).state is RequestState.APPROVED


def test_an_edit_after_approval_asks_again():
    approved = after(asked(), vote("ann"))
    assert edit(approved, "dana", "d2", NOON).state is RequestState.OPEN
    assert edit(approved, "dana", "d1", NOON) == approved, "the same text is no edit"
    assert edit(approved, "ann", "d2", NOON).why is Why.NOT_OWN


def test_an_approver_who_lost_the_role_counts_no_more():
    approved = after(asked(), vote("ann"))
    assert may_apply(approved, POLICY) is None
    without = tuple(replace(one, approvers=one.approvers - {"ann"}) for one in POLICY.accounts)
    refused = may_apply(approved, replace(POLICY, accounts=without))
    assert refused.why is Why.NO_ROLE
    assert "no longer may" in refused.sentence


def test_only_who_asks_sends_and_withdraws_and_twice_is_once():
    draft = asked(state=RequestState.DRAFT)
    opened = send(draft, "dana", NOON)
    assert opened.state is RequestState.OPEN
    assert send(opened, "dana", NOON) == opened
    assert send(draft, "amy", NOON).why is Why.NOT_OWN
    gone = withdraw(opened, "dana", NOON)
    assert withdraw(gone, "dana", NOON) == gone
    assert withdraw(opened, "ann", NOON).why is Why.NOT_OWN
    assert send(gone, "dana", NOON).why is Why.OVER


def test_nobody_decides_after_the_time_is_up_and_it_says_so():
    assert as_of(asked(), NOON + DAY).state is RequestState.EXPIRED
    assert as_of(asked(), NOON + DAY - timedelta(seconds=1)).state is RequestState.OPEN
    approved = after(asked(), vote("ann"))
    assert as_of(approved, NOON + DAY).state is RequestState.APPROVED, "it was decided in time"
    assert edit(asked(), "dana", "d2", NOON + DAY).why is Why.OVER


def test_who_may_ask_and_who_sees():
    assert may_ask(POLICY, Actor("dana"), RequestKind.BUDGET, "army-lab")
    assert may_ask(POLICY, Actor("dana"), RequestKind.PROJECT, "army"), "of her institution"
    assert not may_ask(POLICY, Actor("dana"), RequestKind.BUDGET, "uni-lab")
    assert not may_ask(POLICY, Actor("dana"), RequestKind.POLICY, None)
    assert may_ask(POLICY, Actor("amy"), RequestKind.POLICY, None)
    assert not may_ask(POLICY, Actor("audra"), RequestKind.BUDGET, "army-lab")
    assert {u.name for u in POLICY.users if may_see(POLICY, Actor(u.name), asked())} == {
        *("dana", "amy", "ann", "al", "ops", "audra")
    }


def test_an_agreement_is_for_both_sides():
    assert sides(POLICY, "army-lab", "uni") == {"army-lab", "uni"}
    assert sides(POLICY, "army-lab", Sector.DOD) == {"army-lab", "army", "uni", "firm"}


PEOPLE = st.sampled_from([user.name for user in POLICY.users])
STEPS = st.one_of(
    st.tuples(st.just("vote"), PEOPLE, st.booleans(), st.sampled_from(["d1", "d2"])),
    st.tuples(st.just("edit"), PEOPLE, st.sampled_from(["d1", "d2"])),
    st.tuples(st.just("withdraw"), PEOPLE),
    st.tuples(st.just("send"), PEOPLE),
)


def step(request, told):
    match told:
        case ("vote", by, approves, digest):
            return decide(request, POLICY, vote(by, approves, digest))
        case ("edit", by, digest):
            return edit(request, by, digest, NOON)
        case ("withdraw", by):
            return withdraw(request, by, NOON)
        case (_, by):
            return send(request, by, NOON)


@settings(deadline=None)
@given(
    st.lists(STEPS, max_size=12),
    st.sampled_from([asked(RequestKind.THRESHOLD, None), asked(), asked(requester="ann")]),
)
def test_whatever_is_done_what_is_approved_has_what_the_policy_wants(steps, request):
    for told in steps:
        found = step(request, told)
        if isinstance(found, No):
            continue
        assert not request.state.is_final or found == request, "an end is an end"
        request = found
        if request.state is RequestState.APPROVED:
            had = standing(request, POLICY)
            rule = rule_for((), request.kind)
            people = {one.by for one in had.approvals}
            assert len(people) >= rule.approvers
            assert request.requester not in people
            assert {one.digest for one in had.approvals} == {request.digest}


BAD_RULES = [
    pytest.param("{kind: budget, approvers: 1, institutions: 2}", "cannot be from 2", id="too few"),
    pytest.param("{kind: budget}, {kind: budget}", "a rule for budget already", id="twice"),
    pytest.param("{kind: holiday}", "not one of", id="no such kind"),
]


@pytest.mark.parametrize(("rows", "reason"), BAD_RULES)
def test_rules_of_approval_that_make_no_sense_are_refused(rows, reason):
    problems = policy_file.check(demo() + f"\napprovals: [{rows}]\n")
    assert any(reason in problem.reason for problem in problems), problems


def test_rules_of_approval_are_read_with_what_is_left_out():
    text = demo() + "\napprovals: [{kind: policy, institutions: 2}, {kind: threshold}]\n"
    made = policy_file.load(text, 1).approvals
    assert made == (
        ApprovalRule(RequestKind.POLICY, 2, 2),
        ApprovalRule(RequestKind.THRESHOLD, 2, 2),
    )


def demo():
    return (Path(__file__).parents[2] / "infra/policies/demo.yaml").read_text(encoding="utf-8")
