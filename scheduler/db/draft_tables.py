"""What people have begun to fill in and not sent yet, beside what they have sent."""

from sqlalchemy import Column, String, Table, Text

from scheduler.db.tables import UtcDateTime, metadata

# One per person and page; the content is the page's own, as JSON text, and nobody else reads it.
drafts = Table(
    "drafts",
    metadata,
    Column("user", String(63), primary_key=True),
    Column("page", String(63), primary_key=True),
    Column("content", Text, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)
