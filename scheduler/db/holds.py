"""Verdicts and planned starts, as the last cycle left them; only differences are written."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.decisions import Plan
from scheduler.db.rows import verdicts_json
from scheduler.db.shapes import shape_key, slots_json
from scheduler.db.tables import holds, reservations


async def replace_holds(conn: AsyncConnection, plan: Plan) -> None:
    """Make the stored verdicts those of the plan. `decided_at` is when one last changed."""
    wanted = {
        (hold.account, shape_key(hold.shape), hold.job): verdicts_json(hold.verdicts)
        for hold in plan.holds
    }
    stored = {
        (row.account, row.shape_key, row.job_id): row for row in await conn.execute(select(holds))
    }
    gone = [row.id for key, row in stored.items() if key not in wanted]
    changed = [
        (stored[key].id, verdicts)
        for key, verdicts in wanted.items()
        if key in stored and stored[key].verdicts != verdicts
    ]
    new = [(key, verdicts) for key, verdicts in wanted.items() if key not in stored]
    if gone:
        await conn.execute(delete(holds).where(holds.c.id.in_(gone)))
    for hold_id, verdicts in changed:
        statement = update(holds).where(holds.c.id == hold_id)
        await conn.execute(statement.values(verdicts=verdicts, decided_at=plan.now))
    if new:
        await conn.execute(
            insert(holds),
            [
                {
                    "account": account,
                    "shape_key": shape,
                    "job_id": job,
                    "verdicts": verdicts,
                    "decided_at": plan.now,
                }
                for (account, shape, job), verdicts in new
            ],
        )


async def replace_reservations(conn: AsyncConnection, plan: Plan) -> None:
    """Make the stored planned starts those of the plan."""
    wanted: Mapping[str, dict[str, Any]] = {
        reserve.job: {
            "job_id": reserve.job,
            "pool": reserve.pool,
            "slots": slots_json(reserve.slots),
            "start_at": reserve.start_at,
        }
        for reserve in plan.reserves
    }
    rows = (await conn.execute(select(reservations))).mappings()
    stored = {row["job_id"]: dict(row) for row in rows}
    outdated = [job for job, row in stored.items() if wanted.get(job) != row]
    new = [row for job, row in wanted.items() if stored.get(job) != row]
    if outdated:
        await conn.execute(delete(reservations).where(reservations.c.job_id.in_(outdated)))
    if new:
        await conn.execute(insert(reservations), new)
