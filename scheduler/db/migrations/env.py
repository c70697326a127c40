"""Runs migrations on the connection that `scheduler.db.migrate` hands over."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext

from scheduler.db import audit_tables as _audit_tables  # noqa: F401  # they register themselves
from scheduler.db import draft_tables as _draft_tables  # noqa: F401  # as above
from scheduler.db import identity_tables as _identity_tables  # noqa: F401  # as above
from scheduler.db import ledger_tables as _ledger_tables  # noqa: F401  # as above
from scheduler.db import node_tables as _node_tables  # noqa: F401  # as above
from scheduler.db import recall_tables as _recall_tables  # noqa: F401  # as above
from scheduler.db import request_tables as _request_tables  # noqa: F401  # as above
from scheduler.db import training_tables as _training_tables  # noqa: F401  # as above
from scheduler.db.tables import UtcDateTime, metadata


def render(kind: str, thing: Any, autogen: AutogenContext) -> str | Literal[False]:  # noqa: ANN401
    """Write our column type as what it is in the database: migrations import nothing of ours."""
    del autogen
    if kind == "type" and isinstance(thing, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def run() -> None:
    connection: sa.Connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot alter a table in place, so Alembic copies it.
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=render,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
