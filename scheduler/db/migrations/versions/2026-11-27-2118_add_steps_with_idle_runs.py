"""add steps with idle runs.

Why: each step with a run whose GPUs do nothing is taken once, also over a hub's restart (R18).
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "ea53a2dc73fd"
down_revision: str | None = "a07aa04d9fad"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:

    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("idle_step", sa.Integer(), server_default=sa.text("0"), nullable=False)
        )


def downgrade() -> None:

    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("idle_step")
