"""Idle leases as rows: lent, taken back, and left to whoever sits on them (R18).

Guests of a lease that is taken back are told to leave with their own notice, and each is a
recall that the table of recalls holds the hub to: over when it has left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.idleness import Step
from scheduler.core.lifecycle import JobState
from scheduler.core.model import PoolId, Run, StopReason
from scheduler.core.policy import Policy
from scheduler.db.outbox import JobNote, note_changes, write_history
from scheduler.db.recall_tables import recalls
from scheduler.db.rows import RunRow, run_row
from scheduler.db.shapes import slots_of
from scheduler.db.tables import jobs, lease_gpus, runs
from scheduler.errors import Refused

Gpu = tuple[str, int]


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A lease that is lent no more: who was told to leave, the last of them by when."""

    host: RunRow
    guests: tuple[RunRow, ...]
    by: datetime | None

    def __str__(self) -> str:
        """Say what becomes of the guests."""
        if self.by is None:
            return "its lease is lent no more, and nobody was on it"
        last = f"the background work on it ends by {self.by:%H:%M:%S} UTC"
        return f"its lease is lent no more: {last}"

    @property
    def jobs(self) -> frozenset[str]:
        """Return the jobs of which something has changed."""
        return frozenset({self.host.job_id, *(guest.job_id for guest in self.guests)})


_IS_OPEN = (~runs.c.acknowledged, runs.c.ended_at.is_(None))


async def is_any_lent(conn: AsyncConnection) -> bool:
    """Return whether the lease of any run is lent."""
    query = select(runs.c.id).where(*_IS_OPEN, runs.c.lent).limit(1)
    return (await conn.execute(query)).first() is not None


async def lend(conn: AsyncConnection, run: str, since: datetime) -> None:
    """Let background work sit on a run's GPUs, which have done nothing since then."""
    changed = update(runs).where(runs.c.id == run, runs.c.ended_at.is_(None))
    await conn.execute(changed.values(idle_step=int(Step.LEND), idle_from=since, lent=True))
    await note_changes(conn, [("run", run)])


async def take_back(
    conn: AsyncConnection, run: str, why: str, now: datetime, policy: Policy
) -> TakenBack | None:
    """Lend a run's lease no more, and tell whoever sits on it to leave by its notice.

    Its idleness counts anew from now. `why` is told to the guests. None: it is not lent.
    """
    # Together and in order of ids, as a commit of a plan does: so nobody waits in a circle.
    found = await _open(conn, or_(runs.c.id == run, runs.c.over == run))
    host = next((one for one in found if one.id == run and one.lent), None)
    if host is None:
        return None
    changed = update(runs).where(runs.c.id == run)
    again = {"idle_from": now, "lent": False, "idle_step": int(Step.NONE)}
    await conn.execute(changed.values(**again))
    await note_changes(conn, [("run", run)])
    told = [guest for guest in found if guest.over == run and guest.stop_reason is None]
    stops = {guest.id: now + policy.notice(PoolId(guest.pool), guest.agreement) for guest in told}
    for guest in told:
        await _tell(conn, guest, stops[guest.id], why, now)
    if told:
        await _record(conn, host, stops, now, policy)
    return TakenBack(host, tuple(told), max(stops.values(), default=None))


async def _open(conn: AsyncConnection, *where: ColumnElement[bool]) -> list[RunRow]:
    query = select(runs).where(*_IS_OPEN, *where)
    found = await conn.execute(query.order_by(runs.c.id).with_for_update())
    return [run_row(row) for row in found.mappings()]


async def _tell(
    conn: AsyncConnection, guest: RunRow, by: datetime, why: str, now: datetime
) -> None:
    # It drains from now on: the host's GPUs may be leased to others who then wait for it too.
    told = {"state": "stopping", "stop_reason": StopReason.RECALLED.value}
    changed = update(runs).where(runs.c.id == guest.id, runs.c.ended_at.is_(None))
    await conn.execute(changed.values(**told, stop_at=by, draining=True))
    leased = update(lease_gpus).where(lease_gpus.c.run_id == guest.id)
    await conn.execute(leased.values(draining=True))
    stopping = update(jobs).where(jobs.c.id == guest.job_id)
    await conn.execute(stopping.values(state=JobState.STOPPING.value))
    await note_changes(conn, [("run", guest.id)])
    sentence = f"recalled: checkpoint by {by:%H:%M:%S} UTC ({why})"
    note = JobNote(guest.job_id, now, StopReason.RECALLED.value, sentence, guest.id)
    await write_history(conn, [note])


