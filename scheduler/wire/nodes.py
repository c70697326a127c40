"""What the hub answers to node agents, and the plain types that all messages are made of.

The reports themselves are in `reports.py`.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

# What a 64-bit column holds, and instants that no time zone can carry out of the calendar.
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Instant = Annotated[
    AwareDatetime,
    Field(ge=datetime(2000, 1, 1, tzinfo=UTC), le=datetime(2200, 1, 1, tzinfo=UTC)),
]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", examples=["npc-node-1"])]


class Message(BaseModel):
    """A frozen message that refuses fields it does not know, NaN and infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NodeRefused(Message):
    """A report of a batch that was not taken, and why; the others of the batch were."""

    node: str
    field: str = ""
    detail: str


class LaunchOrder(Message):
    """One member of a run that should be on the node: start it, or let it go on.

    It is granted for `seconds` from when the report was sent; without a newer grant the node
    ends it by itself. Member 0 is the head. A worker joins `head` with the head's `secret`; for
    one that is there already both may be empty.
    """

    run: str
    token: int
    seconds: float
    member: int
    gpu_uuids: tuple[str, ...]
    cpus: int
    head: str = ""
    secret: str = ""


class LaunchOrders(Message):
    """All that should be on the node: what is not listed ends. `settled` need not be told again."""

    wanted: tuple[LaunchOrder, ...] = ()
    settled: tuple[str, ...] = ()


class NodeLease(Message):
    """A run's GPUs on one node, by their indices. `token` is the lease's fencing token."""

    run: str
    token: int
    gpus: tuple[int, ...]


class NodeLeases(Message):
    """All leases on a node. `digest` names the list: the node's reports say which they have."""

    node: str
    digest: str = ""
    leases: tuple[NodeLease, ...] = ()


class NodeReportReply(Message):
    """What the hub answers: how many it took, and when it wants the next.

    `notes` are plain sentences for the agent's log: what is odd, and what to do about it.
    `launches` None: the hub does not know (yet) what should be on the node. `leases` has the
    nodes whose list is another than their report says; what is known of them, or of those that
    are left out, may be `leases_seconds_old`; None: nothing is known.
    """

    accepted: int
    next_report_seconds: float
    refused: tuple[NodeRefused, ...] = ()
    notes: tuple[str, ...] = ()
    launches: LaunchOrders | None = None
    leases: tuple[NodeLeases, ...] = ()
    leases_seconds_old: float | None = None
