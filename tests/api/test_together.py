"""Who asks at once is answered by one look, and nobody by one that began before they asked."""

import asyncio

import pytest
from sqlalchemy import event

from scheduler.api.together import Together
from scheduler.errors import StorageUnavailable
from tests.api.test_nodes import report, send

MANY = 100


class Shelf:
    """Something that changes, and looks at it that take as long as a test wants."""

    def __init__(self):
        self.value, self.looks = 0, 0
        self.gate = asyncio.Event()

    async def look(self):
        self.looks += 1
        found = self.value
        await self.gate.wait()
        if found < 0:
            raise LookupError(found)
        return found


@pytest.fixture
def shelf():
    return Shelf()


async def settled():
    """Let every task that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_hundred_who_ask_at_once_cost_two_looks(shelf):
    shared = Together(shelf.look)
    first = asyncio.create_task(shared.ask())
    await settled()
    rest = [asyncio.create_task(shared.ask()) for _ in range(MANY - 1)]
    await settled()
    shelf.gate.set()
    assert await asyncio.gather(first, *rest) == [0] * MANY
    assert shelf.looks == 2


async def test_nobody_is_told_what_was_so_before_they_asked(shelf):
    shared = Together(shelf.look)
    early = asyncio.create_task(shared.ask())
    await settled()
    shelf.value = 1
    late = asyncio.create_task(shared.ask())
    await settled()
    shelf.gate.set()
    assert (await early, await late) == (0, 1)


async def test_what_goes_wrong_is_told_to_each_and_the_next_look_is_new(shelf):
    shared, shelf.value = Together(shelf.look), -1
    shelf.gate.set()
    told = await asyncio.gather(*(shared.ask() for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in told] == [LookupError] * 3
    shelf.value = 7
    assert await shared.ask() == 7


async def test_one_who_hangs_up_takes_nothing_from_the_others(shelf):
    shared = Together(shelf.look)
    gone, stays = asyncio.create_task(shared.ask()), asyncio.create_task(shared.ask())
    await settled()
    gone.cancel()
    await settled()
    shelf.gate.set()
    assert (await stays, gone.cancelled(), shelf.looks) == (0, True, 1)


async def test_a_look_that_fails_for_nobody_leaves_no_complaint(shelf):
    shared, shelf.value = Together(shelf.look), -1
    gone = asyncio.create_task(shared.ask())
    await settled()
    gone.cancel()
    shelf.gate.set()
    await settled()
    shelf.value = 3
    assert await shared.ask() == 3


@pytest.fixture
def asked(small):
    """Return what the database is asked from now on."""
    found, engine = [], small.hub.db.engine.sync_engine

    def note(_conn, _cursor, statement, *_):
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


async def test_a_hundred_reports_at_once_look_up_the_policy_twice_at_most(small, asked):
    assert (await send(small, report())).status_code == 200
    small.hub.pool_sites._known = None  # noqa: SLF001  # as when its seconds are over
    asked.clear()
    told = (report(sequence=2 + number) for number in range(MANY))
    answers = await asyncio.gather(*(send(small, one) for one in told))
    assert {answer.status_code for answer in answers} == {200}
    assert sum("FROM policies" in statement for statement in asked) <= 2


async def test_pools_stay_known_while_the_database_is_away(small, monkeypatch):
    assert (await send(small, report())).status_code == 200
    sites = small.hub.pool_sites
    sites._known = (float("-inf"), sites._known[1])  # noqa: SLF001  # as when its seconds are over

    async def away(_conn):
        raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(small.hub.policies, "current", away)
    answer = await send(small, report(sequence=2))
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)


async def test_launchers_that_report_at_once_have_the_open_runs_of_their_site_read_twice(
    small, asked
):
    def told(number, sequence):
        launcher = {"group": "cgroup", "launches": []}
        gpus = [{"index": i, "uuid": f"GPU-{number}-{i}", "model": "H100"} for i in range(8)]
        more = {"node": f"national-{number}", "launcher": launcher, "gpus": gpus}
        return send(small, report(sequence=sequence, **more))

    for number in range(1, 5):
        assert (await told(number, 1)).status_code == 200
    small.hub.launches.place("national", [], float("-inf"))  # as when its seconds are over
    asked.clear()
    answers = await asyncio.gather(
        *(told(1 + number % 4, 2 + number // 4) for number in range(MANY))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert sum("FROM runs" in statement and "after" in statement for statement in asked) <= 2
