"""Many small writes in one commit: each caller is told the truth about its own."""

import asyncio

import pytest
from sqlalchemy import insert, select

from scheduler.api.group_commit import GroupCommit
from scheduler.db.tables import outbox
from scheduler.errors import Refused, StorageUnavailable


class Writer:
    """Stores keys in the outbox; `bad` ones are refused, `broken` ones break the transaction."""

    def __init__(self, db):
        self.db = db
        self.group = GroupCommit(db)
        self.sizes = []

    async def store(self, conn, keys):
        self.sizes.append(len(keys))
        if "full" in keys:
            raise StorageUnavailable("the disk is full")
        good = [key for key in keys if key != "bad"]
        if good:
            await conn.execute(insert(outbox), [{"kind": "job", "key": key} for key in good])
        if "broken" in keys:
            raise ZeroDivisionError(keys)
        return [Refused("no", key) if key == "bad" else key.upper() for key in keys]

    async def put(self, key):
        return await self.group.put(key, self.store)

    async def all(self, *keys):
        return await asyncio.gather(*(self.put(key) for key in keys), return_exceptions=True)

    async def stored(self):
        async with self.db.reading() as conn:
            return sorted((await conn.execute(select(outbox.c.key))).scalars())


@pytest.fixture
async def writer(db):
    found = Writer(db)
    yield found
    await found.group.settle()


async def test_what_comes_at_once_is_stored_in_one_commit_and_answered_each_for_itself(writer):
    assert await writer.all(*"abcdefgh") == list("ABCDEFGH")
    assert await writer.stored() == list("abcdefgh")
    assert len(writer.sizes) <= 2


async def test_one_alone_waits_for_nobody(writer):
    async with asyncio.timeout(5):
        assert await writer.put("a") == "A"


async def test_who_is_answered_finds_it_stored(writer):
    async def put_and_look(key):
        await writer.put(key)
        assert key in await writer.stored()

    await asyncio.gather(*(put_and_look(key) for key in "abcdefgh"))


async def test_a_refused_one_leaves_the_others_alone(writer):
    answers = await writer.all("a", "bad", "b")
    assert (answers[0], answers[2]) == ("A", "B")
    assert isinstance(answers[1], Refused)
    assert await writer.stored() == ["a", "b"]


async def test_a_fault_meets_only_the_one_that_made_it(writer):
    answers = await writer.all("a", "broken", "b")
    assert (answers[0], answers[2]) == ("A", "B")
    assert isinstance(answers[1], ZeroDivisionError)
    assert await writer.stored() == ["a", "b"]


async def test_full_storage_is_told_to_all_of_the_group_and_not_tried_again(writer):
    answers = await writer.all("a", "full", "b")
    assert all(isinstance(answer, StorageUnavailable) for answer in answers)
    assert await writer.stored() == []
    assert len(writer.sizes) == 1
    assert await writer.put("c") == "C", "the next one is tried"


async def test_a_caller_that_goes_away_hurts_nobody(writer):
    gone = asyncio.create_task(writer.put("gone"))
    staying = asyncio.create_task(writer.put("stays"))
    await asyncio.sleep(0)
    gone.cancel()
    assert await staying == "STAYS"
    assert "stays" in await writer.stored()


async def test_a_hub_that_stops_leaves_nobody_waiting(writer):
    begun = asyncio.Event()

    async def hang(conn, keys):
        del conn, keys
        begun.set()
        await asyncio.Event().wait()

    waiting = [asyncio.create_task(writer.group.put(key, hang)) for key in "ab"]
    await begun.wait()
    late = asyncio.create_task(writer.put("late"))
    await asyncio.sleep(0)
    for task in asyncio.all_tasks():
        if task.get_coro().__name__ == "_drain":
            task.cancel()
    answers = await asyncio.gather(*waiting, late, return_exceptions=True)
    assert all(isinstance(answer, StorageUnavailable) for answer in answers)
    assert await writer.stored() == []
