"""bind personal tokens to institutions.

Why: a session of somebody who belongs to two institutions is for one of them, and a token that it
made was for both. A token now carries the institution of the session that made it, and so does the
question of a command line between its answer and its token. Tokens of before keep none: for whom
they were made is not known, and they end within 90 days.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "5c8e1f7a9b36"
down_revision: str | None = "6f0b2d81c7e4"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for table in ("personal_tokens", "device_codes"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("institution", sa.String(length=120), nullable=True))


def downgrade() -> None:
    for table in ("device_codes", "personal_tokens"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("institution")
