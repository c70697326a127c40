"""add training of jobs.

Why: a job that would bring its model line to a threshold of training compute waits for
approvers (R17): jobs keep what they train, and a line's sum is one row that submissions add to.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "6f0b2d81c7e4"
down_revision: str | None = "7a4f0c26be91"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "model_lines",
        sa.Column("institution", sa.String(length=120), nullable=False),
        sa.Column("line", sa.String(length=63), nullable=False),
        sa.Column("pflop", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("pflop >= 0", name=op.f("ck_model_lines_pflop")),
        sa.PrimaryKeyConstraint("institution", "line", name=op.f("pk_model_lines")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("training", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("training")
    op.drop_table("model_lines")
