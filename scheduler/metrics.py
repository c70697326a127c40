"""What the hub counts, in Prometheus' default registry; `/metrics` shows all of it."""

from prometheus_client import Counter, Gauge, Histogram

CYCLES = Counter("commonpool_cycles", "Planning cycles, by how they ended", ["outcome"])
CYCLE_SECONDS = Histogram(
    "commonpool_cycle_seconds",
    "Time of one cycle's phase",
    ["phase"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
DECISIONS = Counter(
    "commonpool_decisions", "Decisions stored, by kind and reason", ["kind", "reason"]
)
STALE = Counter("commonpool_stale_commits", "Decisions dropped because they no longer held")
PENDING = Gauge("commonpool_pending_jobs", "Jobs that wait, by account", ["account"])
LEASES = Gauge("commonpool_leases", "Runs that hold GPUs", ["pool", "quota_class"])
LEADER = Gauge("commonpool_leader", "1 where this process plans, else 0")
LOOP_FAILURES = Counter("commonpool_loop_failures", "Rounds of a loop that failed", ["loop"])
WATCHED = Counter("commonpool_watched", "What the watch loop did, by what it was", ["what"])
REQUEST_SECONDS = Histogram(
    "commonpool_request_seconds",
    "Time until a request was answered; long polls take long by design",
    ["method", "route", "status"],
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 1, 5, 30, 60),
)
