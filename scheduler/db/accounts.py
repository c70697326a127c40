"""Pools and accounts as people look at them: what is free, who uses what, whose turn it is."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from math import log

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.hardware import H100E
from scheduler.core.lifecycle import JobState
from scheduler.core.model import Account, Pool, Quota, QuotaClass
from scheduler.core.policy import Policy
from scheduler.db.loading import reported_nodes
from scheduler.db.tables import jobs, lease_gpus, runs, usage, usage_intervals
from scheduler.wire.accounts import AccountView, PoolView, QuotaView

_OPEN = (~runs.c.acknowledged, runs.c.ended_at.is_(None))


async def pool_views(conn: AsyncConnection, policy: Policy, now: datetime) -> tuple[PoolView, ...]:
    """Return every pool of the policy as it stands. Draining runs count for nobody.

    A GPU counts once, for whoever has it leased: guests are left out (R18).
    """
    del now
    machines = await _machines(conn)
    used = (
        await conn.execute(
            select(runs.c.pool, jobs.c.account, runs.c.quota_class, func.sum(runs.c.gpus))
            .join(jobs, jobs.c.id == runs.c.job_id)
            .where(*_OPEN, ~runs.c.draining, runs.c.over.is_(None))
            .group_by(runs.c.pool, jobs.c.account, runs.c.quota_class)
        )
    ).all()
    lineage = _lineage(policy)
    views = []
    for pool in policy.pools:
        by_class: dict[int, int] = defaultdict(int)
        by_account: dict[str, int] = defaultdict(int)
        for _, account, quota_class, gpus in (row for row in used if row.pool == pool.id):
            by_class[quota_class] += gpus
            for ancestor in lineage.get(account, (account,)):
                by_account[ancestor] += gpus
        views.append(_pool_view(policy, pool, machines[pool.id], (by_class, by_account)))
    return tuple(views)


class _Machines:
    """What a pool's nodes add up to."""

    up = 0
    free = 0
    simulated = False


async def _machines(conn: AsyncConnection) -> Mapping[str, _Machines]:
    taken = {(row.node_id, row.gpu) for row in await conn.execute(select(lease_gpus))}
    found: defaultdict[str, _Machines] = defaultdict(_Machines)
    for node in (await reported_nodes(conn)).values():
        pool = found[node.pool]
        pool.simulated |= node.simulated
        healthy = [gpu.index for gpu in node.gpus if gpu.healthy] if node.usable else []
        pool.up += len(healthy)
        pool.free += sum((node.id, index) not in taken for index in healthy)
    return found


def _pool_view(
    policy: Policy,
    pool: Pool,
    machines: _Machines,
    used: tuple[Mapping[int, int], Mapping[str, int]],
) -> PoolView:
    by_class, by_account = used
    return PoolView(
        pool=pool.id,
        site=pool.site,
        tier=pool.tier,
        owner=pool.owner,
        gpu_model=pool.gpu_model,
        gpus_per_node=pool.gpus_per_node,
        backend=pool.backend,
        labels=tuple(sorted(pool.labels)),
        capacity=pool.capacity,
        up=machines.up,
        free=machines.free,
        in_quota=by_class.get(QuotaClass.IN_QUOTA, 0),
        borrowed=by_class.get(QuotaClass.BORROWED, 0),
        background=by_class.get(QuotaClass.BACKGROUND, 0),
        simulated=machines.simulated,
        quotas=tuple(
            QuotaView(
                account=quota.account,
                nominal=quota.nominal,
                lend_max=quota.lend_max,
                borrow_max=quota.borrow_max,
                used=by_account.get(quota.account, 0),
            )
            for quota in _quotas(policy, pool)
        ),
    )


def _quotas(policy: Policy, pool: Pool) -> Iterable[Quota]:
    """Return a pool's quotas, its owner's first, who has all of it without a row (R1)."""
    yield Quota(pool.owner, pool.id, pool.capacity, pool.capacity, 0)
    yield from (quota for quota in policy.quotas if quota.pool == pool.id)


def _lineage(policy: Policy) -> Mapping[str, tuple[str, ...]]:
    """Return every account with its ancestors, itself first."""
    parents = {account.name: account.parent for account in policy.accounts}

    def chain(name: str) -> Iterable[str]:
        at: str | None = name
        while at is not None:
            yield at
            at = parents.get(at)  # type: ignore[call-overload]  # NewType is a str at run time

    return {name: tuple(chain(name)) for name in parents}


async def account_views(
    conn: AsyncConnection, policy: Policy, now: datetime
) -> tuple[AccountView, ...]:
    """Return every account with the sums of its subtree. Usage includes running leases (R3)."""
    lineage = _lineage(policy)
    spent = _rolled_up(await _balances(conn, policy, now), lineage)
    running = _rolled_up(
        await _sums(
            conn,
            select(jobs.c.account, func.sum(runs.c.gpus))
            .join(jobs, jobs.c.id == runs.c.job_id)
            .where(*_OPEN)
            .group_by(jobs.c.account),
        ),
        lineage,
    )
    waiting = _rolled_up(
        await _sums(
            conn,
            select(jobs.c.account, func.count())
            .where(jobs.c.state == JobState.PENDING.value)
            .group_by(jobs.c.account),
        ),
        lineage,
    )
    return tuple(
        _account_view(account, spent, running, waiting)
        for account in sorted(policy.accounts, key=lambda account: account.name)
    )


def _account_view(
    account: Account,
    spent: Mapping[str, float],
    running: Mapping[str, float],
    waiting: Mapping[str, float],
) -> AccountView:
    used = spent.get(account.name, 0.0)
    return AccountView(
        account=account.name,
        parent=account.parent,
        sector=account.sector,
        weight=account.weight,
        h100e_seconds=used,
        share=used / account.weight,
        running_gpus=int(running.get(account.name, 0)),
        pending_jobs=int(waiting.get(account.name, 0)),
    )


async def _balances(conn: AsyncConnection, policy: Policy, now: datetime) -> dict[str, float]:
    """Return each leaf's usage at `now`: what was settled, faded, and what still runs."""
    half_life = policy.rules.half_life.total_seconds()
    found: defaultdict[str, float] = defaultdict(float)
    for row in await conn.execute(select(usage)):
        age = max(0.0, (now - row.as_of).total_seconds())
        found[row.account] += row.h100e_seconds * 0.5 ** (age / half_life)
    running = (
        select(
            usage_intervals.c.account,
            usage_intervals.c.gpus,
            usage_intervals.c.factor,
            usage_intervals.c.started_at,
        )
        .join(runs, runs.c.id == usage_intervals.c.run_id)
        .where(*_OPEN, runs.c.quota_class != QuotaClass.BACKGROUND.value)
    )
    for row in await conn.execute(running):
        lasted = max(0.0, (now - row.started_at).total_seconds())
        settled = half_life / log(2) * (1 - 0.5 ** (lasted / half_life))
        found[row.account] += row.gpus * row.factor / H100E * settled
    return found


async def _sums(conn: AsyncConnection, query: Select[str, int]) -> dict[str, float]:
    return {row[0]: float(row[1]) for row in await conn.execute(query)}


def _rolled_up(
    leaves: Mapping[str, float], lineage: Mapping[str, tuple[str, ...]]
) -> dict[str, float]:
    """Add every account's own amount to all its ancestors."""
    sums: defaultdict[str, float] = defaultdict(float)
    for account, amount in leaves.items():
        for ancestor in lineage.get(account, (account,)):
            sums[ancestor] += amount
    return sums
