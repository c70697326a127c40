"""add institutions to words on requests.

Why: a session is for one institution, and a decision taken in it counts by the roles that this one
gave, for ever: not by a role in another that the approver happens to have when it is counted again.
Words of before keep none, and count by all roles of their approvers, as they did.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "b1d47e90c2a5"
down_revision: str | None = "5c8e1f7a9b36"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("request_votes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("institution", sa.String(length=120), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("request_votes", schema=None) as batch_op:
        batch_op.drop_column("institution")
