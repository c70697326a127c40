"""What an approver looks back at: who asks, and what was decided on the like of it."""

from pydantic import AwareDatetime, Field

from scheduler.core.approvals import RequestState
from scheduler.wire.nodes import Message


class PastWord(Message):
    """An approver's word on an earlier request, with the reason for it."""

    by: str
    approve: bool
    reason: str
    at: AwareDatetime


class PastRequest(Message):
    """An earlier request and how it was decided. Words are of its last text only."""

    id: str
    title: str
    account: str | None
    requester: str
    state: RequestState
    reason: str = Field(description="Why it was asked for")
    created_at: AwareDatetime
    decided_at: AwareDatetime | None = Field(default=None, description="When the last word fell")
    words: tuple[PastWord, ...] = ()


class StateCount(Message):
    """How many requests stand so."""

    state: RequestState
    count: int


class Precedents(Message):
    """Of the requests that the caller may see: those of who asks, and what is like this one."""

    requester: str
    first_time: bool = Field(description="The requester asked for nothing before")
    counts: tuple[StateCount, ...] = Field(default=(), description="Of the requester's others")
    history: tuple[PastRequest, ...] = Field(default=(), description="Theirs, newest first")
    similar: tuple[PastRequest, ...] = Field(
        default=(), description="Decided, of the same kind: the same account's first"
    )
