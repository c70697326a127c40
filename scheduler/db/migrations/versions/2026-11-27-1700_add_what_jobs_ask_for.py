"""add what jobs ask for.

Why: jobs may ask for memory, H100-equivalents, software and a reservation (R7, R15), and
carry a name by which their run time is predicted. Jobs that wait already ask for none.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "8d2f1a6c4b09"
down_revision: str | None = "4436c0c06e65"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        for name in ("memory_gib", "h100e"):
            batch_op.add_column(
                sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False)
            )
        batch_op.add_column(
            sa.Column("software", sa.JSON(), server_default=sa.text("'[]'"), nullable=False)
        )
        batch_op.add_column(sa.Column("reservation", sa.String(length=120), nullable=True))
        batch_op.add_column(
            sa.Column("name", sa.String(length=200), server_default=sa.text("''"), nullable=False)
        )
        batch_op.add_column(sa.Column("predicted_seconds", sa.Integer(), nullable=True))
        batch_op.create_index(
            "ix_jobs_reservation",
            ["reservation"],
            unique=False,
            sqlite_where=sa.text("reservation IS NOT NULL"),
            postgresql_where=sa.text("reservation IS NOT NULL"),
        )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_runs_ended",
            ["ended_at"],
            unique=False,
            sqlite_where=sa.text("ended_at IS NOT NULL"),
            postgresql_where=sa.text("ended_at IS NOT NULL"),
        )


def downgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index("ix_runs_ended")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_reservation")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        for name in (
            "predicted_seconds",
            "name",
            "reservation",
            "software",
            "h100e",
            "memory_gib",
        ):
            batch_op.drop_column(name)
