"""add lending of idle leases.

Why: background work may sit on GPUs that another run has leased and leaves idle (R18): leases
have a second layer, in which each GPU has one holder, like in the first.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "d92e57a0c418"
down_revision: str | None = "4b1c90e7d263"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:

    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("idle_from", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column("lent", sa.Boolean(), server_default=sa.text("(false)"), nullable=False)
        )
        batch_op.add_column(sa.Column("over", sa.String(length=80), nullable=True))
        batch_op.create_index(
            "ix_runs_over",
            ["over"],
            unique=False,
            sqlite_where=sa.text("over IS NOT NULL"),
            postgresql_where=sa.text("over IS NOT NULL"),
        )

    with op.batch_alter_table("lease_gpus", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("guest", sa.Boolean(), server_default=sa.text("(false)"), nullable=False)
        )

    with op.batch_alter_table("lease_gpus", schema=None) as batch_op:
        batch_op.drop_index("uq_lease_gpus_node_gpu")
        batch_op.create_index(
            "uq_lease_gpus_node_gpu_guest",
            ["node_id", "gpu", "guest"],
            unique=True,
            sqlite_where=sa.text("NOT draining"),
            postgresql_where=sa.text("NOT draining"),
        )

    with op.batch_alter_table("recalls", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("guest", sa.Boolean(), server_default=sa.text("(false)"), nullable=False)
        )


def downgrade() -> None:

    with op.batch_alter_table("recalls", schema=None) as batch_op:
        batch_op.drop_column("guest")

    with op.batch_alter_table("lease_gpus", schema=None) as batch_op:
        batch_op.drop_index("uq_lease_gpus_node_gpu_guest")
        batch_op.create_index(
            "uq_lease_gpus_node_gpu",
            ["node_id", "gpu"],
            unique=True,
            sqlite_where=sa.text("NOT draining"),
            postgresql_where=sa.text("NOT draining"),
        )

    with op.batch_alter_table("lease_gpus", schema=None) as batch_op:
        batch_op.drop_column("guest")

    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index("ix_runs_over")
        batch_op.drop_column("over")
        batch_op.drop_column("lent")
        batch_op.drop_column("idle_from")
