"""Tables of who signed in: identities and their links, sessions, tokens, command lines that ask.

No secret is in them: of each there is the SHA-256. Refresh tokens are not kept at all, since
nothing is asked of an issuer after the sign-in, and a session ends at its absolute limit.
"""

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    Index,
    String,
    Table,
    UniqueConstraint,
)

from scheduler.db.tables import UtcDateTime, metadata

# A person as an issuer knows them: (iss, sub) is the key, never a name or an address.
identities = Table(
    "identities",
    metadata,
    Column("iss", String(255), primary_key=True),
    Column("sub", String(255), primary_key=True),
    Column("issuer", String(31), nullable=False),
    Column("user", String(63), nullable=False, index=True),
    Column("sector", String(16), nullable=False),
    Column("institution", String(120), nullable=False),
    Column("teams", JSON, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("assurance", String(200), nullable=False),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("verified_at", UtcDateTime, nullable=False),
    # By its person, signed in at another issuer; null where the claims named the user.
    Column("linked_at", UtcDateTime),
    # One issuer knows a user once: a second subject with the same name is somebody else.
    UniqueConstraint("iss", "user"),
)

# Somebody left for an issuer to link what they are there; taken once, by the same session.
identity_links = Table(
    "identity_links",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("session", String(16), nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Index("ix_identity_links_ends_at", "ends_at"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("user", String(63), nullable=False),
    Column("iss", String(255), nullable=False),
    Column("sub", String(255), nullable=False),
    Column("issuer", String(31), nullable=False),
    Column("sector", String(16), nullable=False),
    Column("institution", String(120), nullable=False),
    Column("assurance", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("auth_time", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("user_agent", String(200), nullable=False),
    Column("revoked_at", UtcDateTime),
    Column("revoked_by", String(120)),
    Index("ix_sessions_user_created_at", "user", "created_at"),
    Index("ix_sessions_ends_at", "ends_at"),
)

personal_tokens = Table(
    "personal_tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("user", String(63), nullable=False, index=True),
    Column("name", String(100), nullable=False),
    Column("powers", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    # Of the session that made it; a token made by a token has that one's.
    Column("institution", String(120)),
    Column("iss", String(255)),
)

# Command lines that asked to be signed in (RFC 8628), until they are answered.
device_codes = Table(
    "device_codes",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("user_code", String(9), nullable=False, unique=True),
    Column("client", String(100), nullable=False),
    Column("powers", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("polled_at", UtcDateTime),
    Column("decision", String(8)),
    Column("user", String(63)),
    Column("institution", String(120)),
    Column("iss", String(255)),
    CheckConstraint("decision IN ('approved','denied')", name="decision"),
    Index("ix_device_codes_expires_at", "expires_at"),
)
