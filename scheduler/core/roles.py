"""Who may do what, on which account: five roles, one table.

A role is given by policy, on an account: `members` are its researchers, and `leads`,
`approvers`, `operators` and `auditors` are those of the account with all below it. So a role
on the root is one of the whole federation. Nothing is allowed that the table does not say.

A person acts for themselves besides: their own jobs, tokens and sessions need no role.

Whoever signed in for an institution has the roles that its accounts give, and those of the
root, which is above all; roles that another institution gave need a sign-in for that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.model import Account, AccountName
from scheduler.core.policy import Policy
from scheduler.core.policy_found import ancestors


class Role(StrEnum):
    """What somebody is on an account."""

    RESEARCHER = "researcher"
    LEAD = "lead"
    APPROVER = "approver"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class Action(StrEnum):
    """What somebody may want to do that is not about themselves alone."""

    SUBMIT_JOB = "submit_job"
    SEE_JOBS = "see_jobs"  # other people's, with their logs
    CANCEL_JOB = "cancel_job"  # other people's
    SEE_USAGE = "see_usage"
    MANAGE_MEMBERS = "manage_members"
    ASK = "ask"  # for a project, a budget, an agreement, a reservation, a threshold crossing
    SEE_REQUESTS = "see_requests"  # other people's
    DECIDE_REQUEST = "decide_request"
    OFFER_LOAN = "offer_loan"
    RECALL_LOAN = "recall_loan"
    PROPOSE_POLICY = "propose_policy"
    APPROVE_POLICY = "approve_policy"
    APPLY_POLICY = "apply_policy"
    DIAGNOSE = "diagnose"  # the planner's own figures, and what-if
    OPERATE_NODES = "operate_nodes"  # cordon, drain, resume, maintenance
    MANAGE_TOKENS = "manage_tokens"  # other people's, sites' and agents'
    REVOKE_SESSIONS = "revoke_sessions"  # other people's
    READ_AUDIT = "read_audit"


_R, _L, _A, _O, _U = Role
ALLOWED: Mapping[Action, frozenset[Role]] = {
    Action.SUBMIT_JOB: frozenset({_R}),
    Action.SEE_JOBS: frozenset({_L, _O, _U}),
    Action.CANCEL_JOB: frozenset({_L, _O}),
    Action.SEE_USAGE: frozenset({_R, _L, _A, _O, _U}),
    Action.MANAGE_MEMBERS: frozenset({_L}),
    Action.ASK: frozenset({_R, _L}),
    Action.SEE_REQUESTS: frozenset({_L, _A, _O, _U}),
    Action.DECIDE_REQUEST: frozenset({_A}),
    Action.OFFER_LOAN: frozenset({_L}),
    Action.RECALL_LOAN: frozenset({_L, _O}),
    Action.PROPOSE_POLICY: frozenset({_L, _O}),
    Action.APPROVE_POLICY: frozenset({_A}),
    # Whoever applies a policy alone is outside the rule of two people: no role is.
    Action.APPLY_POLICY: frozenset(),
    Action.DIAGNOSE: frozenset({_O, _U}),
    Action.OPERATE_NODES: frozenset({_O}),
    Action.MANAGE_TOKENS: frozenset({_O}),
    Action.REVOKE_SESSIONS: frozenset({_O}),
    Action.READ_AUDIT: frozenset({_O, _U}),
}
"""Which roles may do what. Administrators' tokens are no people, and are not in it."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who acts, and for which institution: None is for all that the policy names them.

    `institution` is an account; the one right below the root that it belongs to counts, and
    the root stands for all of them. One that the policy has no more stands for none.
    """

    user: str
    institution: str | None = None


def roles_of(policy: Policy, actor: Actor) -> Mapping[AccountName, frozenset[Role]]:
    """Return what somebody is, by account; accounts on which they are nothing are left out.

    Roles flow down the tree: a lead of the parent leads the children too. Membership does not.
    """
    accounts = {account.name: account for account in policy.accounts}
    held = {name: _held(accounts, name, actor) for name in accounts}
    return {name: roles for name, roles in held.items() if roles}


def roles_on(policy: Policy, actor: Actor, account: AccountName) -> frozenset[Role]:
    """Return what somebody is on one account of the policy."""
    return _held({known.name: known for known in policy.accounts}, account, actor)


def may(policy: Policy, actor: Actor, action: Action, account: AccountName | None = None) -> bool:
    """Return whether somebody may act on an account; None is the whole federation, the root.

    An account that the policy does not have allows nothing.
    """
    accounts = {known.name: known for known in policy.accounts}
    at = root(policy) if account is None else account
    return at in accounts and not ALLOWED[action].isdisjoint(_held(accounts, at, actor))


def accounts_for(policy: Policy, actor: Actor, action: Action) -> frozenset[AccountName]:
    """Return every account on which somebody may act so."""
    allowed = ALLOWED[action]
    held = roles_of(policy, actor)
    return frozenset(name for name, roles in held.items() if not allowed.isdisjoint(roles))


def holders(policy: Policy, role: Role, account: AccountName) -> frozenset[str]:
    """Return who has a role on an account, given there or above."""
    accounts = {known.name: known for known in policy.accounts}
    chain = [accounts[name] for name in ancestors(accounts, account)]
    if role is Role.RESEARCHER:
        return chain[0].members if chain else frozenset()
    return frozenset[str]().union(*(_given(above)[role] for above in chain))


def root(policy: Policy) -> AccountName | None:
    """Return the account above all others; None where there is no account."""
    return next((account.name for account in policy.accounts if account.parent is None), None)


def institution(policy: Policy, account: AccountName) -> AccountName | None:
    """Return the account right below the root that an account belongs to.

    It is what "two approvers from different institutions" compares; the root and unknown
    accounts belong to none.
    """
    return _institution({known.name: known for known in policy.accounts}, account)


def covers(policy: Policy, actor: Actor, account: AccountName) -> bool:
    """Return whether what an account of the policy gives somebody counts, as they signed in."""
    return _covers({known.name: known for known in policy.accounts}, actor, account)


def elsewhere(policy: Policy, actor: Actor) -> frozenset[AccountName]:
    """Return the accounts of institutions that name somebody, and that they did not sign in for."""
    user = actor.user
    # Spelled out: this is asked at each request of a person, and goes over every account.
    naming = [
        row.name
        for row in policy.accounts
        if user in row.members
        or user in row.leads
        or user in row.approvers
        or user in row.operators
        or user in row.auditors
    ]
    accounts = {known.name: known for known in policy.accounts} if naming else {}
    others = {_institution(accounts, name) for name in naming if not _covers(accounts, actor, name)}
    if not others:
        return frozenset()
    return frozenset(name for name in accounts if _institution(accounts, name) in others)


def memberships(policy: Policy, actor: Actor) -> tuple[AccountName, ...]:
    """Return the accounts of which somebody is a member, in the policy's order."""
    accounts = {known.name: known for known in policy.accounts}
    return tuple(
        name
        for name, account in accounts.items()
        if actor.user in account.members and _covers(accounts, actor, name)
    )


