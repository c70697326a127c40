"""Who decides on a request, and what becomes of it: a state machine over values.

    draft -> open -> approved -> applied
               |-> denied, withdrawn, expired

An approval is of the exact text that its approver saw (a digest), so an edit voids it; it
counts for as long as its approver may approve. Whoever asks never approves. One denial ends it.

Source: scheduling.md R17 for two approvers from different institutions; notes/portal.md §4.6.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import combinations

from scheduler.core.model import AccountName, Sector
from scheduler.core.policy import Policy
from scheduler.core.request_kinds import ApprovalRule, RequestKind, rule_for
from scheduler.core.roles import Action, Actor, accounts_for, institution, may, root


class RequestState(StrEnum):
    """Where a request stands."""

    DRAFT = "draft"
    OPEN = "open"
    APPROVED = "approved"  # enough agreed, and it is not in force yet
    APPLIED = "applied"
    DENIED = "denied"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Return whether nothing more becomes of it."""
        return self in _FINAL


_FINAL = frozenset(
    {RequestState.APPLIED, RequestState.DENIED, RequestState.WITHDRAWN, RequestState.EXPIRED}
)


@dataclass(frozen=True, slots=True)
class Vote:
    """One approver's word on one text, with the reason for it.

    `institution` is the one for which the approver was signed in: by a role in another the word
    never counts, not later either. None is of a policy's whole word, as for an older vote.
    """

    by: str
    approves: bool
    digest: str
    reason: str
    at: datetime
    institution: str | None = None

    @property
    def actor(self) -> Actor:
        """Return who gave it, for which institution."""
        return Actor(self.by, self.institution)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as its rules look at it. `digest` is of the text as it is now.

    `accounts` are those on which being an approver counts: one account's, or of an agreement
    both sides'. None is the institutions' council: approvers of any institution, or of all.
    """

    id: str
    kind: RequestKind
    requester: str
    accounts: frozenset[AccountName] | None
    state: RequestState
    digest: str
    expires_at: datetime
    votes: tuple[Vote, ...] = ()


class Why(StrEnum):
    """Why somebody may not do something to a request."""

    OVER = "over"
    DRAFT = "draft"
    OWN = "own"
    NO_ROLE = "no role"
    EDITED = "edited"
    NO_REASON = "no reason"
    NOT_OWN = "not own"


@dataclass(frozen=True, slots=True)
class No:
    """A refusal, with its sentence."""

    why: Why
    sentence: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What a request has and what it lacks."""

    rule: ApprovalRule
    approvals: tuple[Vote, ...]
    institutions: int
    may_decide: frozenset[str]

    @property
    def enough(self) -> bool:
        """Return whether as many agreed as the policy wants."""
        few = len(self.approvals) < self.rule.approvers
        return not few and self.institutions >= self.rule.institutions

    def sentence(self) -> str:
        """Return what it has of what it needs, for people."""
        rule = self.rule
        people = "approver" if rule.approvers == 1 else "approvers"
        said = f"{len(self.approvals)} of {rule.approvers} {people}"
        if rule.institutions > 1:
            said += f", from {self.institutions} of {rule.institutions} institutions"
        return said


def as_of(request: Request, now: datetime) -> Request:
    """Return a request as it is now: an open one whose time is up has expired."""
    waits = request.state in {RequestState.OPEN, RequestState.DRAFT}
    over = waits and request.expires_at <= now
    return replace(request, state=RequestState.EXPIRED) if over else request


def decide(request: Request, policy: Policy, vote: Vote) -> Request | No:
    """Return the request with a vote, or why it does not count; the same vote twice is one."""
    request = as_of(request, vote.at)
    again = _already(request, vote)
    if again and request.state is not RequestState.EXPIRED:
        return request
    refusal = _refusal(request, policy, vote)
    if refusal is not None:
        return refusal
    others = tuple(
        cast for cast in request.votes if (cast.by, cast.digest) != (vote.by, vote.digest)
    )
    voted = replace(request, votes=(*others, vote))
    if not vote.approves:
        return replace(voted, state=RequestState.DENIED)
    enough = standing(voted, policy).enough
    return replace(voted, state=RequestState.APPROVED) if enough else voted


def _already(request: Request, vote: Vote) -> bool:
    same = (vote.by, vote.digest, vote.approves)
    return same in {(cast.by, cast.digest, cast.approves) for cast in request.votes}


def _refusal(request: Request, policy: Policy, vote: Vote) -> No | None:
    if request.state is not RequestState.OPEN:
        return _closed(request)
    if not vote.reason.strip():
        return No(Why.NO_REASON, "a decision has a reason: who asked reads it, and so may auditors")
    if vote.by == request.requester:
        return No(Why.OWN, "nobody decides on what they asked for themselves")
    if not may_decide(policy, vote.actor, request):
        return No(Why.NO_ROLE, f"{_who(policy, vote, request)} {_whose(request)}")
    if vote.digest != request.digest:
        return No(Why.EDITED, "it was edited since you read it: read it again")
    return None


def _closed(request: Request) -> No:
    if request.state is RequestState.DRAFT:
        return No(Why.DRAFT, "it is a draft: nobody was asked yet")
    return No(Why.OVER, f"it is {request.state} already")


def _who(policy: Policy, vote: Vote, request: Request) -> str:
    """Return who is no approver; whoever would be one in another session is told so."""
    if may_decide(policy, Actor(vote.by), request):
        return f"{vote.by}, signed in for {vote.institution}, is there no approver of"
    return f"{vote.by} is no approver of"


def _whose(request: Request) -> str:
    if request.accounts is None:
        return "an institution, nor of the whole"
    return " or ".join(sorted(request.accounts))


