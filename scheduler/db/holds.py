"""Verdicts and planned starts, as the last cycle left them; only differences are written.

A hub's queue may have many verdicts, of which a cycle changes few. What was written is
remembered, so that neither the table is read nor an unchanged row written: a cycle that
changes nothing costs no SQL.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.decisions import Hold, Plan, Reserve
from scheduler.core.explain import Verdict
from scheduler.core.model import AccountName, Shape
from scheduler.db.rows import verdicts_json
from scheduler.db.shapes import shape_key, slots_json
from scheduler.db.tables import holds, reservations

Some = Mapping[AccountName, Sequence[Hold]]
"""All verdicts of some accounts' jobs."""

# An account's verdicts by shape and job; without job it is the group's.
_Told = Mapping[tuple[Shape, str | None], tuple[Verdict, ...]]
_Key = TypeVar("_Key")
_Said = TypeVar("_Said")
# Account, shape's key and job of a row; without job it is the group's.
_Row = tuple[str, str, str | None]

_ALIKE = (holds.c.account == bindparam("of"), holds.c.shape_key == bindparam("alike"))
_GROUP, _OWN = holds.c.job_id.is_(None), holds.c.job_id == bindparam("job")


class Told:
    """What the database tells people who wait, as far as it was written through this object.

    One belongs to whoever commits plans, for as long as nobody else does. `reset` it when a
    transaction in which it stored something did not commit, and when another process may have
    planned: then the next `store` reads what is there.
    """

    def __init__(self) -> None:
        self._holds: dict[str, _Told] | None = None
        # Rows that another process wrote, by account, until the account is told anew.
        self._found: dict[str, dict[_Row, Any]] = {}
        self._reserves: dict[str, Reserve] | None = None

    def reset(self) -> None:
        """Forget what was written."""
        self._holds = None
        self._found = {}
        self._reserves = None

    def says(self, some: Some) -> bool:
        """Return whether accounts were told exactly this; False where it is not known."""
        said = self._holds
        return said is not None and all(
            account not in self._found and said.get(account, {}) == _wanted(rows)
            for account, rows in some.items()
        )

    def accounts(self) -> Collection[str]:
        """Return who was told something."""
        return {*(self._holds or ()), *self._found}

    async def store(self, conn: AsyncConnection, plan: Plan, some: Some | None = None) -> None:
        """Make the stored verdicts and planned starts those of the plan.

        With `some`, only these accounts' verdicts are touched: all that each has, by account.
        `decided_at` of a verdict is when it last changed.
        """
        before, self._holds = self._holds, None
        if before is None:
            before, self._found = {}, await _stored(conn)
        if some is None:
            nothing = {AccountName(name): () for name in (*before, *self._found)}
            some = {**nothing, **by_account(plan.holds)}
        rows: _Changes[_Row] = _Changes([], [], [])
        said: dict[_Row, Any] = {}
        for account, holds_of_it in some.items():
            wanted = _wanted(holds_of_it)
            changes, words = self._changes_of(account, before.get(account), wanted)
            for all_of, these in zip(rows, changes, strict=True):
                all_of.extend(these)
            said.update(words)
            if wanted:
                before[account] = wanted
            else:
                before.pop(account, None)
        await _write(conn, rows, said, plan.now)
        self._holds = before
        await self._store_reserves(conn, plan)

    def _changes_of(
        self, account: str, before: _Told | None, wanted: _Told
    ) -> tuple["_Changes[_Row]", Mapping[_Row, Any]]:
        """Return an account's rows that are to change, and what they are to say."""
        if before is None:
            words = {_row(account, *key): verdicts_json(told) for key, told in wanted.items()}
            return _changes(self._found.pop(account, {}), words), words
        keys = _changes(before, wanted)
        rows = _Changes(*([_row(account, *key) for key in some] for some in keys))
        new = keys.changed + keys.new
        return rows, {_row(account, *key): verdicts_json(wanted[key]) for key in new}

    async def _store_reserves(self, conn: AsyncConnection, plan: Plan) -> None:
        wanted = {str(reserve.job): reserve for reserve in plan.reserves}
        before, self._reserves = self._reserves, None
        if before is None:
            await conn.execute(delete(reservations))
            before = {}
        changes = _changes(before, wanted)
        if changes.gone or changes.changed:
            outdated = delete(reservations).where(reservations.c.job_id == bindparam("job"))
            jobs = [{"job": job} for job in changes.gone + changes.changed]
            await conn.execute(outdated, jobs)
        if changes.changed or changes.new:
            rows = [_reservation(wanted[job]) for job in changes.changed + changes.new]
            await conn.execute(insert(reservations), rows)
        self._reserves = wanted


class _Changes(NamedTuple, Generic[_Key]):
    """What is to be deleted, written anew, and added."""

    gone: list[_Key]
    changed: list[_Key]
    new: list[_Key]


def _changes(before: Mapping[_Key, _Said], wanted: Mapping[_Key, _Said]) -> _Changes[_Key]:
    return _Changes(
        gone=[key for key in before if key not in wanted],
        changed=[key for key, said in wanted.items() if key in before and before[key] != said],
        new=[key for key in wanted if key not in before],
    )


def _row(account: str, shape: Shape, job: str | None) -> _Row:
    return account, shape_key(shape), job


def by_account(holds: Iterable[Hold]) -> dict[AccountName, list[Hold]]:
    """Return verdicts by account."""
    found: dict[AccountName, list[Hold]] = {}
    for hold in holds:
        found.setdefault(hold.account, []).append(hold)
    return found


def _wanted(some: Iterable[Hold]) -> _Told:
    return {(hold.shape, hold.job): hold.verdicts for hold in some}


async def _stored(conn: AsyncConnection) -> dict[str, dict[_Row, Any]]:
    query = select(holds.c.account, holds.c.shape_key, holds.c.job_id, holds.c.verdicts)
    found: dict[str, dict[_Row, Any]] = {}
    for row in await conn.execute(query):
        rows = found.setdefault(row.account, {})
        rows[row.account, row.shape_key, row.job_id] = row.verdicts
    return found


async def _write(
    conn: AsyncConnection, rows: _Changes[_Row], said: Mapping[_Row, Any], now: datetime
) -> None:
    for which, is_own in ((_GROUP, False), (_OWN, True)):
        gone = [_named(row) for row in rows.gone if (row[2] is not None) is is_own]
        changed = [
            {**_named(row), "verdicts": said[row], "decided_at": now}
            for row in rows.changed
            if (row[2] is not None) is is_own
        ]
        if gone:
            await conn.execute(delete(holds).where(*_ALIKE, which), gone)
        if changed:
            await conn.execute(update(holds).where(*_ALIKE, which), changed)
    if rows.new:
        new = [dict(zip(_COLUMNS, (*row, said[row], now), strict=True)) for row in rows.new]
        await conn.execute(insert(holds), new)


_COLUMNS = ("account", "shape_key", "job_id", "verdicts", "decided_at")


def _named(row: _Row) -> dict[str, Any]:
    account, alike, job = row
    return {"of": account, "alike": alike} | ({} if job is None else {"job": job})


def _reservation(reserve: Reserve) -> dict[str, Any]:
    return {
        "job_id": reserve.job,
        "pool": reserve.pool,
        "slots": slots_json(reserve.slots),
        "start_at": reserve.start_at,
    }
