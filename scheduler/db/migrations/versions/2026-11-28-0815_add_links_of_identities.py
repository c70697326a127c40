"""add links of identities.

Why: a person whom two issuers know is one user, if they say so signed in at both: such an identity
says since when, and a link that was begun is kept until it is taken, once. Personal tokens, and the
questions of command lines, keep by which issuer their maker was signed in, so that they end with
that identity; those of before keep none, and end by themselves.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from scheduler.db.tables import UtcDateTime

revision: str = "c7a2f0588e14"
down_revision: str | None = "b1d47e90c2a5"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "identity_links",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("session", sa.String(length=16), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_identity_links")),
    )
    with op.batch_alter_table("identity_links", schema=None) as batch_op:
        batch_op.create_index("ix_identity_links_ends_at", ["ends_at"], unique=False)
    with op.batch_alter_table("identities", schema=None) as batch_op:
        batch_op.add_column(sa.Column("linked_at", UtcDateTime(), nullable=True))
    for table in ("personal_tokens", "device_codes"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("iss", sa.String(length=255), nullable=True))


def downgrade() -> None:
    for table in ("device_codes", "personal_tokens"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("iss")
    with op.batch_alter_table("identities", schema=None) as batch_op:
        batch_op.drop_column("linked_at")
    op.drop_table("identity_links")
