"""What a person is told of a waiting job beyond its verdicts (scheduling.md §5)."""

from pydantic import AwareDatetime, Field

from scheduler.core.model import Sector
from scheduler.wire.nodes import Message


class EtaView(Message):
    """An expected start. In four cases of five the job starts from `low` to `high`."""

    low: AwareDatetime
    likely: AwareDatetime | None = Field(description="None where it is too far ahead to say")
    high: AwareDatetime | None = Field(description="None where no end can be told")
    informed: bool = Field(description="Whether run times of earlier jobs went into it")
    sentence: str


class AheadView(Message):
    """Who goes before the job, and by which numbers."""

    account: str
    sector: Sector | None = None
    jobs: int
    why: str
    share: float | None = Field(default=None, description="H100e-seconds per weight (R3)")
    own_branch: str | None = Field(default=None, description="Its branch where the two part")
    own_share: float | None = None
    sentence: str


class ApprovalView(Message):
    """The approval that a job waits for, or would (R17): what to ask for, and how that stands."""

    threshold: str
    model_line: str
    account: str
    flop: float = Field(description="What the line reaches with the job: ask for so much")
    request: str | None = Field(default=None, description="The request for it, where you see one")
    standing: str = Field(examples=["1 of 2 approvers, from 1 of 2 institutions"])
    sentence: str


class SoonerView(Message):
    """A change that would start the job sooner, as the planner itself found."""

    knob: str = Field(examples=["nodes", "time_limit", "tier"])
    before: str
    after: str
    starts_at: AwareDatetime
    sentence: str
    change: dict[str, object] = Field(
        default_factory=dict, description="Fields of the request to set for it"
    )
