"""What a node reporter tells the hub about its machine."""

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


class GpuReport(Message):
    """One GPU. What a driver does not support is absent (None), never 0."""

    index: int = Field(ge=0, le=63)
    uuid: str = Field(min_length=1, max_length=80)
    model: str = Field(min_length=1, max_length=40, examples=["H100"])
    memory_mib: Count | None = None
    utilisation_percent: float | None = Field(default=None, ge=0, le=100)
    power_watts: float | None = Field(default=None, ge=0)
    healthy: bool = True
    why_unhealthy: str = Field(default="", max_length=200)


class NodeReport(Message):
    """A whole machine as it is now. `sequence` rises within one `boot_id`."""

    node: Name
    pool: Name
    boot_id: str = Field(min_length=1, max_length=64)
    sequence: Count
    sampled_at: Instant
    gpus: tuple[GpuReport, ...] = Field(min_length=1, max_length=64)
    block: str = Field(default="", max_length=80)
    simulated: bool = Field(default=False, description="True where no GPU exists behind this")


class NodeReports(Message):
    """A batch, so that one process can speak for many nodes of a site."""

    reports: tuple[NodeReport, ...] = Field(min_length=1, max_length=1000)


class NodeReportReply(Message):
    """What the hub answers: how many it took, and when it wants the next."""

    accepted: int
    next_report_seconds: float
