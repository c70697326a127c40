"""What the hub counts, in Prometheus' default registry; `/metrics` shows all of it.

Labels of closed sets are there from the start, with 0: an alert on what has not happened
yet must not be silent for want of a series. No job, run or user names a series; what leads
from a slow cycle to its lines in the log is an exemplar, which costs no series.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from scheduler.core.explain import Reason
from scheduler.core.model import PriorityClass, QuotaClass, RunState, StopReason

# Half as many series again, for what Prometheus finds out by itself.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here


class NodeState(StrEnum):
    """What a node is to planning: all but `healthy` take no work."""

    HEALTHY = "healthy"
    STALE = "stale"  # nothing was heard of it for long
    SITE_SILENT = "site_silent"  # it speaks, and its site's agent does not
    CORDONED = "cordoned"  # by its health; what runs there may finish
    DRAINING = "draining"  # by its health; what runs there is moved
    DRAINED = "drained"  # by an operator
    UNUSABLE = "unusable"  # for another reason, which its view tells


class AgentState(StrEnum):
    """Whether a site's agent is heard."""

    HEARD = "heard"
    SILENT = "silent"


PENDING_STATE = "pending"
JOB_STATES = (PENDING_STATE, *(state.value for state in RunState if not state.is_terminal))
QUOTA_CLASSES = tuple(quota.name.lower() for quota in QuotaClass)


@dataclass(slots=True)
class PhaseTime:
    """How long one phase took, over all cycles of this process, in seconds."""

    count: int = 0
    total: float = 0.0
    last: float = 0.0
    longest: float = 0.0

    @property
    def mean(self) -> float:
        """Return the mean; 0 before the first."""
        return self.total / self.count if self.count else 0.0


class Phases:
    """A histogram of phases that also remembers each one's last and longest time."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self.times: dict[str, PhaseTime] = {}

    def labels(self, phase: str) -> "Phase":
        """Return what one phase is observed with."""
        return Phase(self._histogram.labels(phase), self.times.setdefault(phase, PhaseTime()))


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of the cycle."""

    histogram: Histogram
    time: PhaseTime

    def observe(self, seconds: float, cycle: str = "") -> None:
        """Count one time that it took, and in which cycle, for whoever looks into it."""
        self.histogram.observe(seconds, {"cycle_id": cycle} if cycle else None)
        self.time.count += 1
        self.time.total += seconds
        self.time.last = seconds
        self.time.longest = max(self.time.longest, seconds)


class Shown:
    """A gauge whose series come and go with what they are about.

    A scrape that is answered meanwhile, in another thread, finds each series as it was or
    as it is, and none missing.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._series: dict[tuple[str, ...], Gauge] = {}

    def show(self, rows: Mapping[tuple[str, ...], float]) -> None:
        """Show these values by their labels, and no others."""
        for labels, value in rows.items():
            series = self._series.get(labels)
            if series is None:
                series = self._series[labels] = self._gauge.labels(*labels)
            series.set(value)
        for labels in self._series.keys() - rows.keys():
            self._gauge.remove(*labels)
            del self._series[labels]


def counts(counter: Counter) -> Mapping[tuple[str, ...], int]:
    """Return what a counter stands at, by its labels' values in the order of their names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): int(sample.value)
        for metric in counter.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


PHASES = ("load", "plan", "record", "verdicts", "commit", "whole")

