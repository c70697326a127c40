"""The nouns of scheduling as frozen values, one word each (scheduling.md §1).

What people configure (`Account`, `Pool`, `Quota`, `Agreement`, `Site`) is part of
a `Policy`; what happens (`Node`, `Job`, `Run`, `Usage`) is part of a `Snapshot`.
GPUs are integers. H100-equivalents are integers too, in thousandths.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import NewType

from scheduler.core.training import Training

AccountName = NewType("AccountName", str)
AgreementId = NewType("AgreementId", str)
BudgetId = NewType("BudgetId", str)
JobId = NewType("JobId", str)
NodeId = NewType("NodeId", str)
PoolId = NewType("PoolId", str)
ReservationId = NewType("ReservationId", str)
RunId = NewType("RunId", str)
SiteId = NewType("SiteId", str)


class Sector(StrEnum):
    DOD = "dod"
    ACADEMIC = "academic"
    INDUSTRY = "industry"
    ALLIED = "allied"


class Tier(StrEnum):
    """Where compute lives, smallest first; the order of spill-over (R13)."""

    TEAM = "team"
    INSTITUTION = "institution"
    NATIONAL = "national"
    FRONTIER = "frontier"

    @property
    def rank(self) -> int:
        """Return 0 for `team` up to 3 for `frontier`."""
        return _TIER_RANKS[self]


class PriorityClass(StrEnum):
    """Order inside one account's queue, first to last (R2)."""

    URGENT = "urgent"
    DEBUG = "debug"
    HIGH = "high"
    STANDARD = "standard"
    BACKGROUND = "background"

    @property
    def rank(self) -> int:
        """Return 0 for `urgent` up to 4 for `background`; lower goes first."""
        return _PRIORITY_RANKS[self]


# Looked up for every pool of every job: an enum's own order is slow to ask for.
_TIER_RANKS = {tier: rank for rank, tier in enumerate(Tier)}
_PRIORITY_RANKS = {priority: rank for rank, priority in enumerate(PriorityClass)}


class QuotaClass(IntEnum):
    """How a run is paid for (R2): lower may take GPUs back from higher."""

    IN_QUOTA = 1
    BORROWED = 2
    BACKGROUND = 3


class Backend(StrEnum):
    """How a pool carries out runs (architecture.md, "How a run becomes Ray")."""

    RAY_PRIVATE = "ray_private"
    RAY_SHARED = "ray_shared"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Site:
    """One execution engine with one site agent."""

    id: SiteId
    name: str


@dataclass(frozen=True, slots=True)
class Account:
    """A node of the tree; leaves (accounts without children) hold queues.

    `members` may submit there. The other people are those of the account with all below it:
    what each may do is in `roles.py`.
    """

    name: AccountName
    parent: AccountName | None
    sector: Sector
    weight: int = 1
    members: frozenset[str] = frozenset()
    leads: frozenset[str] = frozenset()
    approvers: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    auditors: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class User:
    """A person, with the labels they may handle. `max_gpus`: None is no limit."""

    name: str
    labels: frozenset[str] = frozenset({"public"})
    max_gpus: int | None = None
    max_pending: int | None = None
    email: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """A level and compartments: it dominates what is at most as high, with no other compartment.

    A label that the policy does not place in the lattice is dominated by itself alone (R14).
    """

    name: str
    level: int
    compartments: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Pool:
    """Like nodes of one site. `node_count` x `gpus_per_node` is what quotas divide.

    `labels` are what it is accredited for. `sectors` empty means any; `software` is what its
    nodes offer, by name.
    """

    id: PoolId
    site: SiteId
    tier: Tier
    owner: AccountName
    gpu_model: str
    gpus_per_node: int
    node_count: int
    labels: frozenset[str] = frozenset({"public"})
    backend: Backend = Backend.RAY_PRIVATE
    sectors: frozenset[Sector] = frozenset()
    software: frozenset[str] = frozenset()

    @property
    def capacity(self) -> int:
        """Return the GPUs that the policy divides, whether or not all are up now."""
        return self.gpus_per_node * self.node_count


@dataclass(frozen=True, slots=True)
class Quota:
    """One account's part of one pool, in GPUs (R1): `lend_max` <= `nominal`."""

    account: AccountName
    pool: PoolId
    nominal: int
    lend_max: int
    borrow_max: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """A lender lets outsiders (one account's subtree, or one sector) borrow idle GPUs (R1)."""

    id: AgreementId
    lender: AccountName
    borrower: AccountName | Sector
    pools: frozenset[PoolId]
    cap: int
    recall_notice: timedelta
    valid_from: datetime
    valid_to: datetime


@dataclass(frozen=True, slots=True)
class Budget:
    """H100e-hours that an account's subtree may use from one date to another (R4)."""

    id: BudgetId
    account: AccountName
    h100e_hours: int
    valid_from: datetime
    valid_to: datetime


@dataclass(frozen=True, slots=True)
class Reservation:
    """Nodes of a pool kept for one account between two times; without account: maintenance (R7).

    The first `node_count` usable nodes of the pool by name, or exactly `nodes` where named.
    An account's reservation is charged from start to end, and released where no job of it
    has started within `no_show` of its start.
    """

    id: ReservationId
    pool: PoolId
    account: AccountName | None
    node_count: int
    starts_at: datetime
    ends_at: datetime
    nodes: frozenset[NodeId] = frozenset()
    no_show: timedelta = timedelta(minutes=30)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Gpu:
    index: int
    uuid: str
    healthy: bool = True


