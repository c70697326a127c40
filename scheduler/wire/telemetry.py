"""The fleet as it is now: nodes, their GPUs, who has them and how busy they are."""

from pydantic import AwareDatetime, Field

from scheduler.core.model import Tier
from scheduler.wire.nodes import Message


class Holding(Message):
    """Who has a GPU leased. Run, job and user are told to the user and to operators alone."""

    account: str
    run: str | None = None
    job: str | None = None
    user: str | None = None
    draining: bool = Field(default=False, description="It was told to leave")
    guest: bool = Field(
        default=False, description="Background work on a lease that another run leaves idle"
    )


class ForeignProcesses(Message):
    """Processes on a GPU that is not leased to them. `run`: of which run, for operators."""

    processes: int
    run: str | None = None


class GpuTelemetry(Message):
    """A GPU as its node last reported it. Null was not measured, and is never to be read as 0.

    Of one that is leased to a job whose label the caller is not cleared for, what it does is null
    too, and `withheld` says so (R14); how well it is, everybody is told.
    """

    index: int
    uuid: str
    healthy: bool
    why_unhealthy: str = ""
    sm_active: float | None = Field(default=None, description="Of 0 to 1")
    tensor_active: float | None = Field(default=None, description="Of 0 to 1")
    memory_used_mib: float | None = None
    memory_mib: int | None = None
    power_watts: float | None = None
    temperature_celsius: float | None = None
    idle_since: AwareDatetime | None = Field(
        default=None,
        description="Since when every report says that it does nothing, under its present lease",
    )
    held_by: tuple[Holding, ...] = Field(
        default=(),
        description="Two while a GPU is handed over: who leaves it, and who follows; a guest last",
    )
    foreign: tuple[ForeignProcesses, ...] = ()
    withheld: bool = Field(
        default=False, description="What it does is data of a label that the caller may not read"
    )


class NodeTelemetry(Message):
    """A node with its GPUs. `measured`: this process of the hub has its reports."""

    node: str
    pool: str
    site: str
    tier: Tier
    gpu_model: str
    usable: bool
    why_unusable: str = ""
    sampler: str = Field(default="ok", description="How the agent's reading of GPUs goes")
    simulated: bool
    measured: bool
    reported_at: AwareDatetime
    gpus: tuple[GpuTelemetry, ...]


class TelemetryPage(Message):
    """Nodes by name; `next` is the following page's `after`."""

    at: AwareDatetime
    nodes: tuple[NodeTelemetry, ...]
    next: str | None = None
