"""Many small writes, one durable commit: whoever waits while one commit syncs shares the next.

A commit costs a sync of the disk, however little it writes. While one is under way the
work of other requests gathers, and goes into one transaction, each piece under its own
savepoint, so that one that fails undoes only itself. Nobody is answered before the
commit that holds their work is durable. Nothing ever waits for company.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.engine import Database

MAX_GROUP = 64

Work = Callable[[AsyncConnection], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class _Entry:
    work: Work
    done: asyncio.Future[object]


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: object = None
    error: Exception | None = None


class GroupCommit:
    """Runs work in shared transactions of one database, first come, first in."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: deque[_Entry] = deque()
        self._draining: asyncio.Task[None] | None = None

    async def run(self, work: Work) -> object:
        """Return what `work` returned, once it is committed.

        `work` may run in a savepoint beside others' and must not commit. A caller that is
        cancelled leaves its work in the group: it is committed or not, as with any commit
        whose answer was lost.
        """
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(work, done))
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        return await done

    async def _drain(self) -> None:
        while self._waiting:
            size = min(len(self._waiting), MAX_GROUP)
            group = [self._waiting.popleft() for _ in range(size)]
            await self._commit([entry for entry in group if not entry.done.cancelled()])

    async def _commit(self, group: list[_Entry]) -> None:
        try:
            async with self._db.transaction() as conn:
                outcomes = [await _attempt(conn, entry.work) for entry in group]
        except BaseException as error:
            for entry in group:
                if not entry.done.done():
                    entry.done.set_exception(_for_waiters(error))
            if not isinstance(error, Exception):
                raise
            return
        for entry, outcome in zip(group, outcomes, strict=True):
            _answer(entry.done, outcome)


async def _attempt(conn: AsyncConnection, work: Work) -> _Outcome:
    try:
        async with conn.begin_nested():
            return _Outcome(value=await work(conn))
    except Exception as error:
        if conn.invalidated or not conn.in_transaction():
            raise
        return _Outcome(error=error)


def _answer(done: asyncio.Future[object], outcome: _Outcome) -> None:
    if done.done():
        return
    if outcome.error is not None:
        done.set_exception(outcome.error)
    else:
        done.set_result(outcome.value)


def _for_waiters(error: BaseException) -> BaseException:
    # A cancelled drain (shutdown) must not look to the waiters like their own cancellation.
    if isinstance(error, asyncio.CancelledError):
        return ConnectionAbortedError("the hub is stopping; nothing was stored")
    return error