async def _record(
    conn: AsyncConnection,
    host: RunRow,
    stops: dict[str, datetime],
    now: datetime,
    policy: Policy,
) -> None:
    owner = select(jobs.c.account).where(jobs.c.id == host.job_id)
    lender = (await conn.execute(owner)).scalar_one()
    rows = [
        {
            "run_id": guest,
            "lender": lender,
            "pool": host.pool,
            "decided_at": now,
            "notice_seconds": (by - now).total_seconds(),
            "promised_seconds": (by - now + policy.rules.teardown).total_seconds(),
            "guest": True,
        }
        for guest, by in stops.items()
    ]
    await conn.execute(insert(recalls), rows)


async def recall_by_word(
    conn: AsyncConnection, job: str, by: str, now: datetime, policy: Policy
) -> TakenBack:
    """Take an idle job's lease back at its owner's word.

    Raises:
        Refused: nothing of the job is lent.
    """
    query = (
        select(runs.c.id, jobs.c.account)
        .join(jobs, jobs.c.id == runs.c.job_id)
        .where(runs.c.job_id == job, *_IS_OPEN, runs.c.lent)
    )
    found = (await conn.execute(query)).one_or_none()
    taken = None
    if found is not None:
        why = f"{found.account} takes back the idle lease that it sat on"
        taken = await take_back(conn, found.id, why, now, policy)
    if taken is None:
        raise Refused(
            title="Nothing to take back",
            detail=f"no lease of job {job} is lent",
            status=409,
            field="job",
            value=job,
            next_step="`commonpool explain` shows whether background work sits on its GPUs",
        )
    note = JobNote(job, now, "lease_recalled", f"taken back by {by}: {taken}", taken.host.id)
    await write_history(conn, [note])
    return taken


async def let_stay(conn: AsyncConnection, host: RunRow, at: datetime) -> None:
    """Leave an ended run's GPUs to its guests: plain background work from now on.

    Called once the host's own hold on them is gone. See `core.lending.left_alone`. That its lease
    is lent no more is no recall (R10), since its owner took nothing back; both histories tell.
    """
    if host.idle_from is None:
        return  # Its lease was never lent.
    guests = await _open(conn, runs.c.over == host.id)
    if not guests:
        return
    ids = [guest.id for guest in guests]
    drain = {"draining": True} if host.draining else {}
    await conn.execute(
        update(lease_gpus).where(lease_gpus.c.run_id.in_(ids)).values(guest=False, **drain)
    )
    await conn.execute(update(runs).where(runs.c.id.in_(ids)).values(over=None, **drain))
    await note_changes(conn, [("run", guest) for guest in ids])
    await write_history(conn, _lending_ended(host, guests, at))


def _lending_ended(host: RunRow, guests: Sequence[RunRow], at: datetime) -> list[JobNote]:
    notes = []
    for guest in guests:
        leaves = host.draining or guest.stop_reason is not None
        what = "leaves with it" if leaves else "stays there as plain background work"
        said = f"it has ended: the background work on {_gpus(guest.gpus)} of it {what}"
        notes.append(JobNote(host.job_id, at, "lending_ended", said, host.id))
        told = f"the run that it sat on has ended, and took nothing back: it {what}"
        notes.append(JobNote(guest.job_id, at, "lending_ended", told, guest.id))
    return notes


async def say_goodbye(conn: AsyncConnection, guest: RunRow, now: datetime) -> None:
    """Tell a host that somebody has left its GPUs."""
    if guest.over is None:
        return
    query = (
        select(runs.c.job_id, runs.c.id)
        .where(runs.c.id == guest.over, runs.c.ended_at.is_(None))
        .limit(1)
    )
    host = (await conn.execute(query)).one_or_none()
    if host is not None:
        sentence = f"background work has left {_gpus(guest.gpus)} of it"
        await write_history(conn, [JobNote(host.job_id, now, "guest_left", sentence, host.id)])


def seated(host: Run, guest: Run, now: datetime) -> JobNote:
    """Tell a host who sits on its GPUs now."""
    sentence = (
        f"background work of {guest.account} sits on {_gpus(guest.gpus)} of it, "
        "and leaves when they are used again"
    )
    return JobNote(host.job, now, "guest_started", sentence, host.id)


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


async def visited(
    conn: AsyncConnection, hosts: Sequence[str], since: datetime
) -> dict[Gpu, datetime]:
    """Return when a guest last came to each GPU of these runs, began to work there, or left.

    Whoever left before `since` is left out.
    """
    if not hosts:
        return {}
    columns = (runs.c.slots, runs.c.leased_at, runs.c.started_at, runs.c.ended_at)
    there = or_(runs.c.ended_at.is_(None), runs.c.ended_at >= since)
    query = select(*columns).where(runs.c.over.in_(hosts), there)
    found: dict[Gpu, datetime] = {}
    for row in await conn.execute(query):
        at = max(when for when in (row.leased_at, row.started_at, row.ended_at) if when)
        for slot in slots_of(row.slots):
            for gpu in slot.gpus:
                found[slot.node, gpu] = max(at, found.get((slot.node, gpu), at))
    return found
