"""What operators look at: the cycle, the tree of shares, what orders the queue, the starts."""

from pydantic import AwareDatetime, Field

from scheduler.core.model import PriorityClass
from scheduler.wire.explanations import EtaView
from scheduler.wire.nodes import Message


class PhaseView(Message):
    """How long one phase of a cycle took, in this process."""

    phase: str = Field(examples=["load", "plan", "commit"])
    count: int
    last_seconds: float
    mean_seconds: float
    max_seconds: float


class DecisionCount(Message):
    kind: str = Field(examples=["start", "preempt", "reserve", "hold"])
    reason: str
    count: int


class EtaScore(Message):
    """How often the first 80 % interval of a job held, in this process."""

    hits: int
    misses: int
    rate: float | None = None


class Diagnostics(Message):
    """The planner at a glance. Counts are of the process that answers, since it started."""

    at: AwareDatetime
    policy: int
    leads: bool = Field(description="Whether the process that answers is the one that plans")
    planner: str = Field(
        default="python", description="What it plans with: `python`, or `compiled`, which is faster"
    )
    cycles: dict[str, int] = Field(description="By outcome: committed, unchanged, failed")
    phases: tuple[PhaseView, ...]
    decisions: tuple[DecisionCount, ...]
    stale: int = Field(description="Decisions dropped because they no longer held")
    events: int = Field(description="Changes that the leader's world was told")
    waiting: int
    runs: int
    nodes: int
    usable_nodes: int
    gpus: int
    accounts: int
    pools: int
    etas: EtaScore


class ShareView(Message):
    """One account of the tree: parents before children, siblings by least share."""

    account: str
    parent: str | None
    depth: int
    weight: int
    weight_share: float = Field(description="Its part of its siblings' weights")
    h100e_seconds: float = Field(description="Decayed usage of its subtree, now (R3)")
    usage_share: float = Field(description="Its part of its siblings' usage")
    share: float = Field(description="Usage per weight: the least goes first (R2)")
    place: int = Field(description="Among its siblings, from 1")
    waiting: int


class ShareList(Message):
    at: AwareDatetime
    half_life_seconds: float
    shares: tuple[ShareView, ...]


class PathShare(Message):
    account: str
    share: float


class PrioView(Message):
    """What orders one waiting job, in the order in which it decides (R2)."""

    job: str
    user: str
    account: str
    place: int = Field(description="Over all that wait, from 1")
    account_place: int
    path: tuple[PathShare, ...] = Field(description="Shares from the top of the tree down")
    priority: PriorityClass
    submitted_at: AwareDatetime
    age_seconds: float
    predicted_seconds: float | None
    handicap_seconds: float = Field(description="Later by so much, for its predicted run time")
    goes_as_of: AwareDatetime
    not_before: AwareDatetime | None = None


class PrioPage(Message):
    """Waiting jobs in order; `next` is the `after` of the following page."""

    at: AwareDatetime
    jobs: tuple[PrioView, ...]
    next: str | None = None


class QueueRow(Message):
    """A waiting job and its start: planned (a promise, by limits) and expected (R6)."""

    job: str
    user: str
    account: str
    priority: PriorityClass
    nodes: int
    gpus_per_node: int
    position: int | None = Field(description="In its account's queue, from 1")
    planned_at: AwareDatetime | None = None
    planned_pool: str | None = None
    planned_nodes: tuple[str, ...] = ()
    eta: EtaView | None = None
    reason: str


class QueuePage(Message):
    """A page of waiting jobs, latest submitted first."""

    jobs: tuple[QueueRow, ...]
    next: str | None = None


class RecallView(Message):
    """How long owners waited for what they had lent, from the decision until work began (R10).

    Percentiles are of recalls that started, by nearest rank; null where none has.
    """

    lender: str | None = Field(description="The account that took back; null: all of them")
    pool: str | None = Field(description="Null: all of them")
    recalls: int
    started: int = Field(description="Whose job works, or has worked")
    given_up: int = Field(description="Ended before they began to work")
    kept: int = Field(description="Started within the promised notice and teardown")
    late: int = Field(description="Took longer, or still wait past it")
    p50_seconds: float | None
    p99_seconds: float | None
    longest_notice_seconds: float = Field(description="The longest notice that was promised")


class RecallPage(Message):
    """The recalls decided in a window: by lender, by pool, and by both."""

    since: AwareDatetime
    until: AwareDatetime
    lenders: tuple[RecallView, ...]
    pools: tuple[RecallView, ...]
    pairs: tuple[RecallView, ...]
