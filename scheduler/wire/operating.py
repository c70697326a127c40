"""What operators do to nodes, and what they see of one."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from scheduler.wire.accounts import NodeView
from scheduler.wire.launches import LaunchPhase
from scheduler.wire.nodes import Instant, Message, Name

Reason = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$", examples=["new firmware"])
]


class DrainRequest(Message):
    """Take a node out of work. Its runs end by their notice, or within `notice_seconds`."""

    reason: Reason
    until: Instant | None = Field(default=None, description="Then it returns by itself")
    notice_seconds: int | None = Field(default=None, ge=0, le=86_400)


class ResumeRequest(Message):
    """Let a node work again; an empty body is one without a reason."""

    reason: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")] = Field(
        default="", examples=["the firmware is in"]
    )


class MaintenanceRequest(Message):
    """Keep nodes free of work from one time to another (R7)."""

    nodes: tuple[Name, ...] = Field(min_length=1, max_length=10_000)
    starts_at: Instant
    ends_at: Instant
    reason: Reason


class MaintenanceWindow(Message):
    """Maintenance of the named nodes of one pool."""

    name: str
    pool: str
    nodes: tuple[str, ...]
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    reason: str


class MaintenanceList(Message):
    windows: tuple[MaintenanceWindow, ...]


class NodeEvent(Message):
    """One line of a node's history."""

    at: AwareDatetime
    event: str
    sentence: str


class CordonView(Message):
    """Why a node takes no new work, who said so, and what lifts it."""

    action: str = Field(description="cordon, drain or reboot")
    why: str
    by: str
    at: AwareDatetime
    until: AwareDatetime | None = None
    returns: str = Field(description="What it waits for, in a sentence")


class LaunchView(Message):
    """One member of a run on a node. `run` is told to its user and to operators alone."""

    run: str | None = None
    account: str
    phase: LaunchPhase = Field(description="starting, up, ending (it is being fenced), fenced …")
    why: str = ""
    since: AwareDatetime = Field(description="When this process of the hub was first told so")


class LauncherView(Message):
    """What the node's launcher prepares, runs or fences, as it last told this hub."""

    launches: tuple[LaunchView, ...] = ()


class NodeDetail(Message):
    """A node, its cordon, and what last happened to it, newest first.

    `launcher` is null where none has spoken to this process of the hub.
    """

    node: NodeView
    cordon: CordonView | None = None
    launcher: LauncherView | None = None
    history: tuple[NodeEvent, ...] = ()


class WasteView(Message):
    """An account's GPU-hours in the window. Used is measured time x SM activity."""

    account: str
    leased_gpu_hours: float
    measured_gpu_hours: float
    used_gpu_hours: float
    share_used: float | None = Field(description="Of what was measured; null where nothing was")


class WastePage(Message):
    """Accounts that held leases in the window, most unused GPU-hours first."""

    since: AwareDatetime
    until: AwareDatetime
    accounts: tuple[WasteView, ...]
