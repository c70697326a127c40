"""Accounts, pools and what stands free, as the portal and the command line show them."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from scheduler.core.model import Backend, Sector, Tier
from scheduler.wire.nodes import Message


class Scope(StrEnum):
    """What a token may be used for. Each is its own door; none contains another but admin."""

    USER = "user"
    SITE = "site"
    NODE = "node"
    METRICS = "metrics"
    ADMIN = "admin"


class Me(Message):
    """Who the caller's token speaks for."""

    subject: str
    scope: Scope
    accounts: tuple[str, ...]
    labels: tuple[str, ...]
    expires_at: AwareDatetime | None = None


class QuotaView(Message):
    account: str
    nominal: int
    lend_max: int
    borrow_max: int
    used: int = Field(description="GPUs in use by the account's subtree")


class PoolView(Message):
    """A pool now. `capacity` is by policy, `up` by the nodes that report.

    GPUs in use count once, for whoever has them leased: guests on idle leases are left out.
    """

    pool: str
    site: str
    tier: Tier
    owner: str
    gpu_model: str
    gpus_per_node: int
    backend: Backend
    labels: tuple[str, ...]
    capacity: int
    up: int
    free: int
    in_quota: int
    borrowed: int
    background: int
    simulated: bool = Field(description="True where any node of the pool is simulated")
    quotas: tuple[QuotaView, ...] = ()


class PoolList(Message):
    pools: tuple[PoolView, ...]


class NodeView(Message):
    node: str
    pool: str
    gpus: int
    free: int
    usable: bool
    why_unusable: str
    simulated: bool
    reported_at: AwareDatetime


class NodePage(Message):
    nodes: tuple[NodeView, ...]
    next: str | None = None


class AccountView(Message):
    account: str
    parent: str | None
    sector: Sector
    weight: int
    h100e_seconds: float = Field(description="Decayed usage of its subtree, now (R3)")
    share: float
    running_gpus: int
    pending_jobs: int


class AccountList(Message):
    accounts: tuple[AccountView, ...]


class PolicyApplied(Message):
    revision: int
    changed: bool


class TokenRequest(Message):
    """Ask for a token. `subject` is a user, a site or a node reporter's site."""

    subject: str = Field(min_length=1, max_length=63, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    scope: Scope
    expires_in_days: int | None = Field(default=90, ge=1, le=366)


class TokenIssued(Message):
    """Shown once; the hub keeps only its SHA-256."""

    id: str
    token: str
    subject: str
    scope: Scope
    expires_at: AwareDatetime | None


class TokenView(Message):
    id: str
    subject: str
    scope: Scope
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    last_used_at: AwareDatetime | None
    revoked: bool


class TokenList(Message):
    tokens: tuple[TokenView, ...]


class ProblemFault(Message):
    """One of several things wrong with a document."""

    field: str
    reason: str
    line: int | None = None


class Problem(Message):
    """RFC 9457 problem document. `field`, `value`, `limit`, `next_step`, `errors` are ours."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None
    value: str | None = None
    limit: str | None = None
    next_step: str | None = None
    errors: tuple[ProblemFault, ...] = Field(default=(), description="Each fault, where many")
    next_offset: int | None = Field(default=None, description="Where a log's next piece starts")
    request_id: str | None = Field(default=None, description="Name it when asking for help (5xx)")
