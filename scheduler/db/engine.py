"""One database, SQLite or PostgreSQL, behind two frames: `transaction` and `reading`.

On SQLite a writer takes the lock at once (BEGIN IMMEDIATE), because a transaction that
reads first and writes later would be refused in the middle. Writers of this process
queue on an asyncio lock, which is fairer and cheaper than SQLite's own busy wait.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Table, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from scheduler.db import migrate
from scheduler.errors import StorageUnavailable

_BUSY_SECONDS = 10
_POOL_SECONDS = 15
# Any constant does, as long as every hub of one database uses the same.
_MIGRATION_LOCK = 0x636F6D6D01

# sqlite3's primary result codes: the low byte of `sqlite_errorcode`.
_SQLITE_REASONS = {
    5: "the database is locked by another process",
    6: "the database is locked",
    8: "the database is read-only",
    10: "the disk reports an I/O error",
    11: "the database file is damaged",
    13: "the disk is full",
    14: "the database file cannot be opened",
    26: "the file is not a database",
}
# Classes of SQLSTATE in which the server refuses service, whatever the statement was.
_POSTGRES_REASONS = {
    "08": "the connection to PostgreSQL was lost",
    "25": "PostgreSQL is read-only",
    "40": "PostgreSQL undid the transaction because of another one: try again",
    "53": "PostgreSQL is out of disk, memory or connections",
    "57": "PostgreSQL is shutting down",
    "58": "PostgreSQL's machine reports an error",
}


class Database:
    """A pool of connections to one database. Nothing is opened before the first use."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.dialect = parsed.get_backend_name()
        self.engine = _sqlite(url) if self.dialect == "sqlite" else _postgres(url)
        self._writer = asyncio.Lock() if self.dialect == "sqlite" else None
        options: dict[str, Any] = (
            {"begin": "BEGIN"}
            if self.dialect == "sqlite"
            else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        )
        self._readers = self.engine.execution_options(**options)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a writing transaction; it commits when the block ends without an exception.

        Never nest two of them in one task: on SQLite the second waits for the first.

        Raises:
            StorageUnavailable: full disk, read-only or lost database; nothing was stored.
        """
        with _storage():
            if self._writer is None:
                async with self.engine.begin() as conn:
                    yield conn
            else:
                async with self._writer, self.engine.begin() as conn:
                    yield conn

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a consistent view: all that is read inside was true at one moment.

        Raises:
            StorageUnavailable: the database cannot be read.
        """
        with _storage():
            async with self._readers.begin() as conn:
                yield conn

    async def migrate(self) -> None:
        """Bring the tables to this program's version; hubs that start together take turns."""
        async with self.transaction() as conn:
            if self.dialect == "postgresql":
                await conn.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            await conn.run_sync(migrate.upgrade)

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


class _storage:  # noqa: N801  # used as a statement, in place of a function with a yield
    """Turn the driver's refusals into `StorageUnavailable`, with the reason in words."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        reason = _refusal(error)
        if reason:
            raise StorageUnavailable(f"{reason}; nothing was stored") from error


def _refusal(error: BaseException | None) -> str:
    """Return why storage refuses service, or nothing where the error is of another kind."""
    if isinstance(error, PoolTimeout):
        return f"no database connection became free within {_POOL_SECONDS} s"
    if isinstance(error, OSError):
        return f"the database cannot be reached ({error.strerror or error})"
    if not isinstance(error, DBAPIError):
        return ""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE_REASONS.get(code & 0xFF, "")
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return _POSTGRES_REASONS["08"] if error.connection_invalidated else _unreachable(error)
    return _POSTGRES_REASONS.get(state[:2], "")


def _unreachable(error: DBAPIError) -> str:
    # A connection that was never made has no SQLSTATE; a statement that failed has one.
    kind = type(error.orig).__name__
    return f"PostgreSQL cannot be reached ({error.orig})" if kind == "OperationalError" else ""


def _sqlite(url: str) -> AsyncEngine:
    engine = create_async_engine(
        url,
        connect_args={"timeout": _BUSY_SECONDS},
        pool_size=4,
        max_overflow=12,
        pool_timeout=_POOL_SECONDS,
        execution_options={"begin": "BEGIN IMMEDIATE"},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(dbapi: Any, record: object) -> None:  # noqa: ANN401  # the driver's connection
        del record
        # The driver must not begin transactions by itself: `begin` below says which kind.
        dbapi.isolation_level = None
        cursor = dbapi.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY_SECONDS * 1000}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(conn: Connection) -> None:
        conn.exec_driver_sql(conn.get_execution_options()["begin"])

    return engine


def _postgres(url: str) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=4,
        max_overflow=12,
        pool_timeout=_POOL_SECONDS,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10, "application_name": "commonpool"},
    )


def insert_into(conn: AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return the dialect's INSERT, the kind that knows ON CONFLICT."""
    if conn.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)
