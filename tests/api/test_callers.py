"""Who is behind a secret is looked up once for all who ask at the same moment."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from scheduler.api.callers import KEEP_SECONDS, Callers
from scheduler.db.tokens import find_token, revoke_token


class Counted:
    """A database that counts who reads, and lets them in when told."""

    def __init__(self, db):
        self.db = db
        self.reads = 0
        self.begun = asyncio.Event()
        self.open = asyncio.Event()

    @asynccontextmanager
    async def reading(self):
        self.reads += 1
        self.begun.set()
        await self.open.wait()
        async with self.db.reading() as conn:
            yield conn

    def transaction(self):
        return self.db.transaction()


@pytest.fixture
async def asked(small):
    """Callers over a counted database, and a token."""
    database = Counted(small.hub.db)
    callers = Callers(database, small.clock)
    token = (await small.token("national", "node")).token
    yield callers, database, token, small
    database.open.set()
    await callers.settle()


def all_at_once(callers, token, people):
    return [asyncio.create_task(callers.token(token)) for _ in range(people)]


async def test_a_hundred_requests_of_one_token_cost_one_query(asked):
    callers, database, token, _ = asked
    requests = all_at_once(callers, token, 100)
    await database.begun.wait()
    database.open.set()
    assert {row.subject for row in await asyncio.gather(*requests)} == {"national"}
    assert database.reads == 1


async def test_and_one_more_query_when_it_is_due_again(asked):
    callers, database, token, house = asked
    database.open.set()
    await callers.token(token)
    house.clock.later(KEEP_SECONDS)
    await asyncio.gather(*all_at_once(callers, token, 100))
    assert database.reads == 2


async def test_a_caller_that_hangs_up_does_not_take_the_others_answer_along(asked):
    callers, database, token, _ = asked
    first, *others = all_at_once(callers, token, 3)
    await database.begun.wait()
    first.cancel()
    database.open.set()
    assert all(await asyncio.gather(*others))
    assert first.cancelled()


async def test_what_was_looked_up_before_a_revocation_is_not_kept_after_it(asked):
    callers, database, token, house = asked
    (early,) = all_at_once(callers, token, 1)
    await database.begun.wait()
    async with house.hub.db.transaction() as conn:
        row = await find_token(conn, token, house.clock.now())
    callers.forget_all()
    database.open.set()
    assert await early, "asked for before it was revoked"
    async with house.hub.db.transaction() as conn:
        assert await revoke_token(conn, row.id, house.clock.now())
    assert await callers.token(token) is None


async def test_an_unknown_secret_is_looked_up_each_time(asked):
    callers, database, token, _ = asked
    database.open.set()
    for _ in range(2):
        assert await callers.token(token[:-4] + "0000") is None
    assert database.reads == 2
