"""add drafts.

Why: what a person has begun to fill in survives a closed tab, a restart and another replica.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "5b1f0c7d9e24"
down_revision: str | None = "b7c41e9d2f60"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "drafts",
        sa.Column("user", sa.String(length=63), nullable=False),
        sa.Column("page", sa.String(length=63), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user", "page", name=op.f("pk_drafts")),
    )


def downgrade() -> None:
    op.drop_table("drafts")
