import asyncio
import sqlite3
from threading import enumerate as enumerate_threads

import pytest
from sqlalchemy import select, text

from scheduler.db import migrate
from scheduler.db.engine import Database
from scheduler.db.outbox import note_changes
from scheduler.db.planning import load_snapshot
from scheduler.db.tables import outbox
from scheduler.errors import StorageUnavailable
from tests import build
from tests.db.store import store
from tests.waiting import eventually

FIRST = "4436c0c06e65"


async def test_tables_and_migrations_have_not_drifted(db):
    async with db.transaction() as conn:
        await conn.run_sync(migrate.check)


async def test_migrating_twice_changes_nothing(db):
    await db.migrate()
    async with db.transaction() as conn:
        await conn.run_sync(migrate.check)


async def test_every_migration_goes_down_and_up_again(db):
    async with db.transaction() as conn:
        await conn.run_sync(migrate.downgrade, "base")
    async with db.transaction() as conn:
        await conn.run_sync(migrate.upgrade)
        await conn.run_sync(migrate.check)


async def test_each_migration_alone_goes_down_and_up_again(db):
    async with db.transaction() as conn:
        revisions = [each.revision for each in await conn.run_sync(migrate.history)]
        for below in [*revisions[1:], "base"]:
            await conn.run_sync(migrate.downgrade, below)
            await conn.run_sync(migrate.upgrade)
            await conn.run_sync(migrate.check)


async def test_jobs_of_the_first_release_wait_on_with_what_came_later_left_out(db):
    job = build.job("j1", gpus=2, gpu_models=frozenset({"H100"}))
    policy = build.policy()
    async with db.transaction() as conn:
        await store(conn, build.snapshot(job), policy)
        await conn.run_sync(migrate.downgrade, FIRST)
        await conn.run_sync(migrate.upgrade)
        assert (await load_snapshot(conn, policy)).jobs == {"j1": job}


async def test_a_block_that_fails_leaves_nothing(db):
    async def fail():
        async with db.transaction() as conn:
            await note_changes(conn, [("job", "j1")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with db.reading() as conn:
        assert (await conn.execute(select(outbox))).all() == []


async def test_sixteen_writers_at_once_all_commit(db):
    async def write(number):
        async with db.transaction() as conn:
            await note_changes(conn, [("job", f"j{number}")])

    await asyncio.gather(*(write(number) for number in range(16)))
    async with db.reading() as conn:
        keys = (await conn.execute(select(outbox.c.key))).scalars().all()
    assert sorted(keys) == sorted(f"j{number}" for number in range(16))


async def test_reading_sees_one_moment_while_others_write(db):
    async with db.reading() as conn:
        before = (await conn.execute(select(outbox))).all()
        async with db.transaction() as writer:
            await note_changes(writer, [("job", "j1")])
        assert (await conn.execute(select(outbox))).all() == before == []


async def test_a_write_under_reading_is_refused_or_harmless_on_postgresql(db):
    if db.dialect == "sqlite":
        pytest.skip("SQLite's reader becomes a writer when it has to")
    with pytest.raises(StorageUnavailable, match="read-only"):
        async with db.reading() as conn:
            await note_changes(conn, [("job", "j1")])


async def test_sqlite_is_durable_and_checks_foreign_keys(tmp_path):
    db = Database(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}")
    async with db.transaction() as conn:
        values = {
            name: (await conn.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    await db.close()
    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


async def test_a_full_disk_is_told_as_such_and_leaves_nothing(tmp_path):
    db = Database(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}")
    await db.migrate()

    async def fill():
        async with db.transaction() as conn:
            # SQLite's own way to be full: no page may be added.
            pages = (await conn.execute(text("PRAGMA page_count"))).scalar_one()
            await conn.execute(text(f"PRAGMA max_page_count={pages}"))
            await note_changes(conn, [("job", f"{number:080}") for number in range(1000)])

    with pytest.raises(StorageUnavailable, match="the disk is full; nothing was stored"):
        await fill()
    async with db.reading() as conn:
        assert (await conn.execute(select(outbox))).all() == []
    await db.close()


async def test_a_read_only_database_is_told_as_such(tmp_path):
    db = Database(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}")
    await db.migrate()

    async def write():
        async with db.transaction() as conn:
            await conn.execute(text("PRAGMA query_only=ON"))
            await note_changes(conn, [("job", "j1")])

    with pytest.raises(StorageUnavailable, match="the database is read-only"):
        await write()
    await db.close()


async def test_a_locked_database_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr("scheduler.db.engine._BUSY_SECONDS", 0.05)
    file = tmp_path / "hub.db"
    db = Database(f"sqlite+aiosqlite:///{file}")
    await db.migrate()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked by another process"):
        async with db.transaction() as conn:
            await note_changes(conn, [("job", "j1")])
    other.execute("ROLLBACK")
    other.close()
    async with db.transaction() as conn:
        await note_changes(conn, [("job", "j1")])
    await db.close()


async def test_a_folder_that_is_not_there_is_told_as_such(tmp_path):
    db = Database(f"sqlite+aiosqlite:///{tmp_path / 'missing' / 'hub.db'}")
    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        async with db.reading():
            pass
    await db.close()
    # aiosqlite's thread says good-bye to the loop, which must still be there.
    await eventually(lambda: not any("_connection_worker" in t.name for t in enumerate_threads()))


async def test_a_server_that_is_not_there_is_told_as_such(tmp_path):
    db = Database(f"postgresql+psycopg://postgres@/hub?host={tmp_path}")
    with pytest.raises(StorageUnavailable, match="PostgreSQL cannot be reached"):
        async with db.reading():
            pass
    await db.close()
