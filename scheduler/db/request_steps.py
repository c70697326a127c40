"""What becomes of a request, step by step; each step is one transaction with its audit row.

The rules are `core/approvals.py`'s; here they meet the rows. The last approval puts a request
in force in the same transaction, by the one door that policies have. Where the policy in force
no longer fits, the approval stands, the request says why, and may be applied later.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler import policy_file
from scheduler.core import approvals
from scheduler.core.approvals import No, Request, RequestState, Vote
from scheduler.core.audit import Entry, Who
from scheduler.core.policy import Policy
from scheduler.core.request_kinds import RequestKind, rule_for
from scheduler.db import audit
from scheduler.db.policies import current_policy, policy_in_force
from scheduler.db.policy_door import Change as PolicyChange
from scheduler.db.policy_door import replace_policy
from scheduler.db.request_refusals import no_such_request, refusal, said_of
from scheduler.db.requests import (
    Notice,
    RequestRow,
    Told,
    digest_of,
    expired_requests,
    find_request,
    insert_request,
    save_vote,
    tell,
    update_request,
)
from scheduler.errors import Fault, Refused
from scheduler.policy_change import account_of, document_after, title
from scheduler.wire.requests import Change

SYSTEM = Who("hub", "loop")


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for, and why."""

    change: Change
    reason: str
    draft: bool = False

    @property
    def text(self) -> str:
        """Return what is asked for as its one text."""
        return self.change.model_dump_json()


@dataclass(frozen=True, slots=True)
class Step:
    """Who takes a step, on which request, and when."""

    conn: AsyncConnection
    who: Who
    request_id: str
    now: datetime


async def create(step: Step, asked: Asked, policy: Policy) -> None:
    """Store a request, and have its approvers told unless it is a draft."""
    kind = RequestKind(asked.change.kind)
    state = RequestState.DRAFT if asked.draft else RequestState.OPEN
    await insert_request(
        step.conn,
        {
            "id": step.request_id,
            "kind": kind.value,
            "account": account_of(asked.change),
            "requester": step.who.actor,
            "state": state.value,
            "title": title(asked.change),
            "change": asked.text,
            "reason": asked.reason,
            "version": 1,
            "digest": digest_of(step.request_id, 1, asked.text, asked.reason),
            "created_at": step.now,
            "expires_at": step.now + rule_for(policy.approvals, kind).expires,
        },
    )
    row = await _row(step)
    people = () if asked.draft else _deciders(row, policy)
    event = "drafted" if asked.draft else "sent"
    await _told(step, row, event, asked.reason, people)
    await _record(step, row, "create", None, {"title": row.title, **_mark(row)})


async def edit(step: Step, asked: Asked) -> None:
    """Replace a request's text; its votes count no more, and its approvers are told again.

    Raises:
        Refused: it is another's, or over, or would become of another kind.
    """
    row, policy = await _locked(step)
    if (row.change, row.reason) == (asked.text, asked.reason):
        return
    if asked.change.kind != row.kind:
        raise Refused(
            title="Another kind of request",
            detail=f"this is a request of kind {row.kind}, and stays one",
            field="change.kind",
            value=asked.change.kind,
            limit=row.kind,
            next_step="Withdraw it, and make another.",
        )
    version = row.version + 1
    digest = digest_of(row.id, version, asked.text, asked.reason)
    after = _allowed(approvals.edit(row.under(policy), step.who.actor, digest, step.now))
    await update_request(
        step.conn,
        row.id,
        change=asked.text,
        reason=asked.reason,
        title=title(asked.change),
        account=account_of(asked.change),
        version=version,
        digest=digest,
        state=after.state.value,
        note="",
    )
    new = await _row(step)
    people = () if new.state is RequestState.DRAFT else _deciders(new, policy)
    await _told(step, new, "edited", asked.reason, people)
    await _record(step, new, "edit", _mark(row), {"title": new.title, **_mark(new)})


