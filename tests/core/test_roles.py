"""Roles: given by policy, flowing down the tree, and one table of what each may do."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import policy_file
from scheduler.core import roles
from scheduler.core.roles import ALLOWED, Action, Actor, Role, holders, institution, may, roles_of

DEMO = policy_file.load(
    (Path(__file__).parents[2] / "infra/policies/demo.yaml").read_text(encoding="utf-8"), 1
)
ACCOUNTS = [account.name for account in DEMO.accounts]
PEOPLE = [user.name for user in DEMO.users]


@pytest.mark.parametrize(
    ("user", "held"),
    [
        pytest.param("dana", {"arl-vision": {Role.RESEARCHER}}, id="a member, of that account"),
        pytest.param(
            "lee",
            {name: {Role.LEAD, Role.APPROVER} for name in ("arl", "arl-vision")},
            id="a lead leads the children too",
        ),
        pytest.param("ops", {name: {Role.OPERATOR} for name in ACCOUNTS}, id="on the root: all"),
        pytest.param("mallory", {}, id="a stranger is nothing anywhere"),
    ],
)
def test_a_role_is_of_an_account_and_flows_down_from_it(user, held):
    assert roles_of(DEMO, Actor(user)) == held


def test_every_action_is_in_the_table_and_somebody_may_do_all_but_one():
    assert set(ALLOWED) == set(Action)
    assert {action for action, who in ALLOWED.items() if not who} == {Action.APPLY_POLICY}


@given(
    user=st.sampled_from([*PEOPLE, "mallory"]),
    action=st.sampled_from(Action),
    account=st.sampled_from([*ACCOUNTS, "nowhere"]),
)
def test_nobody_may_what_no_role_of_theirs_on_that_account_allows(user, action, account):
    actor = Actor(user)
    held = roles_of(DEMO, actor).get(account, frozenset())
    assert may(DEMO, actor, action, account) == bool(held & ALLOWED[action])
    assert (account in roles.accounts_for(DEMO, actor, action)) == may(DEMO, actor, action, account)


def test_without_an_account_the_whole_federation_is_meant():
    assert may(DEMO, Actor("ops"), Action.OPERATE_NODES)
    assert not may(DEMO, Actor("lee"), Action.SEE_JOBS)
    assert may(DEMO, Actor("lee"), Action.SEE_JOBS, "arl-vision")


def test_a_policy_without_accounts_allows_nothing():
    assert not may(replace(DEMO, accounts=()), Actor("ops"), Action.OPERATE_NODES)


def test_holders_are_found_from_the_account_upwards():
    assert holders(DEMO, Role.APPROVER, "arl-vision") == {"lee"}
    assert holders(DEMO, Role.AUDITOR, "acme-robotics") == {"audra"}
    assert holders(DEMO, Role.RESEARCHER, "arl-vision") == {"dana"}
    assert holders(DEMO, Role.RESEARCHER, "arl") == set()
    assert holders(DEMO, Role.RESEARCHER, "nowhere") == set()


def test_an_institution_is_the_account_right_below_the_root():
    assert institution(DEMO, "arl-vision") == "arl"
    assert institution(DEMO, "arl") == "arl"
    assert institution(DEMO, "national") is None
    assert institution(DEMO, "nowhere") is None


@pytest.mark.parametrize("people", ["leads", "approvers", "operators", "auditors"])
def test_a_role_for_somebody_whom_the_policy_does_not_know_is_refused(people):
    text = (Path(__file__).parents[2] / "infra/policies/demo.yaml").read_text(encoding="utf-8")
    wrong = text.replace("{name: acme, ", f"{{name: acme, {people}: [iriss], ")
    (problem,) = policy_file.check(wrong)
    assert (problem.field, problem.reason) == (
        f"accounts[5].{people}",
        "no user is named 'iriss'",
    )
