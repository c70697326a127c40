"""The open runs of a site as its node agents need them: who has which GPUs, and until when."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.model import Backend, PoolId, Slot
from scheduler.core.policy import Policy
from scheduler.db.rows import RunRow, run_row
from scheduler.db.sites import uuids_of
from scheduler.db.tables import jobs, runs
from scheduler.fleet.launches import Member, Placed

_OPEN = (
    select(runs, jobs.c.entrypoint_options.label("job_options"))
    .join(jobs, jobs.c.id == runs.c.job_id)
    .where(runs.c.site == bindparam("site"), runs.c.ended_at.is_(None))
    .order_by(runs.c.id)
)


async def whose(conn: AsyncConnection, run_ids: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    """Return the account and the user of each of these runs, as far as they are known."""
    if not run_ids:
        return {}
    query = select(runs.c.id, jobs.c.account, jobs.c.user).join(jobs, jobs.c.id == runs.c.job_id)
    rows = await conn.execute(query.where(runs.c.id.in_(run_ids)))
    return {row.id: (row.account, row.user) for row in rows}


async def placed_runs(conn: AsyncConnection, site: str, policy: Policy) -> tuple[Placed, ...]:
    """Return the open runs of a site's pools with a Ray cluster per run."""
    private = {str(p.id) for p in policy.pools if p.backend is Backend.RAY_PRIVATE}
    rows = (await conn.execute(_OPEN, {"site": site})).mappings().all()
    found = [(run_row(row), row["job_options"]) for row in rows if row["pool"] in private]
    uuids = await uuids_of(conn, {slot.node for run, _ in found for slot in run.slots})
    placed = []
    for run, options in found:
        asked = math.ceil(options.get("num_cpus") or 0)
        members = tuple(
            Member(
                slot.node,
                tuple(uuids.get((slot.node, g), "") for g in slot.gpus),
                _cpus(slot, asked),
            )
            for slot in run.slots
        )
        placed.append(Placed(run.id, run.token, members, _ends(run, policy)))
    return tuple(placed)


def _cpus(slot: Slot, asked: int) -> int:
    """Return Ray's count of CPUs, as the site agent's launcher has it."""
    return max(len(slot.gpus) + 2, asked + len(slot.gpus))


def _ends(run: RunRow, policy: Policy) -> datetime:
    """Return when a run is over in any case; the watch takes it for lost only later than that."""
    notice = policy.notice(PoolId(run.pool), run.agreement)
    if run.started_at is not None:
        return run.ends_by + notice
    return run.bind_by + (run.ends_by - run.leased_at) + notice
