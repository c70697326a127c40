"""Requests as people see them: what they may do, what is lacking, what it would change."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from scheduler import policy_file
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState
from scheduler.core import approvals
from scheduler.core.approvals import Request, RequestState, Standing
from scheduler.core.model import AccountName
from scheduler.core.policy import Policy
from scheduler.core.policy_diff import Differences, differences
from scheduler.core.roles import Action, accounts_for
from scheduler.core.snapshot import Snapshot
from scheduler.db.planning import load_snapshot
from scheduler.db.policies import current_policy, policy_in_force
from scheduler.db.request_refusals import said_of
from scheduler.db.request_steps import checked
from scheduler.db.requests import RequestRow, Told
from scheduler.errors import Refused
from scheduler.policy_change import document_after
from scheduler.wire.accounts import Scope
from scheduler.wire.requests import (
    AccountImpact,
    Change,
    RequestEvent,
    RequestImpact,
    RequestLine,
    RequestView,
    VoteView,
)

_MOST = 200
_BEFORE = {RequestState.DRAFT}
"""While whoever asks may still think of whom to ask."""
_OPEN = {RequestState.DRAFT, RequestState.OPEN, RequestState.APPROVED}


def sees(policy: Policy, caller: Caller, row: RequestRow) -> bool:
    """Return whether a caller sees a request; administrators see all that was sent."""
    if row.state is RequestState.DRAFT:
        return row.requester == caller.subject
    if caller.scope is Scope.ADMIN:
        return True
    return approvals.may_see(policy, caller.actor, row.under(policy))


def line(row: RequestRow, policy: Policy, caller: Caller, hub: HubState) -> RequestLine:
    """Return a request as a line of a list."""
    request = approvals.as_of(row.under(policy), hub.clock.now())
    return RequestLine(
        id=row.id,
        kind=row.kind,
        account=row.account,
        requester=row.requester,
        state=request.state,
        title=row.title,
        created_at=row.created_at,
        expires_at=row.expires_at,
        standing=approvals.standing(request, policy).sentence(),
        awaits_you=not _why_not(request, policy, caller),
        reason=row.reason,
        digest=row.digest,
    )


def view(
    row: RequestRow, history: Sequence[Told], policy: Policy, caller: Caller, hub: HubState
) -> RequestView:
    """Return a request with all that is known of it."""
    request = approvals.as_of(row.under(policy), hub.clock.now())
    found = approvals.standing(request, policy)
    why_not = _why_not(request, policy, caller)
    return RequestView(
        id=row.id,
        kind=row.kind,
        account=row.account,
        requester=row.requester,
        state=request.state,
        title=row.title,
        change=row.asked(),
        reason=row.reason,
        digest=row.digest,
        created_at=row.created_at,
        expires_at=row.expires_at,
        standing=found.sentence(),
        approvers_needed=found.rule.approvers,
        institutions_needed=found.rule.institutions,
        who_may_decide=tuple(sorted(found.may_decide)),
        votes=_votes(request, found, policy),
        you_may=tuple(_you_may(request, policy, caller, decides=not why_not)),
        why_you_may_not_decide=why_not,
        note=row.note,
        revision=row.revision,
        history=tuple(
            RequestEvent(at=one.at, actor=one.actor, event=one.event, text=one.text)
            for one in history
        ),
    )


def _votes(request: Request, found: Standing, policy: Policy) -> tuple[VoteView, ...]:
    return tuple(
        VoteView(
            by=vote.by,
            approve=vote.approves,
            reason=vote.reason,
            at=vote.at,
            counts=vote in found.approvals or (not vote.approves and vote.digest == request.digest),
            institutions=tuple(sorted(approvals.institutions_of(policy, vote.by))),
        )
        for vote in request.votes
    )


def _why_not(request: Request, policy: Policy, caller: Caller) -> str:
    """Return why a caller may not decide now; empty where they may."""
    mine = caller.subject == request.requester
    if request.state is not RequestState.OPEN and not (mine and request.state in _BEFORE):
        return f"It is {request.state}."
    if mine:
        return _who_else(request, policy, caller)
    if not approvals.may_decide(policy, caller.actor, request):
        people = ", ".join(sorted(approvals.standing(request, policy).may_decide)) or "nobody yet"
        return f"Your roles do not decide on this. Who may: {people}."
    voted = {vote.by for vote in request.votes if vote.digest == request.digest}
    return "You have approved it." if caller.subject in voted else ""


def _who_else(request: Request, policy: Policy, caller: Caller) -> str:
    """Return who decides on what the caller asked for: never the caller, approver or not."""
    found = approvals.standing(request, policy)
    others = sorted(found.may_decide)
    needed = found.rule.approvers
    if len(others) >= needed:
        return f"You asked for it, so you cannot approve it yourself. Who can: {', '.join(others)}."
    if others:
        return (
            f"You asked for it, so you cannot approve it yourself. It needs {needed} approvers,"
            f" and besides you there is only {', '.join(others)}: an administrator, or a proposal"
            " of another policy, names another one."
        )
    sole = approvals.may_decide(policy, caller.actor, request)
    whose = (
        "You are its only approver, and nobody" if sole else "It has no approver yet, and nobody"
    )
    return (
        f"{whose} approves their own request. It waits until an administrator, or a proposal of"
        " another policy, names another approver."
    )


def _you_may(request: Request, policy: Policy, caller: Caller, *, decides: bool) -> Sequence[str]:
    mine = caller.subject == request.requester
    said = ["decide"] if decides else []
    if mine and request.state is RequestState.DRAFT:
        said.append("send")
    if mine and request.state in _OPEN:
        said += ["edit", "withdraw"]
    may = mine or approvals.may_decide(policy, caller.actor, request)
    if may and request.state is RequestState.APPROVED:
        said.append("apply")
    return [*said, "comment"]


async def impact(hub: HubState, change: Change, caller: Caller) -> RequestImpact:
    """Plan the present under the policy in force and with a change; say what differs.

    Jobs are named to whoever may see them; of all others it tells the numbers.
    """
    async with hub.db.reading() as conn:
        stored = await current_policy(conn)
        now_policy = await policy_in_force(conn)
        document = "" if stored is None else stored.document
        try:
            after = document_after(document, now_policy, change)
            new = await checked(after)
        except Refused as refused:
            # One fault alone is the sentence itself.
            faults = refused.faults if len(refused.faults) > 1 else ()
            said = [said_of(refused), *(f"line {f.line}: {f.reason}" for f in faults)]
            why = " ".join(said[:_MOST])
            return RequestImpact(revision=now_policy.revision, fits=False, why_not=why)
        old = await asyncio.to_thread(policy_file.load, document, now_policy.revision)
        snapshot = await load_snapshot(conn, now_policy)
    windows = tuple(one for one in now_policy.reservations if one not in set(old.reservations))
    async with hub.insights.plays:
        found = await asyncio.to_thread(
            _differ, hub, _with(old, windows), _with(new, windows), snapshot
        )
    return _impact(found, now_policy, caller)


def sees_jobs_of(policy: Policy, caller: Caller) -> Callable[[AccountName], bool]:
    """Return of which accounts a caller may see other people's jobs."""
    if caller.scope is Scope.ADMIN:
        return lambda account: True  # noqa: ARG005  # admins see all
    return accounts_for(policy, caller.actor, Action.SEE_JOBS).__contains__


def _differ(hub: HubState, old: Policy, new: Policy, snapshot: Snapshot) -> Differences:
    return differences(old, new, snapshot, hub.clock.now())


def _with(policy: Policy, windows: tuple[object, ...]) -> Policy:
    """Add the maintenance that operators planned: it is in no text, and binds under both."""
    return replace(policy, reservations=(*policy.reservations, *windows))  # type: ignore[arg-type]


def _impact(found: Differences, policy: Policy, caller: Caller) -> RequestImpact:
    seen = sees_jobs_of(policy, caller)
    jobs = [job for job in found.jobs if job.user == caller.subject or seen(job.account)]
    runs = [run for run in found.runs if seen(run.account)]
    return RequestImpact(
        revision=policy.revision,
        fits=True,
        rows=tuple(row.sentence() for row in found.rows[:_MOST]),
        jobs=tuple(job.sentence() for job in jobs[:_MOST]),
        runs=tuple(run.sentence() for run in runs[:_MOST]),
        jobs_start_more=sum(job.starts_after and not job.starts_before for job in found.jobs),
        jobs_start_less=sum(job.starts_before and not job.starts_after for job in found.jobs),
        runs_recalled=sum(run.recalled for run in found.runs),
        accounts=tuple(
            AccountImpact(account=name, before=before, after=after)
            for name, (before, after) in found.by_account().items()
        ),
    )
