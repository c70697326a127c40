"""The tables. Rules that must hold whatever the code does are constraints here.

The one that matters most is `uq_lease_gpus_node_gpu`: a GPU is leased to at most one
run that is not draining, so no fault of the planner or of a retry can oversubscribe.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC instant: `timestamptz` on PostgreSQL, ISO text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive instants: a zone that is guessed is a bill that is wrong."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value}: instants are aware UTC")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back the zone that SQLite forgets."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite autoincrements only INTEGER; PostgreSQL should not run out at 2^31.
BigKey = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

policies = Table(
    "policies",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("applied_at", UtcDateTime, nullable=False),
    Column("applied_by", String(120), nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("subject", String(63), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    CheckConstraint("scope IN ('user','site','node','metrics','admin')", name="scope"),
)

jobs = Table(
    "jobs",
    metadata,
    # Order of submission; also what keyset pages go by.
    Column("sequence", BigKey, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("user", String(63), nullable=False),
    Column("account", String(120), nullable=False),
    Column("submission_id", String(63), nullable=False),
    Column("idempotency_key", String(255)),
    Column("request_sha256", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("nodes", Integer, nullable=False),
    Column("gpus_per_node", Integer, nullable=False),
    Column("gpu_models", JSON, nullable=False),
    Column("label", String(64), nullable=False),
    Column("tier_min", String(16), nullable=False),
    Column("tier_max", String(16), nullable=False),
    Column("preemptible", Boolean, nullable=False),
    Column("background", Boolean, nullable=False),
    Column("memory_gib", Integer, nullable=False, server_default=text("0")),
    Column("h100e", Integer, nullable=False, server_default=text("0")),
    Column("software", JSON, nullable=False, server_default=text("'[]'")),
    Column("reservation", String(120)),
    Column("priority", String(16), nullable=False),
    Column("time_limit_seconds", Integer, nullable=False),
    Column("submitted_at", UtcDateTime, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("1")),
    Column("preemptions", Integer, nullable=False, server_default=text("0")),
    Column("not_before", UtcDateTime),
    Column("name", String(200), nullable=False, server_default=text("''")),
    # The run time that was foreseen at submission; null where nothing was known.
    Column("predicted_seconds", Integer),
    Column("training", JSON(none_as_null=True)),  # {institution, line, pflop, reaches} (R17)
    Column("entrypoint", Text, nullable=False),
    Column("runtime_env", JSON, nullable=False),
    Column("user_metadata", JSON, nullable=False),
    Column("entrypoint_options", JSON, nullable=False),  # num_cpus, num_gpus, memory, ...
    Column("packages", JSON, nullable=False),  # [{uri, sha256, size}]
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("message", Text, nullable=False, server_default=text("''")),
    Column("error_type", String(120)),
    Column("exit_code", Integer),
    # Ray's DELETE hides a finished job from its owner; the row stays, bills refer to it.
    Column("deleted_at", UtcDateTime),
    UniqueConstraint("user", "submission_id"),
    UniqueConstraint("user", "idempotency_key"),
    Index("ix_jobs_user_sequence", "user", "sequence"),
    Index("ix_jobs_state", "state", "user", "sequence"),
    Index(
        "ix_jobs_pending",
        "account",
        "sequence",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    # First starts of reservations are worked out anew when a policy is applied.
    Index(
        "ix_jobs_reservation",
        "reservation",
        sqlite_where=text("reservation IS NOT NULL"),
        postgresql_where=text("reservation IS NOT NULL"),
    ),
    CheckConstraint("nodes >= 1 AND gpus_per_node >= 1", name="gang"),
    CheckConstraint("time_limit_seconds >= 1", name="time_limit"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("job_id", String(40), ForeignKey("jobs.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("site", String(63), nullable=False),
    Column("pool", String(63), nullable=False),
    Column("quota_class", Integer, nullable=False),
    Column("agreement", String(120)),
    Column("state", String(16), nullable=False),
    Column("token", Integer, nullable=False),
    Column("slots", JSON, nullable=False),  # [[node, [gpu, ...]], ...]
    Column("gpus", Integer, nullable=False),
    Column("leased_at", UtcDateTime, nullable=False),
    Column("ends_by", UtcDateTime, nullable=False),
    Column("bind_by", UtcDateTime, nullable=False),
    # How long `bind_by` is after the lease, or after the end of the last of `after`.
    Column("bind_within_seconds", Integer, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("after", JSON, nullable=False),
    Column("draining", Boolean, nullable=False, server_default=text("false")),
    Column("stop_reason", String(16)),
    Column("stop_at", UtcDateTime),
    Column("checkpointed_at", UtcDateTime),
    # How far it has come with its idle GPUs: see `core.idleness.Step` (R18).
    Column("idle_step", Integer, nullable=False, server_default=text("0")),
    # While its lease is lent: since when it idles. Else: nothing before counts as idle.
    Column("idle_from", UtcDateTime),
    Column("lent", Boolean, nullable=False, server_default=text("false")),
    Column("over", String(80)),  # the run on whose lent lease it sits
    Column("seen_at", UtcDateTime),  # when the site first spoke of it
    Column("why", Text, nullable=False),
    Column("message", Text, nullable=False, server_default=text("''")),
    Column("error_type", String(120)),
    Column("exit_code", Integer),
    Column("driver_job_id", String(64)),
    Column("driver_node", String(120)),
    # Bytes of log that the site has seen: the log is whole when the hub has as many.
    Column("log_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("simulated", Boolean, nullable=False, server_default=text("false")),
    # The site was told that the end is stored and may drop its record.
    Column("acknowledged", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("job_id", "attempt"),
    # Open runs, and ended ones that the site has not been told about: few among all.
    Index(
        "ix_runs_open",
        "site",
        sqlite_where=text("NOT acknowledged"),
        postgresql_where=text("NOT acknowledged"),
    ),
    # The latest run times, from which others are predicted.
    Index(
        "ix_runs_ended",
        "ended_at",
        sqlite_where=text("ended_at IS NOT NULL"),
        postgresql_where=text("ended_at IS NOT NULL"),
    ),
    Index(
        "ix_runs_over",
        "over",
        sqlite_where=text("over IS NOT NULL"),
        postgresql_where=text("over IS NOT NULL"),
    ),
    CheckConstraint("gpus >= 1", name="gpus"),
)

lease_gpus = Table(
    "lease_gpus",
    metadata,
    Column("run_id", String(80), ForeignKey("runs.id"), primary_key=True),
    Column("node_id", String(63), primary_key=True),
    Column("gpu", Integer, primary_key=True),
    Column("draining", Boolean, nullable=False, server_default=text("false")),
    # It sits on the GPUs of a run that idles: a second layer of leases, of which each GPU has one.
    Column("guest", Boolean, nullable=False, server_default=text("false")),
)
Index(
    "uq_lease_gpus_node_gpu_guest",
    lease_gpus.c.node_id,
    lease_gpus.c.gpu,
    lease_gpus.c.guest,
    unique=True,
    sqlite_where=text("NOT draining"),
    postgresql_where=text("NOT draining"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("pool", String(63), nullable=False),
    Column("site", String(63), nullable=False),
    Column("block", String(80), nullable=False),
    Column("gpus", JSON, nullable=False),  # [{index, uuid, healthy}]
    Column("simulated", Boolean, nullable=False),
    Column("usable", Boolean, nullable=False),
    Column("why_unusable", String(200), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("reported_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),  # when the agent that speaks for it began
    Column("xids", JSON, nullable=False, server_default=text("'{}'")),  # counted so far
    # Where its /metrics is, HOST:PORT; without a host under the node's name.
    Column("exporter", String(120), nullable=False, server_default=text("''")),
    # Why it takes no new work (R19); no action is no cordon. See `core.health.Cordon`.
    Column("cordon_action", Integer),
    Column("cordon_why", String(300), nullable=False, server_default=text("''")),
    Column("cordon_by", String(120), nullable=False, server_default=text("''")),
    Column("cordon_clears", String(16), nullable=False, server_default=text("'word'")),
    Column("cordoned_at", UtcDateTime),
    Column("cordon_until", UtcDateTime),
    Column("clean_since", UtcDateTime),
)

sites = Table(
    "sites",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("instance", String(64), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("ray_version", String(40)),
    Column("seen_at", UtcDateTime, nullable=False),
    # Noted by the watch loop: nodes of a silent site take no new work.
    Column("silent", Boolean, nullable=False, server_default=text("false")),
)

usage = Table(
    "usage",
    metadata,
    Column("account", String(120), primary_key=True),
    Column("h100e_seconds", Float, nullable=False),
    Column("as_of", UtcDateTime, nullable=False),
)

usage_intervals = Table(
    "usage_intervals",
    metadata,
    Column("run_id", String(80), ForeignKey("runs.id"), primary_key=True),
    Column("account", String(120), nullable=False),
    Column("pool", String(63), nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("factor", Integer, nullable=False),  # thousandths of an H100, at the start
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),  # set once: a lease is settled exactly once (R3)
)

# What ended leases have used of each budget of the policy in force (R4), brought forward in
# the transaction that closes a lease's interval, and worked out anew from the intervals
# when a policy is applied.
budget_totals = Table(
    "budget_totals",
    metadata,
    Column("budget", String(120), primary_key=True),
    # Thousandths of an H100e-second: whole numbers, so that the order of sums is all one.
    Column("milli_h100e_seconds", BigInteger, nullable=False),
)

# When the first run of a reservation was leased: it is no longer a no-show (R7).
reservation_claims = Table(
    "reservation_claims",
    metadata,
    Column("reservation", String(120), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
)

# How many runs of a pool lost their GPUs to smaller shares in the hour from `since` (R9).
turnovers = Table(
    "turnovers",
    metadata,
    Column("pool", String(63), primary_key=True),
    Column("since", UtcDateTime, nullable=False),
    Column("count", Integer, nullable=False),
)

holds = Table(
    "holds",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("account", String(120), nullable=False),
    Column("shape_key", String(64), nullable=False),
    Column("job_id", String(40)),  # null: the group's verdict
    Column("verdicts", JSON, nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    UniqueConstraint("account", "shape_key", "job_id"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.id"), primary_key=True),
    Column("pool", String(63), nullable=False),
    Column("slots", JSON, nullable=False),
    Column("start_at", UtcDateTime, nullable=False),
)

# The first start that a job was told, and whether it came true (scheduling.md §5).
eta_records = Table(
    "eta_records",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.id"), primary_key=True),
    Column("made_at", UtcDateTime, nullable=False, index=True),
    Column("low_at", UtcDateTime, nullable=False),
    Column("likely_at", UtcDateTime, nullable=False),
    Column("high_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime, index=True),
    Column("hit", Boolean),
)

job_events = Table(
    "job_events",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("job_id", String(40), ForeignKey("jobs.id"), nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("event", String(32), nullable=False),
    Column("run_id", String(80)),
    Column("sentence", Text, nullable=False),
)

# What changed since the leader last looked: read, applied to the World, deleted.
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),  # see `outbox.Kind`
    Column("key", String(80), nullable=False),
)

packages = Table(
    "packages",
    metadata,
    Column("tenant", String(63), primary_key=True),
    Column("name", String(120), primary_key=True),  # _ray_pkg_<hex>.zip
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
