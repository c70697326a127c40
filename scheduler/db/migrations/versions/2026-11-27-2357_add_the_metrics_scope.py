"""add the metrics scope.

Why: Prometheus reads what the hub counts, and is to have no token that can do anything else.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "b7d1c0a94e26"
down_revision: str | None = "5b1f0c7d9e24"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _allow("scope IN ('user','site','node','metrics','admin')")


def downgrade() -> None:
    op.execute("DELETE FROM tokens WHERE scope = 'metrics'")
    _allow("scope IN ('user','site','node','admin')")


def _allow(rule: str) -> None:
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_tokens_scope"), type_="check")
        batch_op.create_check_constraint(op.f("ck_tokens_scope"), rule)