async def send(step: Step) -> None:
    """Ask a draft's approvers.

    Raises:
        Refused: it is another's, or no draft.
    """
    row, policy = await _locked(step)
    after = _allowed(approvals.send(row.under(policy), step.who.actor, step.now))
    if after.state is row.state:
        return
    await update_request(step.conn, row.id, state=after.state.value)
    new = await _row(step)
    await _told(step, new, "sent", new.reason, _deciders(new, policy))
    await _record(step, new, "send", _mark(row), _mark(new))


async def withdraw(step: Step, reason: str) -> None:
    """Take a request back.

    Raises:
        Refused: it is another's, or over.
    """
    row, policy = await _locked(step)
    after = _allowed(approvals.withdraw(row.under(policy), step.who.actor, step.now))
    if after.state is row.state:
        return
    await update_request(step.conn, row.id, state=after.state.value)
    new = await _row(step)
    await _told(step, new, "withdrawn", reason, {vote.by for vote in row.votes})
    await _record(step, new, "withdraw", _mark(row), _mark(new), reason)


async def comment(step: Step, text: str) -> None:
    """Add a word that decides nothing; who asked and who voted are told."""
    row, _ = await _locked(step)
    people = {row.requester, *(vote.by for vote in row.votes)} - {step.who.actor}
    await _told(step, row, "commented", text, people)
    await _record(step, row, "comment", None, None, text)


async def decide(step: Step, vote: Vote) -> bool:
    """Store a word on a request; return whether another policy is in force by it.

    Raises:
        Refused: it does not count, and why.
    """
    row, policy = await _locked(step)
    before = row.under(policy)
    after = _allowed(approvals.decide(before, policy, vote))
    if after == before:
        return False
    await save_vote(step.conn, row.id, vote)
    await update_request(step.conn, row.id, state=after.state.value)
    new = await _row(step)
    word = "approve" if vote.approves else "deny"
    await _told(step, new, _WORDS[word], vote.reason, {row.requester})
    said = _mark(new) | ({"institution": vote.institution} if vote.institution else {})
    entries = [_entry(step, new, word, _mark(row), said, vote.reason)]
    if after.state is RequestState.APPROVED:
        entries += await _put_in_force(step, new, policy)
    await audit.record(step.conn, entries)
    return any(entry.action == "policy.apply" for entry in entries)


_WORDS = {"approve": "approved", "deny": "denied"}


async def apply(step: Step) -> bool:
    """Put an approved request in force that could not be before; return whether policy changed.

    Raises:
        Refused: it is not approved, or it still does not fit, and why.
    """
    row, policy = await _locked(step)
    if row.state is RequestState.APPLIED:
        return False
    refused = approvals.may_apply(row.under(policy), policy)
    if refused is not None:
        raise refusal(refused)
    entries = await _put_in_force(step, row, policy)
    if not entries:
        new = await _row(step)
        raise Refused(
            title="It does not fit the policy in force",
            detail=new.note,
            status=409,
            next_step="Edit the request, so that approvers look again; or withdraw it.",
        )
    await audit.record(step.conn, entries)
    return any(entry.action == "policy.apply" for entry in entries)


async def _put_in_force(step: Step, row: RequestRow, policy: Policy) -> list[Entry]:
    """Apply an approved request; where it does not fit, keep why, and return nothing."""
    try:
        revision, made = await _replace(step, row, policy)
    except Refused as refused:
        await update_request(step.conn, row.id, note=said_of(refused))
        told = Told(row.id, step.now, "hub", "not applied", said_of(refused))
        await tell(step.conn, told, [_notice(row, row.requester, "is approved, and does not fit")])
        return []
    state = RequestState.APPLIED.value
    await update_request(step.conn, row.id, state=state, revision=revision, note="")
    new = await _row(step)
    said = "recorded" if revision is None else f"policy revision {revision} is in force"
    await _told(step, new, "applied", said, {row.requester, *(vote.by for vote in row.votes)})
    return [*made, _entry(step, new, "apply", _mark(row), {**_mark(new), "revision": revision})]


