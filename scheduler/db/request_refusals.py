"""What is refused about requests, in words that say what to do."""

from scheduler.core.approvals import No, Why
from scheduler.errors import Refused


def said_of(refused: Refused) -> str:
    """Return a refusal in a sentence or two."""
    return ". ".join(part.rstrip(".") for part in (refused.detail, refused.next_step) if part) + "."


_STATUS = {Why.NO_ROLE: 403, Why.OWN: 403, Why.NOT_OWN: 403, Why.NO_REASON: 422}
_NEXT: dict[Why, str] = {
    Why.NO_ROLE: "The policy gives the role approver; the request names who may decide.",
    Why.OWN: "Somebody else must decide; the request names who may.",
    Why.EDITED: "Read it again, and decide on what it says now.",
    Why.NO_REASON: "Say why, in a sentence.",
}


def refusal(no: No) -> Refused:
    """Return what the rules refuse as an answer."""
    status = _STATUS.get(no.why, 409)
    return Refused(
        title="Not allowed" if status == _STATUS[Why.OWN] else "Not possible now",
        detail=no.sentence,
        status=status,
        field="reason" if no.why is Why.NO_REASON else "request",
        limit="a sentence" if no.why is Why.NO_REASON else None,
        next_step=_NEXT.get(no.why, "See how it stands: commonpool request show ID"),
    )


def no_such_request(request_id: str) -> Refused:
    """Return the refusal of a request that is not there, or not the caller's to see."""
    return Refused(
        title="Not found",
        detail="There is no request of that id that you may see.",
        status=404,
        field="request",
        value=request_id,
        next_step="`commonpool request list` shows those you may see.",
    )
