"""The conversation between a site agent and the hub: observed runs out, desired leases back.

One call, `POST /v1/sites/{site}/sync`, both ways. It is level-triggered: each side
states what is, never what changed, so a lost message loses nothing. The hub answers
at once when the desired leases differ from `seen_revision`, else after `wait_seconds`.
"""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from scheduler.core.model import Backend, RunState, StopReason
from scheduler.wire.launches import LaunchPhase
from scheduler.wire.nodes import Count, Instant, Message, Name


class ObservedRun(Message):
    """One run as the site sees it, terminal ones until the hub acknowledges them.

    `fenced` is True only once no process of the run is left on its nodes; a terminal
    state frees the GPUs at the hub only together with it.
    """

    run: str = Field(max_length=120)
    token: int = Field(
        ge=0, le=2**31 - 1, description="The lease's fencing token that the agent acted under"
    )
    state: RunState
    observed_at: Instant
    started_at: Instant | None = None
    message: str = Field(default="", max_length=20_000)
    error_type: str | None = Field(default=None, max_length=120)
    exit_code: int | None = Field(default=None, ge=-(2**31), le=2**31 - 1)
    driver_job_id: str | None = Field(default=None, max_length=64, description="Ray's own job id")
    driver_node: str | None = Field(default=None, max_length=120)
    fenced: bool = False
    checkpointed_at: Instant | None = None
    log_bytes: Count = Field(default=0, description="Bytes of log that the agent has seen")


class SiteSync(Message):
    """What the agent says. `instance` is new at each start of the agent.

    `launches` names the runs whose Ray nodes the site's node agents should have up now; None
    where the site agent starts them by itself.
    """

    instance: str = Field(min_length=1, max_length=64)
    sequence: Count
    runs: tuple[ObservedRun, ...] = Field(default=(), max_length=10_000)
    ray_version: str | None = Field(default=None, max_length=40)
    seen_revision: str = Field(default="", max_length=64)
    wait_seconds: float = Field(default=20, ge=0, le=60)
    launches: tuple[str, ...] | None = Field(default=None, max_length=10_000)


class Wanted(StrEnum):
    """What should be true of a lease at the site."""

    RUN = "run"
    STOP = "stop"
    FORGET = "forget"


class LeasedNode(Message):
    node: Name
    gpus: tuple[int, ...]
    gpu_uuids: tuple[str, ...] = ()


class PackageRef(Message):
    """A package the run needs; the agent fetches it from the hub by its SHA-256."""

    uri: str = Field(description="As in the run's runtime_env, e.g. gcs://_ray_pkg_<hex>.zip")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class DesiredLease(Message):
    """A lease and all that is needed to carry it out.

    RUN: start it if it is not there, adopt it if it is. STOP: signal a checkpoint at
    once, end it by `stop_at` at the latest (None: at once), then fence. FORGET: the hub
    has stored the end; drop the record. `token` fences: an agent that holds a higher one
    for the same run ignores this.
    """

    run: str
    job: str
    attempt: int
    token: int
    wanted: Wanted
    backend: Backend
    nodes: tuple[LeasedNode, ...]
    guest: bool = Field(
        default=False, description="On GPUs that another run has leased and leaves idle"
    )
    gpu_model: str
    entrypoint: str
    runtime_env: dict[str, object] = Field(default_factory=dict)
    metadata: dict[str, str] = Field(default_factory=dict)
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: dict[str, float] | None = None
    entrypoint_label_selector: dict[str, str] | None = None
    packages: tuple[PackageRef, ...] = ()
    time_limit_seconds: float
    grace_seconds: float = Field(description="Between the checkpoint signal and the kill")
    bind_by: AwareDatetime = Field(description="Release the lease if it has not started by then")
    stop_reason: StopReason | None = None
    stop_at: AwareDatetime | None = None


class NodeLaunched(Message):
    """How one member of a run stands on its node, as the node agent or an expired grant says."""

    run: str
    node: str
    phase: LaunchPhase
    why: str = ""
    api: str = Field(default="", description="The head's REST address, once it is up")
    secret: str = Field(default="", description="The cluster's token")


class SiteOrders(Message):
    """What the hub answers: every lease of the site that is not yet forgotten."""

    revision: str
    leases: tuple[DesiredLease, ...]
    server_time: AwareDatetime
    launched: tuple[NodeLaunched, ...] = ()


class LogAppended(Message):
    """The hub's answer to a piece of log: where the next one starts."""

    next_offset: int
