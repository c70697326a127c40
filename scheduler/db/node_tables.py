"""Tables of what nodes tell and what operators plan for them, beside `tables.nodes`."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from scheduler.db.tables import BigKey, UtcDateTime, metadata, nodes

# Asked every few seconds: which are silent, which are out of work, and whose cordon is over.
Index("ix_nodes_reported_at", nodes.c.reported_at)
Index(
    "ix_nodes_unusable",
    nodes.c.id,
    sqlite_where=text("usable = 0"),
    postgresql_where=text("NOT usable"),
)
Index(
    "ix_nodes_cordoned",
    nodes.c.cordon_until,
    sqlite_where=text("cordon_action IS NOT NULL"),
    postgresql_where=text("cordon_action IS NOT NULL"),
)

# What happened to a node: XIDs, cordons, returns. Repeats within a day are counted from it.
node_events = Table(
    "node_events",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("node_id", String(63), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("event", String(32), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("gpu", Integer),
    Column("xid", Integer),
    Column("count", Integer),
    Column("user", String(63)),  # who had the lease there
    Index("ix_node_events_node_id_at", "node_id", "at"),
)

# How busy each GPU was, every five minutes; the run is whose lease it was at the end.
gpu_rollups = Table(
    "gpu_rollups",
    metadata,
    Column("at", UtcDateTime, primary_key=True),
    Column("node_id", String(63), primary_key=True),
    Column("gpu", Integer, primary_key=True, autoincrement=False),
    Column("seconds", Integer, nullable=False),
    Column("reports", Integer, nullable=False),
    Column("run_id", String(80)),
    Column("sm_mean", Float),  # of 0 to 1; null where nobody measured it
    Column("sm_most", Float),
    Column("memory_most_mib", Float),
    Column("watts_mean", Float),
    # A job's page asks for its own runs; most GPUs of a large fleet are somebody's at most times.
    Index(
        "ix_gpu_rollups_run_id",
        "run_id",
        sqlite_where=text("run_id IS NOT NULL"),
        postgresql_where=text("run_id IS NOT NULL"),
    ),
)

# Maintenance of named nodes (R7): never changed; a row that `cancels` another undoes it.
maintenance = Table(
    "maintenance",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("pool", String(63), nullable=False),
    Column("nodes", JSON, nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("planned_at", UtcDateTime, nullable=False),
    Column("by", String(120), nullable=False),
    Column("cancels", BigInteger),
)