CYCLES = Counter("commonpool_cycles", "Planning cycles, by how they ended", ["outcome"])
CYCLE_SECONDS = Phases(
    Histogram(
        "commonpool_cycle_seconds",
        "Time of one cycle's phase",
        ["phase"],
        buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
    )
)
EVENTS = Counter("commonpool_events", "Changes that the leader's world was told")
DECISIONS = Counter(
    "commonpool_decisions", "Decisions stored, by kind and reason", ["kind", "reason"]
)
STALE = Counter("commonpool_stale_commits", "Decisions dropped because they no longer held")
JOBS = Gauge("commonpool_jobs", "Jobs that wait or run", ["state", "priority"])
PENDING = Shown(Gauge("commonpool_pending_jobs", "Jobs that wait, by account", ["account"]))
PENDING_GPUS = Shown(
    Gauge("commonpool_pending_gpus", "GPUs that waiting jobs ask for", ["account"])
)
LEASES = Shown(Gauge("commonpool_leases", "Runs that hold GPUs", ["pool", "quota_class"]))
HELD_GPUS = Shown(Gauge("commonpool_held_gpus", "GPUs that runs hold", ["pool", "quota_class"]))
POOL_GPUS = Shown(
    Gauge(
        "commonpool_pool_gpus",
        "GPUs of a pool: by policy, on nodes that take work, and there held by nobody; of idle "
        "leases that are lent, and of those with background work on them",
        ["pool", "site", "tier", "state"],
    )
)
WAIT_SECONDS = Histogram(
    "commonpool_wait_seconds",
    "From a job's submission to its first lease",
    ["priority", "quota_class"],
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 86400, 259200, 604800),
)
USED = Shown(
    Gauge(
        "commonpool_account_used_h100e_seconds",
        "Decayed use of an account with all below it, which shares go by",
        ["account"],
    )
)
USE_RATIO = Shown(
    Gauge(
        "commonpool_account_use_ratio",
        "An account's part of what it and its siblings used lately",
        ["account"],
    )
)
WEIGHT_RATIO = Shown(
    Gauge(
        "commonpool_account_weight_ratio",
        "An account's part by weight among its siblings: what its use tends to",
        ["account"],
    )
)
QUOTA = Shown(
    Gauge(
        "commonpool_quota_gpus",
        "An account's part of a pool: nominal, used, borrowed beyond it, open to others while idle,"
        " and its part of what others hold beyond their nominals",
        ["account", "pool", "fact"],
    )
)
AGREEMENTS = Shown(
    Gauge(
        "commonpool_agreement_gpus",
        "GPUs lent to outsiders under an agreement that is valid now: its cap, and used",
        ["agreement", "lender", "fact"],
    )
)
BUDGETS = Shown(
    Gauge(
        "commonpool_budget_h100e_seconds",
        "Budgets that are valid now: the whole, and what may still be committed",
        ["budget", "account", "fact"],
    )
)
NODES = Shown(
    Gauge("commonpool_nodes", "Nodes by what they are to planning", ["site", "pool", "state"])
)
SITE_AGENTS = Shown(Gauge("commonpool_site_agents", "Site agents by state", ["site", "state"]))
ETA_HITS = Counter(
    "commonpool_eta_hits",
    "Jobs by whether they started within the 80 % interval they were first told",
    ["hit"],
)
ETA_HIT_RATE = Gauge("commonpool_eta_hit_rate", "Part of those that did, in this process")
RECALL_SECONDS = Shown(
    Gauge(
        "commonpool_recall_seconds",
        "Wait of owners for what they lent, from the decision to the start, over 30 days",
        ["lender", "pool", "percentile"],
    )
)
RECALLS = Shown(
    Gauge(
        "commonpool_recalls",
        "Owners' recalls of 30 days, by whether the promised notice was kept",
        ["lender", "pool", "outcome"],
    )
)
LEADER = Gauge("commonpool_leader", "1 where this process plans, else 0")
LOOP_FAILURES = Counter("commonpool_loop_failures", "Rounds of a loop that failed", ["loop"])
WATCHED = Counter("commonpool_watched", "What the watch loop did, by what it was", ["what"])
REQUEST_SECONDS = Histogram(
    "commonpool_request_seconds",
    "Time until a request was answered; long polls take long by design",
    ["method", "route", "status"],
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 1, 5, 30, 60),
)


_ALONE: tuple[tuple[Counter, tuple[str, ...]], ...] = (
    (CYCLES, ("committed", "unchanged", "failed")),
    (ETA_HITS, ("true", "false")),
    (LOOP_FAILURES, ("cycle", "watch", "forecast", "fleet", "rollups")),
    (
        WATCHED,
        # Of nodes, of sites, and of runs as `db/watching.py` finds them.
        (
            *("stale_node", "silent_site"),
            *("unbound", "lost", "unknown", "bind_expired", "time_limit"),
        ),
    ),
)
"""Counters with one label, and all that it may be."""


def _decisions() -> Iterator[tuple[str, str]]:
    """Yield every kind of decision with every reason that it may have."""
    yield from (("start", quota) for quota in QUOTA_CLASSES)
    yield from (("preempt", why.value) for why in StopReason if why.is_preemption)
    yield "reserve", "planned"
    yield from (("hold", reason.value) for reason in Reason)


def _begin() -> None:
    """Show every label of a closed set, before anything has happened."""
    for metric, values in _ALONE:
        for value in values:
            metric.labels(value)
    for phase in PHASES:
        CYCLE_SECONDS.labels(phase)
    for kind, reason in _decisions():
        DECISIONS.labels(kind, reason)
    for priority, quota in product(PriorityClass, QUOTA_CLASSES):
        WAIT_SECONDS.labels(priority.value, quota)
    for state, priority in product(JOB_STATES, PriorityClass):
        JOBS.labels(state, priority.value)
    # 0 would say that every forecast was wrong.
    ETA_HIT_RATE.set(float("nan"))


_begin()
