"""Tables of requests, of what was said of them, and of what people are still to be told."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from scheduler.db.tables import BigKey, UtcDateTime, metadata

requests = Table(
    "requests",
    metadata,
    Column("sequence", BigKey, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("account", String(120)),
    Column("requester", String(63), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("title", Text, nullable=False),
    # The text that approvals are of: what is asked for and why, and its digest.
    Column("change", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("note", Text, nullable=False, server_default=text("''")),
    Column("revision", Integer),  # of the policy that it made
    CheckConstraint(
        "state IN ('draft','open','approved','applied','denied','withdrawn','expired')",
        name="state",
    ),
)

# One word of each person on each text: a second click is the first.
request_votes = Table(
    "request_votes",
    metadata,
    Column("request_id", String(40), ForeignKey("requests.id"), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("by", String(63), primary_key=True),
    Column("approves", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # For which its approver was signed in; null is of before this was kept.
    Column("institution", String(120)),
)

request_events = Table(
    "request_events",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("request_id", String(40), ForeignKey("requests.id"), nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(120), nullable=False),
    Column("event", String(32), nullable=False),
    Column("text", Text, nullable=False),
)

# Written with what it tells of, taken by whoever sends; sent at least once, never lost.
notices = Table(
    "notices",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("recipient", String(63), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("body", Text, nullable=False),
    Column("link", String(200), nullable=False, server_default=text("''")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_at", UtcDateTime, nullable=False),
    Column("sent_at", UtcDateTime),
    Column("error", Text, nullable=False, server_default=text("''")),
    Index(
        "ix_notices_due",
        "next_at",
        sqlite_where=text("sent_at IS NULL"),
        postgresql_where=text("sent_at IS NULL"),
    ),
)
