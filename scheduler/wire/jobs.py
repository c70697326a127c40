"""A job as people and programs send and read it (Commonpool's own API, `/v1/jobs`)."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from scheduler.core.lifecycle import JobState
from scheduler.core.model import PriorityClass, QuotaClass, RunState, Tier
from scheduler.wire.explanations import AheadView, ApprovalView, EtaView, SoonerView
from scheduler.wire.nodes import Message

LONGEST_NAME = 200
MOST_MEMORY_GIB = 100_000
MOST_H100E = 4096 * 64
MOST_SOFTWARE = 16

SubmissionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}$")]
SoftwareName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]{0,62}$")]


class JobRequest(Message):
    """A gang of `nodes` x `gpus_per_node` GPUs for one command, or of so many `h100e`.

    Absent fields take the policy's defaults; `account` may be left out by a person who
    belongs to exactly one.
    """

    entrypoint: str = Field(min_length=1, max_length=65_536, examples=["python train.py"])
    submission_id: SubmissionId | None = None
    name: str = Field(
        default="", max_length=LONGEST_NAME, description="Run times are foreseen by it"
    )
    account: str | None = Field(default=None, max_length=120, examples=["arl-vision"])
    nodes: int = Field(default=1, ge=1, le=4096)
    gpus_per_node: int = Field(default=1, ge=1, le=64)
    gpu_models: tuple[str, ...] = Field(default=(), max_length=16, examples=[["H100"]])
    memory_gib: int = Field(
        default=0, ge=0, le=MOST_MEMORY_GIB, description="The least that each GPU must have"
    )
    h100e: int = Field(
        default=0,
        ge=0,
        le=MOST_H100E,
        description="H100-equivalents, in place of nodes and gpus_per_node: as many GPUs of a "
        "pool's model as that needs",
    )
    software: tuple[SoftwareName, ...] = Field(
        default=(), max_length=MOST_SOFTWARE, description="What a pool must offer"
    )
    reservation: str | None = Field(
        default=None, max_length=120, description="Run only in this advance reservation"
    )
    model_line: str = Field(
        default="",
        pattern=r"^([a-z0-9][a-z0-9._-]{0,62})?$",
        description="The line of models that it trains: FLOP are added up per line (R17)",
    )
    training_flop: float = Field(
        default=0, ge=0, le=1e30, description="FLOP that it adds to its model line"
    )
    tier: tuple[Tier, ...] = Field(default=(), max_length=2, description="lowest, highest")
    label: str = Field(default="public", max_length=64)
    priority: PriorityClass = PriorityClass.STANDARD
    preemptible: bool = True
    time_limit_seconds: int | None = Field(default=None, ge=1, le=366 * 86_400)
    runtime_env: dict[str, object] = Field(default_factory=dict)
    metadata: dict[str, str] = Field(default_factory=dict, max_length=200)
    entrypoint_num_cpus: float | None = Field(default=None, ge=0)
    entrypoint_num_gpus: float | None = Field(default=None, ge=0)
    entrypoint_memory: int | None = Field(default=None, ge=0)
    entrypoint_resources: dict[str, float] | None = None
    entrypoint_label_selector: dict[str, str] | None = None


class JobRun(Message):
    """One attempt, as history shows it."""

    run: str
    attempt: int
    state: RunState
    site: str
    pool: str
    tier: Tier
    nodes: tuple[str, ...]
    gpus: int
    quota_class: QuotaClass
    agreement: str | None = None
    leased_at: AwareDatetime
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    why: str = Field(description="The decision that started it, in one sentence")
    message: str = ""
    exit_code: int | None = None
    simulated: bool = Field(default=False, description="True where its nodes have no real GPUs")
    lent: bool = Field(
        default=False, description="Its GPUs idle, and background work may sit on them (R18)"
    )
    guest: bool = Field(default=False, description="It sits, or sat, on a lease that idles")


class JobView(Message):
    """A job with its present state, in words too."""

    id: str
    submission_id: str
    user: str
    account: str
    state: JobState
    reason: str = Field(description="One plain sentence: why it waits, or what it does")
    position: int | None = Field(default=None, description="In its account's queue, from 1")
    starts_at: AwareDatetime | None = Field(default=None, description="Planned or forecast start")
    name: str = ""
    entrypoint: str
    nodes: int
    gpus_per_node: int
    gpu_models: tuple[str, ...]
    memory_gib: int = 0
    h100e: int = Field(
        default=0, description="Where above 0, nodes and gpus_per_node are what H100s would do"
    )
    software: tuple[str, ...] = ()
    reservation: str | None = None
    tier: tuple[Tier, Tier]
    label: str
    priority: PriorityClass
    preemptible: bool
    time_limit_seconds: int
    predicted_seconds: int | None = Field(
        default=None, description="The run time that was foreseen when it was submitted"
    )
    submitted_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    training: "TrainingView | None" = Field(
        default=None, description="What it trains, where thresholds of compute look at it (R17)"
    )
    runs: tuple[JobRun, ...] = ()


class TrainingView(Message):
    """A job's part of its model line, and what the line reaches with it, in FLOP (R17)."""

    model_line: str
    flop: float
    line_flop: float


class JobPage(Message):
    """A page of jobs, newest first; `next` is the `after` of the following page."""

    jobs: tuple[JobView, ...]
    next: str | None = None


class VerdictView(Message):
    """One rule's answer for one pool: as data, and as a sentence."""

    reason: str
    pool: str | None
    tier: Tier | None = None
    sentence: str
    numbers: dict[str, int | str] = Field(default_factory=dict)


class Explanation(Message):
    """Why a job is where it is (scheduling.md §5)."""

    job: str
    state: JobState
    summary: str
    position: int | None = None
    starts_at: AwareDatetime | None = None
    verdicts: tuple[VerdictView, ...] = ()
    eta: EtaView | None = Field(default=None, description="Expected start with its interval")
    ahead: tuple[AheadView, ...] = Field(default=(), description="Who goes first, and why")
    sooner: tuple[SoonerView, ...] = Field(default=(), description="What would start it sooner")
    approval: ApprovalView | None = Field(default=None, description="What it waits for (R17)")
    note: str = Field(default="", description="Why no changes were tried, where none were")
    history: tuple["JobEvent", ...] = ()


class JobEvent(Message):
    """One line of a job's history, oldest first."""

    at: AwareDatetime
    event: str = Field(examples=["submitted", "leased", "running", "recalled", "requeued"])
    run: str | None = None
    sentence: str


class LogPage(Message):
    """A piece of a job's log across its attempts; ask again from `next_offset`."""

    text: str
    next_offset: int
    complete: bool = Field(description="True when no more will come")
    size: int | None = Field(
        default=None, description="Bytes of the log that are there now; older hubs leave it out"
    )
    state: JobState | None = Field(default=None, description="The job's, when it was read")
