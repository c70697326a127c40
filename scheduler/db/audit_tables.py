"""Tables of the audit log. The database itself refuses to change or take out a row.

The triggers are in the migration: `audit_log` and `audit_objects` take INSERT alone, and
`audit_head` only goes forward. Whoever owns the tables can take triggers away; the chain
and a checkpoint that is kept elsewhere tell of it (`core/audit.py`).
"""

from sqlalchemy import Column, Index, Integer, String, Table, Text

from scheduler.db.tables import BigKey, UtcDateTime, metadata

audit_log = Table(
    "audit_log",
    metadata,
    # Given by the chain, without gaps; not by the database.
    Column("sequence", BigKey, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("actor", String(120), nullable=False),
    Column("on_behalf_of", String(120), nullable=False),
    Column("session", String(80), nullable=False),
    Column("source", String(32), nullable=False),
    Column("action", String(64), nullable=False),
    Column("object", String(200), nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("reason", Text, nullable=False),
    Column("decision", String(64), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    # Filters of people who look: what one did, what was done, what became of one thing.
    Index("ix_audit_log_actor", "actor", "sequence"),
    Index("ix_audit_log_action", "action", "sequence"),
    Index("ix_audit_log_object", "object", "sequence"),
)

# More objects that a row is about: the jobs and runs of a cycle's decisions.
audit_objects = Table(
    "audit_objects",
    metadata,
    Column("object", String(200), primary_key=True),
    Column("sequence", BigKey, primary_key=True, autoincrement=False),
)

# One row: where the next one continues. Locked by whoever writes, so that there is one chain.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigKey, nullable=False),
    Column("hash", String(64), nullable=False),
)