def standing(request: Request, policy: Policy) -> Standing:
    """Return what a request has: approvals of this very text, by people who still may."""
    approvals = tuple(
        vote
        for vote in request.votes
        if vote.approves
        and vote.digest == request.digest
        and may_decide(policy, vote.actor, request)
    )
    people = frozenset(
        user.name
        for user in policy.users
        if user.name != request.requester and may_decide(policy, Actor(user.name), request)
    )
    where = {vote.by: institutions_of(policy, vote.by) for vote in approvals}
    rule = rule_for(policy.approvals, request.kind)
    return Standing(rule, approvals, _apart(where), people)


def may_decide(policy: Policy, actor: Actor, request: Request) -> bool:
    """Return whether somebody is an approver where it counts for a request."""
    if request.accounts is not None:
        return any(may(policy, actor, Action.DECIDE_REQUEST, name) for name in request.accounts)
    top = root(policy)
    council = {account.name for account in policy.accounts if account.parent in {None, top}}
    return not council.isdisjoint(accounts_for(policy, actor, Action.APPROVE_POLICY))


def institutions_of(policy: Policy, user: str) -> frozenset[AccountName]:
    """Return the institutions that somebody belongs to: where the policy names them.

    All of them, for whichever they signed in: two who share one are not two institutions.
    """
    named = (
        institution(policy, account.name)
        for account in policy.accounts
        if user in account.members | account.leads | account.approvers
        or user in account.operators | account.auditors
    )
    return frozenset(name for name in named if name is not None)


def _apart(where: Mapping[str, frozenset[AccountName]]) -> int:
    """Return how many people can be found of whom no two share an institution.

    Somebody of two institutions is not two, and is from neither another one than a colleague in
    either. Who belongs to none speaks for none.
    """
    some = [places for places in where.values() if places]
    for size in range(len(some), 1, -1):
        for group in combinations(some, size):
            if sum(len(places) for places in group) == len(frozenset[AccountName]().union(*group)):
                return size
    return min(1, len(some))


def edit(request: Request, by: str, digest: str, now: datetime) -> Request | No:
    """Return the request with another text: what was said of the old one counts no more."""
    request = as_of(request, now)
    if request.state not in {RequestState.DRAFT, RequestState.OPEN, RequestState.APPROVED}:
        return No(Why.OVER, f"it is {request.state} already")
    if by != request.requester:
        return No(Why.NOT_OWN, f"only {request.requester}, who asks, may edit it")
    if digest == request.digest:
        return request
    state = RequestState.DRAFT if request.state is RequestState.DRAFT else RequestState.OPEN
    return replace(request, state=state, digest=digest)


def send(request: Request, by: str, now: datetime) -> Request | No:
    """Return a draft as one that approvers are asked for; sending twice is sending once."""
    request = as_of(request, now)
    if by != request.requester:
        return No(Why.NOT_OWN, f"only {request.requester}, who asks, may send it")
    if request.state is RequestState.OPEN:
        return request
    if request.state is not RequestState.DRAFT:
        return No(Why.OVER, f"it is {request.state} already")
    return replace(request, state=RequestState.OPEN)


def withdraw(request: Request, by: str, now: datetime) -> Request | No:
    """Return the request taken back by who asked; twice is once."""
    request = as_of(request, now)
    if by != request.requester:
        return No(Why.NOT_OWN, f"only {request.requester}, who asks, may withdraw it")
    if request.state is RequestState.WITHDRAWN:
        return request
    if request.state.is_final:
        return No(Why.OVER, f"it is {request.state} already")
    return replace(request, state=RequestState.WITHDRAWN)


def may_apply(request: Request, policy: Policy) -> No | None:
    """Return why an approved request may not be put in force: who agreed may no longer do so."""
    if request.state is not RequestState.APPROVED:
        return No(Why.OVER, f"it is {request.state}")
    found = standing(request, policy)
    if not found.enough:
        return No(Why.NO_ROLE, f"it has {found.sentence()}: somebody who agreed no longer may")
    return None


def may_ask(policy: Policy, actor: Actor, kind: RequestKind, account: AccountName | None) -> bool:
    """Return whether somebody may ask for something of an account.

    Whoever may ask for any account of an institution may for all of it: a new project is not
    yet anybody's. The whole policy may be proposed by who leads or operates any account.
    """
    if kind is RequestKind.POLICY:
        return bool(accounts_for(policy, actor, Action.PROPOSE_POLICY))
    if account is None:
        return False
    mine = institution(policy, account)
    asks = accounts_for(policy, actor, Action.ASK)
    return account in asks or (
        mine is not None and any(institution(policy, name) == mine for name in asks)
    )


def may_see(policy: Policy, actor: Actor, request: Request) -> bool:
    """Return whether somebody sees a request: who asked, who decides, who leads or audits."""
    if actor.user == request.requester or may_decide(policy, actor, request):
        return True
    if request.accounts is None:
        proposes = bool(accounts_for(policy, actor, Action.PROPOSE_POLICY))
        return proposes or may(policy, actor, Action.SEE_REQUESTS)
    return any(may(policy, actor, Action.SEE_REQUESTS, name) for name in request.accounts)


def sides(
    policy: Policy, lender: AccountName, borrower: AccountName | Sector
) -> frozenset[AccountName]:
    """Return on which accounts approvers of an agreement are: the lender's, the borrower's.

    A sector is represented by its institutions.
    """
    if not isinstance(borrower, Sector):
        return frozenset({lender, borrower})
    top = root(policy)
    of_sector = (
        account.name
        for account in policy.accounts
        if account.sector is borrower and account.parent == top
    )
    return frozenset({lender, *of_sector})
