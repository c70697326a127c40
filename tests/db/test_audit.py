"""The audit log in a database: with what it records or not at all, one chain, append-only."""

import asyncio

import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DBAPIError

from scheduler.core.audit import Chain, Entry, Head, Who
from scheduler.db.audit import Wanted, head_of, list_rows, pieces, record, row_at
from scheduler.db.audit_tables import audit_head, audit_log, audit_objects
from scheduler.db.engine import Database
from scheduler.db.tokens import issue_token, list_tokens
from scheduler.errors import StorageUnavailable
from scheduler.wire.accounts import TokenRequest
from tests.build import MINUTE, NOON


def entry(number=1, **more):
    said = {"at": NOON, "who": Who("ann", "api", "t1"), "action": "node.drain"}
    return Entry(**said | {"object": f"node:n{number}"} | more)


async def chain_of(db):
    chain = Chain(Head())
    async with db.reading() as conn:
        async for piece in pieces(conn):
            assert chain.follow(piece) is None
        assert chain.ends(await head_of(conn)) is None
    return chain


async def issue_audited(db, *, dies=False):
    async with db.transaction() as conn:
        await issue_token(conn, TokenRequest(subject="ann", scope="user"), NOON)
        await record(conn, [entry()])
        if dies:
            raise RuntimeError("the hub dies here")


async def test_rows_come_back_as_they_were_sealed(db):
    many = [entry(n, at=NOON + n * MINUTE, after={"é": "\x00"}, reason="naïve") for n in range(5)]
    async with db.transaction() as conn:
        await record(conn, many[:2])
    async with db.transaction() as conn:
        await record(conn, many[2:])
    assert (await chain_of(db)).count == 5


async def test_a_change_that_is_undone_leaves_no_row_and_no_gap(db):
    with pytest.raises(RuntimeError):
        await issue_audited(db, dies=True)
    async with db.transaction() as conn:
        assert await list_tokens(conn) == ()
        assert await head_of(conn) == Head()
        await record(conn, [entry()])
    assert (await chain_of(db)).head.sequence == 1


async def test_writers_at_once_make_one_chain(db):
    hubs = [Database(db.engine.url.render_as_string(hide_password=False)) for _ in range(4)]

    async def write(hub, many):
        for number in range(many):
            async with hub.transaction() as conn:
                await record(conn, [entry(number), entry(number)])

    await asyncio.gather(*(write(hub, 5) for hub in hubs for _ in range(2)))
    for hub in hubs:
        await hub.close()
    chain = await chain_of(db)
    assert (chain.count, chain.head.sequence) == (80, 80)


CHANGES = [
    pytest.param(update(audit_log).values(actor="eve"), id="a row is changed"),
    pytest.param(delete(audit_log), id="a row is taken out"),
    pytest.param(delete(audit_objects), id="what a row is about is taken out"),
    pytest.param(update(audit_objects).values(object="job:other"), id="or is changed"),
    pytest.param(delete(audit_head), id="the head is taken out"),
    pytest.param(update(audit_head).values(sequence=0), id="the head is set back"),
]


@pytest.mark.parametrize("change", CHANGES)
async def test_the_database_itself_refuses_to_change_the_log(db, change):
    async with db.transaction() as conn:
        await record(conn, [entry(about=("job:j1",))])
    with pytest.raises(DBAPIError, match="append-only"):
        async with db.transaction() as conn:
            await conn.execute(change)
    assert (await chain_of(db)).count == 1


async def test_postgresql_refuses_to_empty_the_log(db):
    if db.dialect == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    for table in (audit_log, audit_objects, audit_head):
        with pytest.raises(DBAPIError, match="append-only"):
            async with db.transaction() as conn:
                await conn.execute(text(f"TRUNCATE {table.name}"))


async def test_without_a_head_nothing_is_done_that_should_be_recorded(db):
    async with db.transaction() as conn:
        trigger = "audit_head_no_delete"
        at = "" if db.dialect == "sqlite" else " ON audit_head"
        await conn.execute(text(f"DROP TRIGGER {trigger}{at}"))
        await conn.execute(delete(audit_head))
    with pytest.raises(StorageUnavailable, match="lost its head"):
        await issue_audited(db)
    async with db.reading() as conn:
        assert await list_tokens(conn) == ()


async def test_rows_are_found_by_who_what_object_decision_and_time(db):
    by = Who("bob", "api", on_behalf_of="ann")
    async with db.transaction() as conn:
        await record(
            conn,
            [
                entry(1),
                entry(2, who=by, action="job.cancel", object="job:j1"),
                entry(3, action="plan.commit", decision="d1", about=("job:j1", "run:cp-j1-1")),
                entry(4, at=NOON + MINUTE, action="node.resume", who=Who("eve", "api")),
            ],
        )

    async def found(**wanted):
        async with db.reading() as conn:
            rows = await list_rows(conn, Wanted(**wanted), None, 10)
        return [row.sequence for row in rows]

    assert await found() == [4, 3, 2, 1]
    assert await found(actor="ann") == [3, 2, 1], "also what was done on her behalf"
    assert await found(action="node.") == [4, 1]
    assert await found(action="node.drain") == [1]
    assert await found(object="job:j1") == [3, 2]
    assert await found(object="run:cp-j1-1") == [3]
    assert await found(decision="d1") == [3]
    assert await found(since=NOON + MINUTE) == [4]
    assert await found(until=NOON + MINUTE) == [3, 2, 1]
    async with db.reading() as conn:
        page = await list_rows(conn, Wanted(), 4, 2)
        assert [row.sequence for row in page] == [3, 2]
        assert await row_at(conn, 9) is None