def _institution(
    accounts: Mapping[AccountName, Account], account: AccountName
) -> AccountName | None:
    chain = ancestors(accounts, account)
    return chain[-2] if len(chain) > 1 else None


def _covers(accounts: Mapping[AccountName, Account], actor: Actor, at: AccountName) -> bool:
    """Return whether what an account gives somebody counts, for how they signed in."""
    if actor.institution is None or accounts[at].parent is None:
        return True
    mine = AccountName(actor.institution)
    if mine not in accounts:
        return False
    return accounts[mine].parent is None or _institution(accounts, mine) == _institution(
        accounts, at
    )


def _held(
    accounts: Mapping[AccountName, Account], name: AccountName, actor: Actor
) -> frozenset[Role]:
    chain = ancestors(accounts, name)
    # All of a chain but the root is of one institution.
    counts = chain if _covers(accounts, actor, name) else chain[-1:]
    above = [_given(accounts[at]) for at in counts]
    roles = {role for given in above for role, people in given.items() if actor.user in people}
    if name in counts and actor.user in accounts[name].members:
        roles.add(Role.RESEARCHER)
    return frozenset(roles)


def _given(account: Account) -> Mapping[Role, frozenset[str]]:
    """Return the roles that flow down from an account, and to whom."""
    return {
        Role.LEAD: account.leads,
        Role.APPROVER: account.approvers,
        Role.OPERATOR: account.operators,
        Role.AUDITOR: account.auditors,
    }
