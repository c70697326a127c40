"""A session is for one institution: the roles that another one gave are not in it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.approvals import No, RequestState, Vote, Why, decide, standing
from scheduler.core.model import Sector, User
from scheduler.core.policy import Policy
from scheduler.core.policy_found import ACCOUNT_PEOPLE
from scheduler.core.request_kinds import ApprovalRule, RequestKind
from scheduler.core.roles import (
    ALLOWED,
    Action,
    Actor,
    Role,
    accounts_for,
    elsewhere,
    institution,
    may,
    memberships,
    roles_of,
    root,
)
from tests.build import NOON
from tests.core.test_approvals import account, asked

TREE = {"nation": None, "army": "nation", "army-lab": "army", "uni": "nation", "uni-lab": "uni"}
ROLES = dict(zip(ACCOUNT_PEOPLE, Role, strict=True))


def policy(**people):
    """Return a policy; `army_lab={"leads": ["ann"]}` says who is what there."""
    given = {name.replace("_", "-"): roles for name, roles in people.items()}
    users = {one for roles in given.values() for some in roles.values() for one in some}
    return Policy(
        revision=1,
        sites=(),
        accounts=tuple(account(name, above, **given.get(name, {})) for name, above in TREE.items()),
        users=tuple(User(name) for name in sorted(users)),
        pools=(),
        quotas=(),
        agreements=(),
        tiers=(),
        hardware=(),
    )


# Where a role was given, for which institution somebody signed in, and on which accounts it holds.
HOLDS = [
    pytest.param("army", "army", {"army", "army-lab"}, id="its own institution's"),
    pytest.param("army", "uni", set(), id="another institution's"),
    pytest.param("army", None, {"army", "army-lab"}, id="bound to none: an older token"),
    pytest.param("army-lab", "army", {"army-lab"}, id="of a team of the institution"),
    pytest.param("army", "army-lab", {"army", "army-lab"}, id="signed in for a team of it"),
    pytest.param("army-lab", "uni-lab", set(), id="signed in for a team of another"),
    pytest.param("nation", "army", set(TREE), id="the root's, for an institution"),
    pytest.param("nation", "nation", set(TREE), id="the root's, for the root"),
    pytest.param("army", "nation", {"army", "army-lab"}, id="for the root, which is for all"),
    pytest.param("army", "gone", set(), id="an institution that the policy has no more"),
    pytest.param("nation", "gone", set(TREE), id="the root's, for one that is no more"),
]


@pytest.mark.parametrize("people", ACCOUNT_PEOPLE)
@pytest.mark.parametrize(("given_at", "signed_in_for", "holds"), HOLDS)
def test_a_role_holds_in_a_session_for_the_institution_that_gave_it(
    people, given_at, signed_in_for, holds
):
    found = policy(**{given_at.replace("-", "_"): {people: ["ann"]}})
    held = roles_of(found, Actor("ann", signed_in_for))
    wanted = holds & {given_at} if people == "members" else holds  # membership flows nowhere
    assert held == {name: {ROLES[people]} for name in wanted}
    if people == "members":
        assert set(memberships(found, Actor("ann", signed_in_for))) == wanted


BOTH = policy(
    army={"leads": ["ann"], "approvers": ["ann", "al"]},
    army_lab={"members": ["dana"]},
    uni={"approvers": ["ann", "una"], "operators": ["ann"]},
    uni_lab={"members": ["ann"]},
    nation={"auditors": ["ann"]},
)


@given(action=st.sampled_from(Action), mine=st.sampled_from([*TREE, "gone", None]))
def test_a_session_may_what_one_institution_and_the_root_allow_and_nothing_more(action, mine):
    actor = Actor("ann", mine)
    everything = accounts_for(BOTH, Actor("ann"), action)
    allowed = accounts_for(BOTH, actor, action)
    assert allowed <= everything
    by_root = bool(ALLOWED[action] & {Role.AUDITOR})
    for name in TREE:
        assert may(BOTH, actor, action, name) == (name in allowed)
        here = mine in {None, root(BOTH)} or institution(BOTH, mine or "") == institution(
            BOTH, name
        )
        if not here or (mine == "gone"):
            assert (name in allowed) == by_root


TWO = replace(BOTH, approvals=(ApprovalRule(RequestKind.BUDGET, approvers=1, institutions=1),))


def vote(by, institution, approves=True):
    return Vote(by, approves, "d1", "it is right", NOON, institution)


def test_an_approver_decides_only_signed_in_for_the_institution_that_made_them_one():
    refused = decide(asked(), TWO, vote("ann", "uni"))
    assert isinstance(refused, No)
    assert refused.why is Why.NO_ROLE
    assert refused.sentence == "ann, signed in for uni, is there no approver of army-lab"
    assert decide(asked(), TWO, vote("ann", "army")).state is RequestState.APPROVED


def test_a_stranger_is_not_told_of_another_sign_in():
    refused = decide(asked(), TWO, vote("una", "uni"))
    assert refused.sentence == "una is no approver of army-lab"


def test_a_word_never_counts_by_a_role_in_another_institution_later_either():
    """Both sides decide on an agreement; ann spoke for the army, and is no approver there now."""
    request = asked(RequestKind.AGREEMENT, accounts=("army", "uni"))
    said = decide(request, BOTH, vote("ann", "army"))
    assert [one.by for one in standing(said, BOTH).approvals] == ["ann"]
    accounts = tuple(
        replace(one, approvers=one.approvers - {"ann"}) if one.name == "army" else one
        for one in BOTH.accounts
    )
    assert standing(said, replace(BOTH, accounts=accounts)).approvals == ()


def test_two_who_share_an_institution_are_not_two_whichever_they_signed_in_for():
    """R17: ann spoke for the army, una for the university, to which ann belongs as well."""
    request = asked(RequestKind.THRESHOLD, accounts=None)
    one = decide(request, BOTH, vote("ann", "army"))
    two = decide(one, BOTH, vote("una", "uni"))
    assert two.state is RequestState.OPEN
    assert standing(two, BOTH).institutions == 1
    assert decide(two, BOTH, vote("al", "army")).state is RequestState.APPROVED


def test_the_sector_of_an_account_is_not_what_makes_an_institution():
    assert {one.sector for one in BOTH.accounts} == {Sector.DOD}
    assert institution(BOTH, "army-lab") != institution(BOTH, "uni-lab")


@pytest.mark.parametrize(
    ("signed_in_for", "others"),
    [
        ("army", {"uni", "uni-lab"}),
        ("uni-lab", {"army", "army-lab"}),
        ("nation", set()),
        (None, set()),
        ("gone", {"army", "army-lab", "uni", "uni-lab"}),
    ],
)
def test_what_is_elsewhere_is_of_the_institutions_that_one_did_not_sign_in_for(
    signed_in_for, others
):
    assert elsewhere(BOTH, Actor("ann", signed_in_for)) == others
    assert elsewhere(BOTH, Actor("dana", "army")) == set(), "whom one institution names alone"
