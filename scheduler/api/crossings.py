"""What a job waits for that needs people's word: the request for it, and who has agreed (R17)."""

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.api import request_views
from scheduler.api.auth import Caller
from scheduler.core import approvals
from scheduler.core.approvals import RequestState
from scheduler.core.explain import Reason, Verdict
from scheduler.core.model import AccountName
from scheduler.core.policy import Policy
from scheduler.core.policy_found import ancestors
from scheduler.core.request_kinds import RequestKind
from scheduler.db.requests import RequestRow, list_requests
from scheduler.wire.explanations import ApprovalView
from scheduler.wire.requests import ThresholdChange

_LOOKED_AT = 200  # of the newest requests of this kind


async def approval_of(
    conn: AsyncConnection, policy: Policy, caller: Caller, verdicts: Iterable[Verdict]
) -> ApprovalView | None:
    """Return the approval that a job waits for by its verdicts, None where it waits for none."""
    held = next((one for one in verdicts if one.reason is Reason.THRESHOLD), None)
    if held is None:
        return None
    said = dict(held.numbers)
    rows = await list_requests(
        conn,
        state=None,
        kind=RequestKind.THRESHOLD,
        requester=None,
        before=None,
        limit=_LOOKED_AT,
    )
    row = next((row for row in rows if _is_for(row, policy, said)), None)
    standing = _standing(row, policy, said)
    seen = row is not None and request_views.sees(policy, caller, row)
    return ApprovalView(
        threshold=str(said["threshold"]),
        model_line=str(said["line"]),
        account=str(said["account"]),
        flop=float(said["flop"]),
        request=row.id if row is not None and seen else None,
        standing=standing,
        sentence=_sentence(row, standing),
    )


def _is_for(row: RequestRow, policy: Policy, said: dict[str, int | str]) -> bool:
    change = row.asked()
    if not isinstance(change, ThresholdChange):
        return False
    chain = ancestors({a.name: a for a in policy.accounts}, AccountName(str(said["account"])))
    return (change.threshold, change.model_line) == (said["threshold"], said["line"]) and (
        change.account in chain and change.flop >= float(said["flop"])
    )


def _standing(row: RequestRow | None, policy: Policy, said: dict[str, int | str]) -> str:
    if row is not None and row.state is RequestState.OPEN:
        return approvals.standing(row.under(policy), policy).sentence()
    people = "approver" if said["approvers"] == 1 else "approvers"
    return f"0 of {said['approvers']} {people}"


def _sentence(row: RequestRow | None, standing: str) -> str:
    match None if row is None else row.state:
        case RequestState.OPEN:
            return f"It was asked for: {standing}."
        case RequestState.DENIED:
            return "It was asked for and denied: the job waits until another request is approved."
        case RequestState.APPLIED:
            return "An approval was given, and does not hold for this job now: ask again."
        case _:
            return f"Nobody has asked for it: {standing}."
