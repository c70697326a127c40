"""All that happened, as far as planning looks at it, and the events that change it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scheduler.core.model import (
    AccountName,
    BudgetId,
    Job,
    JobId,
    Node,
    NodeId,
    PoolId,
    ReservationId,
    Run,
    RunId,
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Settled, decayed usage of one leaf account in H100e-seconds, true at `as_of` (R3)."""

    account: AccountName
    h100e_seconds: float
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Spent:
    """What ended leases have used of a budget, in H100e-seconds; running ones come on top (R4)."""

    budget: BudgetId
    h100e_seconds: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The first job of a reservation started then: it is no longer a no-show (R7)."""

    reservation: ReservationId
    at: datetime


@dataclass(frozen=True, slots=True)
class Turnover:
    """How many runs of a pool lost their GPUs to smaller shares in the hour from `since` (R9)."""

    pool: PoolId
    since: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that happened, as far as planning looks at it.

    `jobs` holds pending jobs only, `runs` only those that still hold GPUs.
    """

    jobs: Mapping[JobId, Job] = field(default_factory=dict)
    runs: Mapping[RunId, Run] = field(default_factory=dict)
    nodes: Mapping[NodeId, Node] = field(default_factory=dict)
    usage: Mapping[AccountName, Usage] = field(default_factory=dict)
    spent: Mapping[BudgetId, Spent] = field(default_factory=dict)
    claims: Mapping[ReservationId, Claim] = field(default_factory=dict)
    turnovers: Mapping[PoolId, Turnover] = field(default_factory=dict)


Entity = Job | Run | Node | Usage | Spent | Claim | Turnover


@dataclass(frozen=True, slots=True)
class Put:
    """An event: this is now so. Level-triggered, so applying it twice changes nothing."""

    entity: Entity


@dataclass(frozen=True, slots=True)
class DropJob:
    """An event: the job no longer waits (started, cancelled, ended)."""

    id: JobId


@dataclass(frozen=True, slots=True)
class DropRun:
    """An event: the run holds no GPUs any more."""

    id: RunId


@dataclass(frozen=True, slots=True)
class DropNode:
    """An event: the node was taken out of its pool."""

    id: NodeId


Event = Put | DropJob | DropRun | DropNode
