"""find jobs by state.

Why: whoever asked for those of their jobs that wait, or run, had every job of theirs read: few
jobs are in such a state, and most have ended.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "8d41f6c02be7"
down_revision: str | None = "c7a2f0588e14"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("ix_jobs_state", ["state", "user", "sequence"])


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_state")