async def _replace(
    step: Step, row: RequestRow, policy: Policy
) -> tuple[int | None, Sequence[Entry]]:
    """Return the revision that the request made, None for one that changes no policy."""
    stored = await current_policy(step.conn)
    document = "" if stored is None else stored.document
    after = document_after(document, policy, row.asked())
    if after == document:
        return None, ()
    parsed = await checked(after)
    reason = f"request {row.id}: {row.reason}"
    change = PolicyChange(after, parsed, step.who, reason)
    replaced = await replace_policy(step.conn, change, step.now)
    return replaced.revision, replaced.entries


async def checked(document: str) -> Policy:
    """Return the policy of a text.

    Raises:
        Refused: 409, with every problem and its line.
    """
    try:
        return await asyncio.to_thread(policy_file.load, document, 0)
    except policy_file.PolicyRefused as error:
        first = error.problems[0]
        faults = tuple(Fault(p.field, p.reason, p.line) for p in error.problems)
        raise Refused(
            title="It makes no valid policy",
            detail=f"{first}" if len(faults) == 1 else f"{len(faults)} problems; first: {first}",
            status=409,
            field=first.field or None,
            next_step="Correct every problem that is listed; nothing was changed.",
            faults=faults,
        ) from error


async def expire(conn: AsyncConnection, now: datetime) -> int:
    """Say of requests whose time is up that they are over, and tell who asked; return how many."""
    rows = await expired_requests(conn, now)
    entries = []
    for row in rows:
        step = Step(conn, SYSTEM, row.id, now)
        await update_request(conn, row.id, state=RequestState.EXPIRED.value)
        new = await _row(step)
        await _told(step, new, "expired", "nobody decided in time", {row.requester})
        entries.append(_entry(step, new, "expire", _mark(row), _mark(new)))
    await audit.record(conn, entries)
    return len(rows)


def _allowed(found: Request | No) -> Request:
    if isinstance(found, No):
        raise refusal(found)
    return found


async def _locked(step: Step) -> tuple[RequestRow, Policy]:
    row = await find_request(step.conn, step.request_id, lock=True)
    if row is None:
        raise no_such_request(step.request_id)
    return row, await policy_in_force(step.conn)


async def _row(step: Step) -> RequestRow:
    row = await find_request(step.conn, step.request_id)
    if row is None:
        raise no_such_request(step.request_id)
    return row


def _deciders(row: RequestRow, policy: Policy) -> frozenset[str]:
    return approvals.standing(row.under(policy), policy).may_decide


async def _told(
    step: Step, row: RequestRow, event: str, text: str, people: Collection[str]
) -> None:
    told = Told(row.id, step.now, step.who.actor, event, text)
    said = _SAID.get(event, event)
    notices = [_notice(row, name, f"{said} by {step.who.actor}", text) for name in sorted(people)]
    await tell(step.conn, told, notices)


_SAID: dict[str, str] = {
    "sent": "awaits your decision: sent",
    "edited": "awaits your decision: edited",
    "expired": "is over: nobody decided in time; closed",
}


def _notice(row: RequestRow, recipient: str, what: str, text: str = "") -> Notice:
    lines = [
        f"{row.requester} asks for {row.title}.",
        f"Why: {row.reason}",
        *([f"{what.capitalize()}: {text}"] if text and text != row.reason else []),
    ]
    return Notice(recipient, f"Request {row.id} {what}", "\n".join(lines), f"/request?id={row.id}")


_Values = dict[str, object]


def _mark(row: RequestRow) -> _Values:
    return {"state": row.state.value, "digest": row.digest}


def _entry(  # what an audit row is made of
    step: Step,
    row: RequestRow,
    word: str,
    before: _Values | None,
    after: _Values | None,
    reason: str = "",
) -> Entry:
    return Entry(
        at=step.now,
        who=step.who,
        action=f"request.{word}",
        object=f"request:{row.id}",
        before=before,
        after=after,
        reason=reason or row.reason,
        decision=row.digest,
        about=() if row.account is None else (f"account:{row.account}",),
    )


async def _record(  # as above
    step: Step,
    row: RequestRow,
    word: str,
    before: _Values | None,
    after: _Values | None,
    reason: str = "",
) -> None:
    await audit.record(step.conn, [_entry(step, row, word, before, after, reason)])
