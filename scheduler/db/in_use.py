"""What a policy must not forget: pools that runs hold, accounts whose jobs have not ended."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.lifecycle import JobState
from scheduler.core.policy import Policy
from scheduler.db.tables import jobs, runs
from scheduler.errors import Fault, Refused

MAX_NAMED = 10
_TERMINAL = [state.value for state in JobState if state.is_terminal]


@dataclass(frozen=True, slots=True)
class InUse:
    """Open runs by pool, and jobs that have not ended by account; ids in order."""

    runs_of_pool: Mapping[str, tuple[str, ...]]
    jobs_of_account: Mapping[str, tuple[str, ...]]


async def in_use(conn: AsyncConnection) -> InUse:
    """Return what is in use now."""
    open_runs = await conn.execute(
        select(runs.c.pool, runs.c.id).where(runs.c.ended_at.is_(None)).order_by(runs.c.id)
    )
    open_jobs = await conn.execute(
        select(jobs.c.account, jobs.c.id)
        .where(jobs.c.state.not_in(_TERMINAL))
        .order_by(jobs.c.sequence)
    )
    return InUse(_grouped(open_runs), _grouped(open_jobs))


def _grouped(pairs: Iterable[Row[str, str]]) -> Mapping[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        found[pair[0]].append(pair[1])
    return {name: tuple(members) for name, members in found.items()}


async def refuse_what_is_in_use(conn: AsyncConnection, new: Policy) -> None:
    """Let a new policy pass that keeps what runs and jobs refer to.

    Raises:
        Refused: it leaves out a pool with open runs, or an account with jobs.
    """
    faults = still_used(await in_use(conn), new)
    if faults:
        raise Refused(
            title="Policy refused",
            detail=f"{faults[0].field}: {faults[0].reason}",
            status=409,
            field=faults[0].field,
            next_step="Keep them until their jobs have ended, or cancel those jobs first.",
            faults=faults,
        )


def still_used(used: InUse, new: Policy) -> tuple[Fault, ...]:
    """Return what a new policy leaves out although runs or jobs refer to it, by name."""
    return (*_dropped_pools(used, new), *_dropped_accounts(used, new))


def _dropped_pools(used: InUse, new: Policy) -> tuple[Fault, ...]:
    kept = {str(pool.id) for pool in new.pools}
    return tuple(
        Fault(f"pools.{pool}", f"has open runs and cannot be left out: {_names(runs)}")
        for pool, runs in sorted(used.runs_of_pool.items())
        if pool not in kept
    )


def _dropped_accounts(used: InUse, new: Policy) -> tuple[Fault, ...]:
    parents = {account.parent for account in new.accounts}
    leaves = {str(account.name) for account in new.accounts if account.name not in parents}
    return tuple(
        Fault(
            f"accounts.{account}",
            f"has jobs that have not ended, so it must stay, and without children: {_names(jobs)}",
        )
        for account, jobs in sorted(used.jobs_of_account.items())
        if account not in leaves
    )


def _names(ids: tuple[str, ...]) -> str:
    shown = ", ".join(ids[:MAX_NAMED])
    return shown if len(ids) <= MAX_NAMED else f"{shown} and {len(ids) - MAX_NAMED} more"