@dataclass(frozen=True, slots=True)
class Node:
    """A machine as last reported. `usable` is False when stale, drained or unhealthy (R19)."""

    id: NodeId
    pool: PoolId
    gpus: tuple[Gpu, ...]
    block: str = ""
    usable: bool = True
    why_unusable: str = ""
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything about a job that placement looks at: jobs of one shape fit alike.

    `gpu_models` empty means any; `memory_gib` is the least that each GPU must have.
    `tier_min`..`tier_max` bound spill-over (R13). With `h100e` > 0 the job asks for so many
    H100-equivalents and takes as many GPUs of a pool's model as that needs (R15): `nodes` x
    `gpus_per_node` is then what H100s would do. With `reservation` it runs only there (R7).
    """

    nodes: int
    gpus_per_node: int
    gpu_models: frozenset[str] = frozenset()
    label: str = "public"
    tier_min: Tier = Tier.TEAM
    tier_max: Tier = Tier.NATIONAL
    preemptible: bool = True
    background: bool = False
    memory_gib: int = 0
    h100e: int = 0
    software: frozenset[str] = frozenset()
    reservation: ReservationId | None = None

    @property
    def gpus(self) -> int:
        """Return the GPUs of the whole gang."""
        return self.nodes * self.gpus_per_node


@dataclass(frozen=True, slots=True)
class Job:
    """What was asked for, while it waits. `sequence` is the order of submission.

    `attempt` is the number the next run will have, from 1. A preempted job comes
    back with its old `submitted_at` and a `not_before` (R8.6). `predicted` is the run time
    that was foreseen when it was submitted, None where nothing was known (`predict.py`).
    """

    id: JobId
    user: str
    account: AccountName
    shape: Shape
    priority: PriorityClass
    submitted_at: datetime
    sequence: int
    time_limit: timedelta
    attempt: int = 1
    preemptions: int = 0
    not_before: datetime | None = None
    name: str = ""
    predicted: timedelta | None = None
    training: Training | None = None


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """GPUs of one node, by index, that a lease names."""

    node: NodeId
    gpus: tuple[int, ...]


class RunState(StrEnum):
    """States of a run; the legal moves are in `lifecycle.py`."""

    LEASED = "leased"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    PREEMPTED = "preempted"
    LOST = "lost"

    @property
    def is_terminal(self) -> bool:
        """Return whether the run holds no GPUs any more."""
        return self in _TERMINAL_RUN_STATES


_TERMINAL_RUN_STATES = frozenset(
    {RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED, RunState.PREEMPTED, RunState.LOST}
)


class StopReason(StrEnum):
    """Why a run was told to end."""

    CANCELLED = "cancelled"
    RECALLED = "recalled"  # an owner took its GPUs back (R10), or a higher class (R8.1)
    SHARES = "shares"  # a borrower with a smaller share took over (R8.1)
    RESERVED = "reserved"  # a reservation or maintenance of its nodes begins (R7)
    TIME_LIMIT = "time_limit"
    BIND_EXPIRED = "bind_expired"
    IDLE = "idle"  # its GPUs did nothing: it is requeued (R18)
    ENDED_IDLE = "ended_idle"  # and again, or its tier requeues none: it is over
    DRAINED = "drained"  # its node must not go on: a fault, or an operator (R19)

    @property
    def is_preemption(self) -> bool:
        """Return whether others get the GPUs: the job keeps its age and is run again (R8.6)."""
        return self in (StopReason.RECALLED, StopReason.SHARES, StopReason.RESERVED)


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt that holds GPUs: a lease and what became of it.

    `after` names runs that still drain on these GPUs: this run's lease stands, and
    it is started when the last of them has ended (R8.6). `draining` is True from the
    moment another run was leased these GPUs: then it no longer counts in quotas.
    `ends_by` is the latest end by the time limit, counted from the start of work
    (from `leased_at` until it has started). `started_at` is when work began.
    `lent`: background work may sit on its GPUs, which it leaves idle; `over` names the run
    whose GPUs it sits on itself, until that one has ended (R18, `lending.py`).
    """

    id: RunId
    job: JobId
    attempt: int
    user: str
    account: AccountName
    pool: PoolId
    shape: Shape
    slots: tuple[Slot, ...]
    quota_class: QuotaClass
    priority: PriorityClass
    state: RunState
    token: int
    leased_at: datetime
    ends_by: datetime
    time_limit: timedelta
    sequence: int
    submitted_at: datetime
    started_at: datetime | None = None
    agreement: AgreementId | None = None
    after: frozenset[RunId] = frozenset()
    draining: bool = False
    stop_at: datetime | None = None
    preemptions: int = 0
    checkpointed_at: datetime | None = None
    name: str = ""
    predicted: timedelta | None = None
    lent: bool = False
    over: RunId | None = None
    training: Training | None = None

    @property
    def gpus(self) -> int:
        """Return the GPUs that the lease names."""
        # Asked for very often, and mostly of a run on one node.
        if len(self.slots) == 1:
            return len(self.slots[0].gpus)
        return sum([len(slot.gpus) for slot in self.slots])


def run_id(job: JobId, attempt: int) -> RunId:
    """Return the id of a run, also its submission id at the site: `cp-<job>-<attempt>`."""
    return RunId(f"cp-{job}-{attempt}")
