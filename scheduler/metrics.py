"""What the hub counts, in Prometheus' default registry; `/metrics` shows all of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram


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

    def observe(self, seconds: float) -> None:
        """Count one time that it took."""
        self.histogram.observe(seconds)
        self.time.count += 1
        self.time.total += seconds
        self.time.last = seconds
        self.time.longest = max(self.time.longest, seconds)


def counts(counter: Counter) -> Mapping[tuple[str, ...], int]:
    """Return what a counter stands at, by its labels' values in the order of their names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): int(sample.value)
        for metric in counter.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


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
PENDING = Gauge("commonpool_pending_jobs", "Jobs that wait, by account", ["account"])
LEASES = Gauge("commonpool_leases", "Runs that hold GPUs", ["pool", "quota_class"])
ETA_HITS = Counter(
    "commonpool_eta_hits",
    "Jobs by whether they started within the 80 % interval they were first told",
    ["hit"],
)
ETA_HIT_RATE = Gauge("commonpool_eta_hit_rate", "Part of those that did, in this process")
RECALL_SECONDS = Gauge(
    "commonpool_recall_seconds",
    "Wait of owners for what they lent, from the decision to the start, over 30 days",
    ["lender", "pool", "quantile"],
)
RECALLS = Gauge(
    "commonpool_recalls",
    "Owners' recalls of 30 days, by whether the promised notice was kept",
    ["lender", "pool", "outcome"],
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
