"""add loans.

Why: the sharing ledger says who lent what to whom. A run told that it was borrowed, and under
which agreement, but not whose GPUs it had, nor the sectors of both, which a later policy may
change. Runs that were leased before this revision are not in the ledger: who lent them was not
written down, and is not to be made up.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "b7c41e9d2f60"
down_revision: str | None = "b7d20c4e91fa"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "loans",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("run_id", sa.String(length=80), nullable=False),
        sa.Column("lender", sa.String(length=120), nullable=False),
        sa.Column("lender_institution", sa.String(length=120), nullable=False),
        sa.Column("lender_sector", sa.String(length=16), nullable=False),
        sa.Column("borrower", sa.String(length=120), nullable=False),
        sa.Column("borrower_institution", sa.String(length=120), nullable=False),
        sa.Column("borrower_sector", sa.String(length=16), nullable=False),
        sa.Column("tier", sa.String(length=16), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.CheckConstraint("gpus >= 1", name=op.f("ck_loans_gpus")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_loans_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_loans")),
        sa.UniqueConstraint("run_id", "lender", name=op.f("uq_loans_run_id_lender")),
    )


def downgrade() -> None:
    op.drop_table("loans")
