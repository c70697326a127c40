"""Many small writes, one durable commit: whoever waits while one commit syncs shares the next.

A commit costs a sync of the disk, however little it writes. While one is under way the
items of other requests gather, and go into one transaction together. Nobody is answered
before the commit that holds their item is durable, and nothing ever waits for company.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.engine import Database
from scheduler.errors import StorageUnavailable

MAX_GROUP = 64

Item = TypeVar("Item")
Result = TypeVar("Result")

Store = Callable[[AsyncConnection, Sequence[Item]], Awaitable[Sequence[Result | Exception]]]
"""Stores items in one transaction; an item that is refused is answered by its exception."""


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    store: Store[Item, Result]
    done: asyncio.Future[Result]


class GroupCommit(Generic[Item, Result]):
    """Stores items of one kind in shared transactions of one database, first come, first in."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: deque[_Entry[Item, Result]] = deque()
        self._draining: asyncio.Task[None] | None = None

    async def put(self, item: Item, store: Store[Item, Result]) -> Result:
        """Return what `store` answered for the item, once it is committed.

        A group is stored by the `store` of its first item, so all must bring the same. A
        caller that is cancelled leaves its item in the group: it is committed or not, as
        with any commit whose answer was lost.
        """
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        entry = _Entry(item, store, done)
        self._waiting.append(entry)
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        return await done

    async def settle(self) -> None:
        """Wait until all that was put is committed, also what nobody waits for any more."""
        if self._draining is not None:
            await asyncio.wait([self._draining])

    async def _drain(self) -> None:
        while self._waiting:
            size = min(len(self._waiting), MAX_GROUP)
            group = [self._waiting.popleft() for _ in range(size)]
            waiting = [entry for entry in group if not entry.done.done()]
            try:
                if waiting:
                    await self._commit(waiting)
            except BaseException:
                # Shutdown: to those who wait this must not look like their own cancellation.
                _fail([*group, *self._waiting], StorageUnavailable("the hub is stopping"))
                self._waiting.clear()
                raise

    async def _commit(self, group: Sequence[_Entry[Item, Result]]) -> None:
        try:
            async with self._db.transaction() as conn:
                answers = await group[0].store(conn, [entry.item for entry in group])
        except StorageUnavailable as error:
            _fail(group, error)
        except Exception as error:  # noqa: BLE001  # each waiter is told; none may wait for ever
            await self._apart(group, error)
        else:
            for entry, answer in zip(group, answers, strict=True):
                _answer(entry, answer)

    async def _apart(self, group: Sequence[_Entry[Item, Result]], error: Exception) -> None:
        """Commit one by one after a fault, so that it meets only the item that made it."""
        if len(group) == 1:
            _fail(group, error)
            return
        for entry in group:
            await self._commit([entry])


def _answer(entry: _Entry[Item, Result], answer: Result | Exception) -> None:
    if entry.done.done():
        return
    if isinstance(answer, Exception):
        entry.done.set_exception(answer)
    else:
        entry.done.set_result(answer)


def _fail(group: Sequence[_Entry[Item, Result]], error: Exception) -> None:
    for entry in group:
        _answer(entry, error)
