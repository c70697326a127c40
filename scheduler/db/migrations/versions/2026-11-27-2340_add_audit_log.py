"""add audit log.

Why: who did what, for whom and why, in rows that the database lets nobody change.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "3c1f9a7e52d4"
down_revision: str | None = "2ff30128541d"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_CLOSED = ("audit_log", "audit_objects")


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("sequence", _KEY, autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("on_behalf_of", sa.String(length=120), nullable=False),
        sa.Column("session", sa.String(length=80), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(length=200), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decision", sa.String(length=64), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_at"), "audit_log", ["at"])
    for column in ("actor", "action", "object"):
        op.create_index(f"ix_audit_log_{column}", "audit_log", [column, "sequence"])
    op.create_table(
        "audit_objects",
        sa.Column("object", sa.String(length=200), nullable=False),
        sa.Column("sequence", _KEY, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("object", "sequence", name=op.f("pk_audit_objects")),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", _KEY, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.bulk_insert(head, [{"id": 1, "sequence": 0, "hash": "0" * 64}])
    for statement in _sqlite() if op.get_bind().dialect.name == "sqlite" else _postgres():
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("audit_head")
    op.drop_table("audit_objects")
    op.drop_table("audit_log")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_is_append_only()")


def _sqlite() -> Sequence[str]:
    refuse = "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    made = [
        f"CREATE TRIGGER {table}_no_{word} BEFORE {word} ON {table} {refuse}"
        for table in _CLOSED
        for word in ("update", "delete")
    ]
    made.append(f"CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head {refuse}")
    made.append(
        "CREATE TRIGGER audit_head_forward BEFORE UPDATE ON audit_head "
        f"WHEN NEW.sequence <= OLD.sequence {refuse}"
    )
    return made


def _postgres() -> Sequence[str]:
    call = "EXECUTE FUNCTION audit_is_append_only()"
    made = {
        f"{table}_no_change": f"BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW {call}"
        for table in _CLOSED
    }
    made |= {
        f"{table}_no_truncate": f"BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {call}"
        for table in (*_CLOSED, "audit_head")
    }
    made |= {
        "audit_head_no_delete": f"BEFORE DELETE ON audit_head FOR EACH ROW {call}",
        "audit_head_forward": "BEFORE UPDATE ON audit_head FOR EACH ROW "
        f"WHEN (NEW.sequence <= OLD.sequence) {call}",
    }
    function = (
        "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
    )
    return [function, *(f"CREATE TRIGGER {name} {said}" for name, said in made.items())]
