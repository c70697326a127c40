"""The policy's revisions, and what is wrong or odd about a text before it is proposed."""

from pydantic import AwareDatetime

from scheduler.wire.nodes import Message


class PolicyRevision(Message):
    """A revision of the policy: when, and by whom."""

    revision: int
    applied_at: AwareDatetime
    applied_by: str
    sha256: str
    lines: int


class PolicyRevisions(Message):
    """Revisions, newest first; the first is in force."""

    revisions: tuple[PolicyRevision, ...]


class PolicyFault(Message):
    """One thing that is wrong, or odd, at a line of a text."""

    line: int
    field: str
    reason: str


class PolicyChecked(Message):
    """What a check of a text found; with no problems it can be proposed."""

    problems: tuple[PolicyFault, ...] = ()
    warnings: tuple[PolicyFault, ...] = ()
