"""renumber steps with idle runs.

Why: between the warning and the requeue comes the step that lends the lease (R18).
"""

from collections.abc import Sequence

from alembic import op

revision: str = "4b1c90e7d263"
down_revision: str | None = "c41e7f90ab53"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("UPDATE runs SET idle_step = idle_step + 1 WHERE idle_step >= 2")


def downgrade() -> None:
    op.execute("UPDATE runs SET idle_step = idle_step - 1 WHERE idle_step >= 2")
