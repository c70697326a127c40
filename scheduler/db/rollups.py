"""How busy GPUs were, written every five minutes in pieces, so that nobody waits for long.

By binary COPY on PostgreSQL, 21 times cheaper there than rows of parameters; by the
driver's own `executemany` on SQLite (notes/nvml_prometheus.md §4.3).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isnan
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.node_tables import gpu_rollups
from scheduler.db.tables import lease_gpus
from scheduler.fleet.use import GpuRollup

KEEP_DAYS = 35

_TYPES = {
    "at": "timestamptz",
    "node_id": "varchar",
    "gpu": "int4",
    "seconds": "int4",
    "reports": "int4",
    "run_id": "varchar",
    "sm_mean": "float8",
    "sm_most": "float8",
    "memory_most_mib": "float8",
    "watts_mean": "float8",
}


async def holders(conn: AsyncConnection) -> dict[tuple[str, int], str]:
    """Return whose lease each leased GPU is now."""
    query = select(lease_gpus.c.node_id, lease_gpus.c.gpu, lease_gpus.c.run_id)
    # A GPU that is handed over is still used by the run that drains, and one of an idle lease by
    # the guest that sits on it.
    rows = await conn.execute(query.order_by(lease_gpus.c.guest, lease_gpus.c.draining))
    return {(row.node_id, row.gpu): row.run_id for row in rows}


async def save_rollups(
    conn: AsyncConnection,
    rollups: Sequence[GpuRollup],
    held: Mapping[tuple[str, int], str],
    at: datetime,
) -> None:
    """Write rollups: a thousand or so, as another writer waits for as long as it takes.

    Each process writes what it heard. A node that speaks to several has a row of each, whose
    seconds add up to the time that passed.
    """
    rows = [_row(rollup, held.get((rollup.node, rollup.gpu)), at) for rollup in rollups]
    if not rows:
        return
    if conn.dialect.name == "postgresql":
        await _copy(conn, rows)
    else:
        await conn.exec_driver_sql(_INSERT, [(_sqlite_time(at), *rest) for at, *rest in rows])


# Past SQLAlchemy's parameters, which would cost more than the rows; its text of an instant.
_INSERT = f"INSERT INTO gpu_rollups ({', '.join(_TYPES)}) VALUES ({', '.join('?' * len(_TYPES))})"  # noqa: S608  # names of columns


def _sqlite_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _row(rollup: GpuRollup, run: str | None, at: datetime) -> tuple[Any, ...]:
    return (
        at,
        rollup.node,
        rollup.gpu,
        round(rollup.seconds),
        rollup.reports,
        run,
        _known(rollup.sm_mean),
        _known(rollup.sm_most),
        _known(rollup.memory_most_mib),
        _known(rollup.watts_mean),
    )


def _known(value: float) -> float | None:
    return None if isnan(value) else value


async def _copy(conn: AsyncConnection, rows: Sequence[tuple[Any, ...]]) -> None:
    raw = await conn.get_raw_connection()
    driver: Any = raw.driver_connection
    statement = f"COPY gpu_rollups ({', '.join(_TYPES)}) FROM STDIN (FORMAT BINARY)"
    async with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(list(_TYPES.values()))
        for row in rows:
            await copy.write_row(row)


async def prune_rollups(conn: AsyncConnection, before: datetime) -> None:
    """Drop what is older."""
    await conn.execute(delete(gpu_rollups).where(gpu_rollups.c.at < before))
