"""add totals of budgets.

Why: budgets (R4), no-shows of reservations (R7) and the hourly bound on preemption by share
(R9) go by what happened, which a hub must know after a restart. No earlier policy had any
of them, so there is nothing to move.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "c3b75e90d214"
down_revision: str | None = "8d2f1a6c4b09"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "budget_totals",
        sa.Column("budget", sa.String(length=120), nullable=False),
        sa.Column("milli_h100e_seconds", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("budget", name=op.f("pk_budget_totals")),
    )
    op.create_table(
        "reservation_claims",
        sa.Column("reservation", sa.String(length=120), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("reservation", name=op.f("pk_reservation_claims")),
    )
    op.create_table(
        "turnovers",
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("pool", name=op.f("pk_turnovers")),
    )


def downgrade() -> None:
    op.drop_table("turnovers")
    op.drop_table("reservation_claims")
    op.drop_table("budget_totals")
