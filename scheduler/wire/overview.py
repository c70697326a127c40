"""What a person sees first, in one message."""

from pydantic import Field

from scheduler.core.lifecycle import JobState
from scheduler.wire.accounts import Me, PoolView
from scheduler.wire.jobs import JobView
from scheduler.wire.nodes import Message
from scheduler.wire.requests import RequestLine

POOLS_SECONDS = 5.0
"""How old what an overview says of pools may be."""


class JobCount(Message):
    """How many of the caller's jobs are in a state; `more` says that there are more than that."""

    state: JobState
    jobs: int
    more: bool = False


class Overview(Message):
    """Who the caller is, their newest jobs, what waits for them, and what their quotas have left.

    `counts` are of states that do not last; a state without jobs is left out. `asked` are the
    caller's open requests, newest first. `pools` are those in which an account of the caller's
    has a quota, with these quotas only; they may be `POOLS_SECONDS` old.
    """

    me: Me
    jobs: tuple[JobView, ...]
    counts: tuple[JobCount, ...] = ()
    awaiting: int = Field(default=0, description="Requests that the caller may decide on")
    more_awaiting: bool = Field(default=False, description="There are more than that")
    asked: tuple[RequestLine, ...] = ()
    pools: tuple[PoolView, ...] = ()
