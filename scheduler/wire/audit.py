"""The audit log as people and programs read it: rows, a checkpoint, a verdict on the chain."""

from datetime import date
from typing import Literal

from pydantic import AwareDatetime, Field, JsonValue

from scheduler.wire.nodes import Message


class AuditRow(Message):
    """One thing that was done, sealed by `hash`, which covers all of it and `previous`."""

    sequence: int
    at: AwareDatetime
    actor: str
    on_behalf_of: str = ""
    session: str = Field(default="", description="Id of the token, session or cycle; no secret")
    source: str = Field(description="The door it came by: api, ray, command, planner")
    action: str = Field(examples=["job.submit", "policy.apply", "plan.commit"])
    object: str = Field(examples=["job:jq4k2mzx7wab"])
    before: JsonValue = None
    after: JsonValue = None
    reason: str = ""
    decision: str = Field(default="", description="A cycle's decision id, or a request's digest")
    previous: str
    hash: str


class AuditPage(Message):
    """Rows, newest first. `next` is the following page's `before`."""

    rows: tuple[AuditRow, ...]
    next: int | None = None


class AuditCount(Message):
    """How often something was done on a day, in UTC."""

    day: date
    action: str = Field(examples=["job.submit"])
    count: int


class AuditCounts(Message):
    """Rows of the log by day and action, the oldest day first; days without any are left out."""

    since: AwareDatetime
    until: AwareDatetime
    counts: tuple[AuditCount, ...]


class Checkpoint(Message):
    """Where the chain ended at an instant. Kept elsewhere, it tells of a log written anew."""

    sequence: int
    hash: str
    at: AwareDatetime


class AuditFault(Message):
    """The first row at which the chain does not hold, and why."""

    sequence: int
    wrong: Literal["changed", "missing", "reordered"]
    sentence: str


class AuditVerdict(Message):
    """What following the chain came to; `fault` null is: every row holds."""

    first: int
    last: int
    rows: int
    hash: str = Field(description="Of the last row that holds: a checkpoint")
    against_checkpoint: bool = False
    fault: AuditFault | None = None


class AuditSeal(Message):
    """The last line of an export: its lines' digest, and the ends of the chain it holds."""

    rows: int
    sha256: str = Field(description="Of all lines before this one, with their newlines")
    previous: str = Field(description="The hash before the first row")
    last: Checkpoint
