"""Verdicts and planned starts, as the last cycle left them; only differences are written.

A hub's queue may have many verdicts, of which a cycle changes few. What was written is
remembered, so that neither the table is read nor an unchanged row written: a cycle that
changes nothing costs no SQL.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.decisions import Plan, Reserve
from scheduler.core.explain import Verdict
from scheduler.core.model import Shape
from scheduler.db.rows import verdicts_json
from scheduler.db.shapes import shape_key, slots_json
from scheduler.db.tables import holds, reservations

_Hold = tuple[str, Shape, str | None]
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
        self._holds: Mapping[_Hold, tuple[Verdict, ...]] | None = None
        self._reserves: dict[str, Reserve] | None = None

    def reset(self) -> None:
        """Forget what was written."""
        self._holds = None
        self._reserves = None

    async def store(self, conn: AsyncConnection, plan: Plan) -> None:
        """Make the stored verdicts and planned starts those of the plan.

        `decided_at` of a verdict is when it last changed.
        """
        wanted: Mapping[_Hold, tuple[Verdict, ...]] = {
            (hold.account, hold.shape, hold.job): hold.verdicts for hold in plan.holds
        }
        before, self._holds = self._holds, None
        if before is None:
            said = {_row(*key): verdicts_json(verdicts) for key, verdicts in wanted.items()}
            rows = _changes(await _stored(conn), said)
        else:
            changes = _changes(before, wanted)
            said = {_row(*key): verdicts_json(wanted[key]) for key in changes.changed + changes.new}
            rows = _Changes(*([_row(*key) for key in keys] for keys in changes))
        await _write(conn, rows, said, plan.now)
        self._holds = wanted
        await self._store_reserves(conn, plan)

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


async def _stored(conn: AsyncConnection) -> Mapping[_Row, Any]:
    query = select(holds.c.account, holds.c.shape_key, holds.c.job_id, holds.c.verdicts)
    rows = await conn.execute(query)
    return {(row.account, row.shape_key, row.job_id): row.verdicts for row in rows}


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
