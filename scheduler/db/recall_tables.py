"""What owners were promised when they took GPUs back, beside `tables.runs`."""

from sqlalchemy import Boolean, Column, Float, ForeignKey, String, Table, text

from scheduler.db.tables import UtcDateTime, metadata

# What an owner was promised when it took GPUs back; its run tells what came of it (R10).
recalls = Table(
    "recalls",
    metadata,
    Column("run_id", String(80), ForeignKey("runs.id"), primary_key=True),
    Column("lender", String(120), nullable=False),
    Column("pool", String(63), nullable=False),
    Column("decided_at", UtcDateTime, nullable=False, index=True),
    Column("notice_seconds", Float, nullable=False),
    # With the teardown of the policy under which it was promised.
    Column("promised_seconds", Float, nullable=False),
    # The run is background work that sat on the lender's idle lease: over when it has left (R18).
    Column("guest", Boolean, nullable=False, server_default=text("false")),
)
