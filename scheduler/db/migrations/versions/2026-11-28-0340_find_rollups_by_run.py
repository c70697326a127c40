"""find rollups by run.

Why: a job's page shows what its GPUs did, and the table holds 35 days of every GPU.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "7a4f0c26be91"
down_revision: str | None = "d92e57a0c418"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:

    op.create_index(
        "ix_gpu_rollups_run_id",
        "gpu_rollups",
        ["run_id"],
        unique=False,
        sqlite_where=sa.text("run_id IS NOT NULL"),
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )


def downgrade() -> None:

    op.drop_index(
        "ix_gpu_rollups_run_id",
        table_name="gpu_rollups",
        sqlite_where=sa.text("run_id IS NOT NULL"),
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )
