"""Every test of this room runs on both databases: SQLite in a file, PostgreSQL for real."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import event

from scheduler.db.engine import Database

BOTH = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres),
]


@dataclass
class Templates:
    """A migrated database to copy: migrating anew for each test would take most of the time."""

    postgres: str = ""
    sqlite: bytes = b""


@pytest.fixture(scope="session")
def templates() -> Templates:
    return Templates()


@pytest.fixture(params=BOTH)
async def db(request, tmp_path, templates) -> AsyncIterator[Database]:
    """A migrated, empty database."""
    if request.param == "sqlite":
        async for database in _sqlite(tmp_path, templates):
            yield database
        return
    server = request.getfixturevalue("postgres_server")
    if not templates.postgres:
        templates.postgres = server.create()
        first = Database(server.url(templates.postgres))
        await first.migrate()
        await first.close()
    name = server.create(templates.postgres)
    database = Database(server.url(name))
    yield database
    await database.close()
    server.drop(name)


async def _sqlite(tmp_path, templates) -> AsyncIterator[Database]:
    file = tmp_path / "hub.db"
    if templates.sqlite:
        file.write_bytes(templates.sqlite)
    database = Database(f"sqlite+aiosqlite:///{file}")
    if not templates.sqlite:
        await database.migrate()
        await database.close()
        templates.sqlite = file.read_bytes()
        database = Database(f"sqlite+aiosqlite:///{file}")

    @event.listens_for(database.engine.sync_engine, "connect")
    def hurry(dbapi, record):
        """A test's database need not survive a power cut, and waiting for disks takes minutes."""
        del record
        dbapi.cursor().execute("PRAGMA synchronous=OFF")

    yield database
    await database.close()
