"""What would become of a job, asked before it is submitted (`POST /v1/jobs/dry-run`)."""

from pydantic import AwareDatetime, Field

from scheduler.core.model import QuotaClass, Tier
from scheduler.core.ways import Basis, Way
from scheduler.wire.explanations import ApprovalView, EtaView
from scheduler.wire.jobs import JobRequest, VerdictView
from scheduler.wire.nodes import Message

LONGEST_SECONDS = 366 * 86_400


class DryRunRequest(Message):
    """A job as it would be submitted, and how long its owner thinks that it runs."""

    job: JobRequest
    expected_seconds: int | None = Field(default=None, ge=1, le=LONGEST_SECONDS)


class LengthView(Message):
    """How long the run should last: from `low` to `high` in four cases of five, where known."""

    low_seconds: float
    likely_seconds: float
    high_seconds: float
    basis: Basis = Field(description="history: earlier runs; stated: by its owner; limit: no idea")
    samples: int = 0
    sentence: str


class RecallChance(Message):
    """How often owners took GPUs back from runs on such terms lately; null where not known."""

    chance: float | None
    runs: int = Field(description="Borrowed and background runs of the pool that ended lately")
    recalled: int
    days: int
    sentence: str


class QuotaEffectView(Message):
    """What a start does to its account's quota in the pool, and may take of its budget."""

    nominal: int | None = Field(default=None, description="null: no quota of its own there")
    used: int | None = None
    used_after: int | None = None
    budget: str | None = None
    budget_left: float | None = Field(default=None, description="H100e-hours, before it")
    budget_most: float | None = Field(default=None, description="H100e-hours, by its limit (R4)")
    sentence: str


class CandidateView(Message):
    """One way of asking, and what would become of it."""

    way: Way
    change: dict[str, object] = Field(
        default_factory=dict, description="Fields of the request to set for it"
    )
    tier: Tier | None = None
    pool: str | None = None
    quota_class: QuotaClass | None = None
    gpus: int = 0
    starts_now: bool
    start: EtaView | None = Field(description="null where no start could be foreseen")
    done_low: AwareDatetime | None = None
    done_likely: AwareDatetime | None = None
    done_high: AwareDatetime | None = None
    length: LengthView
    price: float | None = Field(default=None, description="H100e-hours of the likely run")
    price_most: float | None = Field(default=None, description="H100e-hours of the whole limit")
    recall: RecallChance | None = None
    quota: QuotaEffectView | None = None
    verdicts: tuple[VerdictView, ...] = Field(
        default=(), description="Why the next cycle does not start it"
    )


class DryRunView(Message):
    """All candidates, the job as asked for first; the others named by their place from 0."""

    account: str
    time_limit_seconds: int
    planned_at: AwareDatetime
    candidates: tuple[CandidateView, ...]
    starts_first: int | None = None
    done_first: int | None = None
    cheapest: int | None = None
    usual: int | None = Field(default=None, description="Which to begin with")
    same_as: str | None = Field(
        default=None, description="The job that this very request submitted before"
    )
    approval: ApprovalView | None = Field(
        default=None, description="What the job would wait for before anything else (R17)"
    )
    note: str = ""
