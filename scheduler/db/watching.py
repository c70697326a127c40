"""What time alone changes: leases that nobody took up, sites that fell silent, limits.

A site that does not answer may still be running what it was given, so its GPUs stay
leased until the lease is over by the site's own clock, and a while longer (architecture
flow 7). Only then is a run lost, and its job started elsewhere.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.model import PoolId, RunState, StopReason
from scheduler.core.policy import Policy
from scheduler.db.ending import End, end_run, stop_run, waits_for_others
from scheduler.db.node_states import IS_OVER, over_times
from scheduler.db.nodes import note_nodes_of
from scheduler.db.outbox import JobNote, note_changes, write_history
from scheduler.db.rows import RunRow, run_row
from scheduler.db.tables import UtcDateTime, jobs, nodes, runs, sites


@dataclass(frozen=True, slots=True)
class Watch:
    """The instants that a round of watching goes by."""

    now: datetime
    site_lost: timedelta


@dataclass(frozen=True, slots=True)
class Watched:
    """What a round did to one run, in one word, and whom to tell."""

    what: str
    run: str
    job: str
    site: str


# Built once: these are asked every second, and building them costs more than answering.
_NOW = bindparam("now", type_=UtcDateTime())
_SILENT_SINCE = bindparam("silent_since", type_=UtcDateTime())
_STALE_SINCE = bindparam("stale_since", type_=UtcDateTime())
_IS_DUE = or_(
    and_(runs.c.started_at.is_(None), runs.c.bind_by < _NOW),
    runs.c.ends_by < _NOW,
    and_(
        sites.c.seen_at < _SILENT_SINCE,
        runs.c.state.not_in([RunState.STOPPING.value, RunState.UNKNOWN.value]),
    ),
)
_DUE_RUNS = (
    select(runs, sites.c.seen_at.label("site_seen_at"))
    .join(jobs, jobs.c.id == runs.c.job_id)
    .outerjoin(sites, sites.c.id == runs.c.site)
    .where(~runs.c.acknowledged, runs.c.ended_at.is_(None), _IS_DUE)
    # In the order of accounts, as in `record_sync`: two that settle never wait in a circle.
    .order_by(jobs.c.account, runs.c.id)
    .with_for_update(of=runs)
)
_OPEN = (~runs.c.acknowledged, runs.c.ended_at.is_(None))
_LOOK = select(
    select(runs.c.id).where(*_OPEN).exists().label("busy"),
    or_(
        select(runs.c.id)
        .outerjoin(sites, sites.c.id == runs.c.site)
        .where(*_OPEN, _IS_DUE)
        .exists(),
        select(nodes.c.id).where(nodes.c.usable, nodes.c.reported_at < _STALE_SINCE).exists(),
        select(nodes.c.id).where(IS_OVER).exists(),
        select(sites.c.id).where(~sites.c.silent, sites.c.seen_at < _SILENT_SINCE).exists(),
    ).label("due"),
)


def _times(watch: Watch) -> dict[str, datetime]:
    return {"now": watch.now, "silent_since": watch.now - watch.site_lost}


@dataclass(frozen=True, slots=True)
class Glance:
    """Whether any run is open, and whether a round of watching has anything to do."""

    busy: bool
    due: bool


async def glance(conn: AsyncConnection, watch: Watch, node_stale: timedelta) -> Glance:
    """Look in one statement: most of the time nothing is due."""
    times = {**_times(watch), **over_times(watch.now), "stale_since": watch.now - node_stale}
    row = (await conn.execute(_LOOK, times)).one()
    return Glance(busy=bool(row.busy), due=bool(row.due))


async def watch_runs(conn: AsyncConnection, policy: Policy, watch: Watch) -> list[Watched]:
    """Carry out what has come due; return what was done."""
    rows = (await conn.execute(_DUE_RUNS, _times(watch))).mappings().all()
    done = []
    for row in rows:
        run = run_row(row)
        if await waits_for_others(conn, run):
            continue
        due = _what_is_due(run, row["site_seen_at"], policy, watch)
        if due is None:
            continue
        await _carry_out(conn, run, due, watch.now)
        done.append(Watched(due.what, run.id, run.job_id, run.site))
    return done


@dataclass(frozen=True, slots=True)
class _Due:
    """What to do with a run: `end` it, or else tell it to stop, or else hold it as unknown."""

    what: str
    why: str
    end: RunState | None = None
    stop: StopReason | None = None


def _what_is_due(
    run: RunRow, site_seen_at: datetime | None, policy: Policy, watch: Watch
) -> _Due | None:
    """Decide on one run; `site_seen_at` None means that its site never called at all."""
    silent = site_seen_at is None or site_seen_at < watch.now - watch.site_lost
    spare = policy.notice(PoolId(run.pool), run.agreement) + watch.site_lost
    in_doubt = run.state is RunState.UNKNOWN or (run.state is RunState.STOPPING and silent)
    if run.seen_at is None and run.bind_by < watch.now and _heard(site_seen_at, run.bind_by):
        why = f"site {run.site} did not start it by {run.bind_by:%H:%M:%S} UTC"
        return _Due("unbound", why, end=RunState.LOST)
    if in_doubt and _lease_ends(run) + spare < watch.now:
        why = f"nothing was heard of it from site {run.site} until after its lease had ended"
        return _Due("lost", why, end=RunState.LOST)
    if run.state not in _LIVE or site_seen_at is None:
        return None
    if silent:
        why = f"site {run.site} is silent since {site_seen_at:%H:%M:%S} UTC; its GPUs stay leased"
        return _Due("unknown", why)
    return _overdue(run, watch.now, spare)


def _overdue(run: RunRow, now: datetime, spare: timedelta) -> _Due | None:
    """Decide on a run of a site that answers: the site keeps the limits, this is the backstop."""
    if run.started_at is None and run.bind_by < now:
        why = f"it did not begin to work by {run.bind_by:%H:%M:%S} UTC"
        return _Due("bind_expired", why, stop=StopReason.BIND_EXPIRED)
    if run.started_at is not None and run.ends_by + spare < now:
        return _Due("time_limit", "it is past its time limit", stop=StopReason.TIME_LIMIT)
    return None


_LIVE = frozenset({RunState.LEASED, RunState.STARTING, RunState.RUNNING})


def _heard(site_seen_at: datetime | None, instant: datetime) -> bool:
    """Return whether the site cannot have the run: it spoke later without it, or never spoke.

    A site that fell silent before may have started it, unheard.
    """
    return site_seen_at is None or site_seen_at >= instant


def _lease_ends(run: RunRow) -> datetime:
    """Return when even a site that began at the last moment has ended the run by itself."""
    if run.started_at is not None:
        return run.ends_by
    return run.bind_by + (run.ends_by - run.leased_at)


async def _carry_out(conn: AsyncConnection, run: RunRow, due: _Due, now: datetime) -> None:
    if due.end is not None:
        told = run.stop_reason or (StopReason.BIND_EXPIRED if due.what == "unbound" else None)
        ended = replace(run, stop_reason=told)
        await end_run(conn, ended, End(due.end, now, due.why), now)
        return
    if due.stop is not None:
        await stop_run(conn, run, due.stop, now)
    else:
        unknown = update(runs).where(runs.c.id == run.id)
        await conn.execute(unknown.values(state=RunState.UNKNOWN.value))
        await note_changes(conn, [("run", run.id)])
    await write_history(conn, [JobNote(run.job_id, now, due.what, due.why, run.id)])


async def mark_silent_sites(conn: AsyncConnection, watch: Watch) -> list[str]:
    """Note the sites whose agents fell silent: their nodes take no work until they speak."""
    since = watch.now - watch.site_lost
    silent = update(sites).where(~sites.c.silent, sites.c.seen_at < since)
    found = await conn.execute(silent.values(silent=True).returning(sites.c.id))
    names = sorted(found.scalars())
    await note_nodes_of(conn, names)
    return names
