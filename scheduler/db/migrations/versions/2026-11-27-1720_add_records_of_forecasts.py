"""add records of forecasts.

Why: a start time that people are told is worth what its hit rate is (scheduling.md §5), so
the first forecast of each job is kept until it has started, and for some days after.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "5e61f0a2d7c8"
down_revision: str | None = "c3b75e90d214"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "eta_records",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("low_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("likely_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("high_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("hit", sa.Boolean(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_eta_records_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_eta_records")),
    )
    with op.batch_alter_table("eta_records", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_eta_records_made_at"), ["made_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_eta_records_started_at"), ["started_at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("eta_records", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_eta_records_started_at"))
        batch_op.drop_index(batch_op.f("ix_eta_records_made_at"))
    op.drop_table("eta_records")
