"""Requests that others decide on: what may be asked for, and how each stands."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from scheduler.core.approvals import RequestState
from scheduler.core.model import Sector
from scheduler.core.request_kinds import RequestKind
from scheduler.core.roles import Role
from scheduler.wire.nodes import Instant, Message, Name

Duration = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})[smhd]$", examples=["10m"])]
Why = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2_000,
        pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*\S[^\x00-\x08\x0b-\x1f\x7f]*$",
        description="A sentence or more: approvers, who asked and auditors read it",
        examples=["The vision team's next milestone needs it"],
    ),
]
_Gpus = Annotated[int, Field(ge=0, le=10_000_000)]


class QuotaWanted(Message):
    """A new account's part of a pool, in GPUs (R1)."""

    pool: Name
    nominal: _Gpus
    lend_max: _Gpus | None = Field(default=None, description="Null: all of `nominal`")
    borrow_max: _Gpus = 0


class ProjectChange(Message):
    """A new account below another."""

    kind: Literal[RequestKind.PROJECT]
    name: Name
    parent: Name
    sector: Sector | None = Field(default=None, description="Null: the parent's")
    weight: int = Field(default=1, ge=1, le=1_000_000)
    members: tuple[Name, ...] = Field(default=(), max_length=1_000)
    leads: tuple[Name, ...] = Field(default=(), max_length=100)
    quotas: tuple[QuotaWanted, ...] = Field(default=(), max_length=100)


class BudgetChange(Message):
    """H100e-hours for an account and a time; the budget of that id is replaced (R4)."""

    kind: Literal[RequestKind.BUDGET]
    id: Name
    account: Name
    h100e_hours: int = Field(ge=1, le=1_000_000_000_000)
    valid_from: Instant
    valid_to: Instant


class AgreementChange(Message):
    """A lender lets outsiders borrow; the agreement of that id is replaced (R1)."""

    kind: Literal[RequestKind.AGREEMENT]
    id: Name
    lender: Name
    borrower_account: Name | None = Field(default=None, description="This, or the sector")
    borrower_sector: Sector | None = None
    pools: tuple[Name, ...] = Field(min_length=1, max_length=100)
    cap: int = Field(ge=1, le=10_000_000)
    recall_notice: Duration | None = Field(default=None, description="Null: the tier's")
    valid_from: Instant
    valid_to: Instant


class ReservationChange(Message):
    """Nodes of a pool for one account between two times (R7)."""

    kind: Literal[RequestKind.RESERVATION]
    id: Name
    account: Name
    pool: Name
    node_count: int = Field(ge=1, le=100_000)
    starts_at: Instant
    ends_at: Instant


class MembershipChange(Message):
    """People who get or lose a role on an account; who is new to the policy becomes a user."""

    kind: Literal[RequestKind.MEMBERSHIP]
    account: Name
    role: Role = Role.RESEARCHER
    add: tuple[Name, ...] = Field(default=(), max_length=1_000)
    remove: tuple[Name, ...] = Field(default=(), max_length=1_000)


class ThresholdChange(Message):
    """Runs of a model line beyond a threshold of training compute, for an account (R17)."""

    kind: Literal[RequestKind.THRESHOLD]
    account: Name
    model_line: Name
    threshold: str = Field(min_length=1, max_length=100, examples=["1e26 FLOP (2023)"])
    flop: float = Field(gt=0, le=1e40, description="Of the line in all, with these runs")
    job: str | None = Field(
        default=None, max_length=40, description="Null: all jobs of the line, up to `flop`"
    )
    valid_from: Instant | None = None
    valid_to: Instant | None = Field(default=None, description="Null: without an end")


class PolicyChange(Message):
    """Another policy, as the whole text, written against the revision that was in force."""

    kind: Literal[RequestKind.POLICY]
    base_revision: int = Field(ge=0, le=2**31 - 1)
    document: str = Field(min_length=1, max_length=1_500_000)


Change = Annotated[
    ProjectChange
    | BudgetChange
    | AgreementChange
    | ReservationChange
    | MembershipChange
    | ThresholdChange
    | PolicyChange,
    Field(discriminator="kind"),
]


class NewRequest(Message):
    """Ask for something, with the reason. A draft asks nobody until it is sent."""

    change: Change
    reason: Why
    draft: bool = False


class RequestEdit(Message):
    """Another text of a request: all that was approved counts no more."""

    change: Change
    reason: Why


class RequestDecision(Message):
    """A word on a request, of the exact text that was read."""

    approve: bool
    digest: str = Field(pattern="^[0-9a-f]{64}$", description="The request's, as it was read")
    reason: Why


class RequestComment(Message):
    """A question or a note; it decides nothing."""

    text: Why


class VoteView(Message):
    """An approver's word. One on an older text, or by who no longer may, does not count."""

    by: str
    approve: bool
    reason: str
    at: AwareDatetime
    counts: bool
    institutions: tuple[str, ...] = ()


class RequestEvent(Message):
    """One line of a request's history."""

    at: AwareDatetime
    actor: str
    event: str = Field(examples=["created", "sent", "approved", "applied"])
    text: str


class RequestView(Message):
    """A request: what is asked for, in sentences and as data, and how it stands."""

    id: str
    kind: RequestKind
    account: str | None
    requester: str
    state: RequestState
    title: str
    change: Change
    reason: str
    digest: str
    created_at: AwareDatetime
    expires_at: AwareDatetime
    standing: str = Field(examples=["1 of 2 approvers, from 1 of 2 institutions"])
    approvers_needed: int
    institutions_needed: int
    who_may_decide: tuple[str, ...]
    votes: tuple[VoteView, ...]
    you_may: tuple[str, ...] = Field(
        default=(), description="Of: send, edit, withdraw, decide, apply, comment"
    )
    why_you_may_not_decide: str = ""
    note: str = Field(default="", description="Why an approved request is not in force")
    revision: int | None = Field(default=None, description="The policy's, that it made")
    history: tuple[RequestEvent, ...] = ()


class RequestLine(Message):
    """A request in a list."""

    id: str
    kind: RequestKind
    account: str | None
    requester: str
    state: RequestState
    title: str
    created_at: AwareDatetime
    expires_at: AwareDatetime
    standing: str
    awaits_you: bool
    reason: str = Field(default="", description="Why it is asked for")
    digest: str = Field(default="", description="Of the text as it is now, for a decision on it")


class RequestPage(Message):
    """Requests, newest first. `next` is the following page's `after`."""

    requests: tuple[RequestLine, ...]
    next: str | None = None


class AccountImpact(Message):
    """GPUs of an account that would start in the next cycle: now, and with the request."""

    account: str
    before: int
    after: int


class RequestImpact(Message):
    """What the next cycle would do otherwise, by planning the present under both policies."""

    revision: int = Field(description="The policy in force, against which it was planned")
    fits: bool = Field(description="Whether it could be put in force now")
    why_not: str = ""
    rows: tuple[str, ...] = Field(default=(), description="What the policy would say otherwise")
    jobs: tuple[str, ...] = Field(default=(), description="Those that the caller may see")
    runs: tuple[str, ...] = Field(default=(), description="Those that the caller may see")
    jobs_start_more: int = 0
    jobs_start_less: int = 0
    runs_recalled: int = 0
    accounts: tuple[AccountImpact, ...] = ()
