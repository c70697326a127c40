"""add recalls of owners.

Why: how long owners wait for what they lent is published per lender (scheduling.md R10). A
run tells when it began to work, but not what was promised when its GPUs were taken back.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "8d2f6b1e94a7"
down_revision: str | None = "5e61f0a2d7c8"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "recalls",
        sa.Column("run_id", sa.String(length=80), nullable=False),
        sa.Column("lender", sa.String(length=120), nullable=False),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("notice_seconds", sa.Float(), nullable=False),
        sa.Column("promised_seconds", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_recalls_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_recalls")),
    )
    with op.batch_alter_table("recalls", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_recalls_decided_at"), ["decided_at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("recalls", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_recalls_decided_at"))
    op.drop_table("recalls")
