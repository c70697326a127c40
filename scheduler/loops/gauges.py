"""How things stand in the leader's world, as gauges: queues, leases, quotas, shares, budgets.

A process that does not lead shows zeros or nothing: sums over replicas are right.
"""

from collections import Counter
from datetime import datetime
from itertools import chain, product
from operator import itemgetter

from scheduler import metrics
from scheduler.core.hardware import H100E
from scheduler.core.model import PoolId, PriorityClass, QuotaClass
from scheduler.core.quota import Level
from scheduler.core.world import World

_NAMED = (
    metrics.PENDING,
    metrics.PENDING_GPUS,
    metrics.LEASES,
    metrics.HELD_GPUS,
    metrics.POOL_GPUS,
    metrics.USED,
    metrics.USE_RATIO,
    metrics.WEIGHT_RATIO,
    metrics.QUOTA,
    metrics.AGREEMENTS,
    metrics.BUDGETS,
)


def gauge(world: World, now: datetime) -> None:
    """Show how things stand in a world."""
    _jobs(world)
    _pools(world)
    _shares(world, now)
    _quotas(world)
    metrics.AGREEMENTS.show(
        {
            (signed.id, signed.lender, fact): gpus
            for signed in world.policy.agreements
            if signed.valid_from <= now < signed.valid_to
            for fact, gpus in (("cap", signed.cap), ("used", world.lent.get(signed.id, 0)))
        }
    )
    _budgets(world, now)


def forget() -> None:
    """Show nothing: this process does not know how things stand."""
    for named in _NAMED:
        named.show({})
    for state in metrics.JOB_STATES:
        for priority in PriorityClass:
            metrics.JOBS.labels(state, priority.value).set(0)


def _jobs(world: World) -> None:
    kinds = list(world.waiting.kinds())
    # An entry begins with its priority's rank; with long queues this loop is best left to C.
    ranks = Counter(map(itemgetter(0), chain.from_iterable(kind.queue for kind in kinds)))
    running = Counter((run.state.value, run.priority) for run in world.runs.values())
    for priority in PriorityClass:
        waiting = metrics.JOBS.labels(metrics.PENDING_STATE, priority.value)
        waiting.set(ranks[priority.rank])
        for state in metrics.JOB_STATES[1:]:
            metrics.JOBS.labels(state, priority.value).set(running[state, priority])
    jobs, gpus = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for kind in kinds:
        jobs[kind.account,] += len(kind.queue)
        gpus[kind.account,] += len(kind.queue) * kind.shape.gpus
    metrics.PENDING.show(jobs)
    metrics.PENDING_GPUS.show(gpus)


def _pools(world: World) -> None:
    every = product((pool.id for pool in world.policy.pools), metrics.QUOTA_CLASSES)
    runs: dict[tuple[str, ...], float] = dict.fromkeys(every, 0)
    gpus, seats = dict(runs), Counter[str]()
    for run in world.runs.values():
        key = (run.pool, run.quota_class.name.lower())
        runs[key] = runs.get(key, 0) + 1
        # The GPUs of a guest are its host's: held once, whoever computes on them (R18).
        gpus[key] = gpus.get(key, 0) + (run.gpus if run.over is None else 0)
        seats[run.pool] += 0 if run.over is None else run.gpus
    metrics.LEASES.show(runs)
    metrics.HELD_GPUS.show(gpus)
    up, free, lent = Counter[str](), Counter[str](), Counter[str]()
    for host in world.lending.hosts.values():
        lent[host.pool] += host.gpus
    for state in world.floor.nodes.values():
        if state.node.usable:
            up[state.node.pool] += state.healthy.bit_count()
            free[state.node.pool] += state.free.bit_count()
    metrics.POOL_GPUS.show(
        {
            (pool.id, pool.site, pool.tier.value, fact): count
            for pool in world.policy.pools
            for fact, count in (
                ("policy", pool.capacity),
                ("up", up[pool.id]),
                ("free", free[pool.id]),
                ("lent", lent[pool.id]),
                ("guests", seats[pool.id]),
            )
        }
    )


def _shares(world: World, now: datetime) -> None:
    accounts, used = world.policy.accounts, world.usage_at(now)
    weights = Counter[str | None]()
    all_used: dict[str | None, float] = {}
    for account in accounts:
        mine = used.get(account.name, 0.0)
        all_used[account.parent] = all_used.get(account.parent, 0.0) + mine
        weights[account.parent] += account.weight
    metrics.USED.show({(one.name,): used.get(one.name, 0.0) for one in accounts})
    metrics.USE_RATIO.show(
        {
            (one.name,): used.get(one.name, 0.0) / whole if (whole := all_used[one.parent]) else 0
            for one in accounts
        }
    )
    metrics.WEIGHT_RATIO.show({(one.name,): one.weight / weights[one.parent] for one in accounts})


def _quotas(world: World) -> None:
    """Show each account's part of each pool, leaves with what they lend.

    Nobody knows whose idle GPUs a borrower has: what is lent is divided among those who leave
    some of their nominals unused, by how much each leaves.
    """
    beyond = Counter[str]()
    for run in world.runs.values():
        counts = run.over is None and not run.draining
        if run.quota_class is not QuotaClass.IN_QUOTA and counts:
            beyond[run.pool] += run.gpus
    of_pool: dict[PoolId, list[Level]] = {}
    for row in world.policy.quotas:
        of_pool.setdefault(row.pool, []).extend(world.quotas[row.pool].path(row.account)[:1])
    rows: dict[tuple[str, ...], float] = {}
    for pool, levels in of_pool.items():
        whole = sum(_lendable(level) for level in levels)
        part = min(1.0, beyond[pool] / whole) if whole else 0.0
        for level in levels:
            lendable = _lendable(level)
            facts = {
                "nominal": level.nominal,
                "used": level.used,
                "borrowed": max(0, level.used - level.nominal),
                "lendable": lendable,
                "lent": lendable * part,
            }
            rows |= {(level.name, pool, fact): count for fact, count in facts.items()}
    metrics.QUOTA.show(rows)


def _lendable(level: Level) -> int:
    """Return what a leaf leaves unused and others may have."""
    return min(level.lend_max, max(0, level.nominal - level.used)) if level.is_leaf else 0


def _budgets(world: World, now: datetime) -> None:
    rows: dict[tuple[str, ...], float] = {}
    for budget in world.policy.budgets:
        if budget.valid_from <= now < budget.valid_to:
            kept = world.use.budgets.reserved(budget, world.claims, now)
            left = (world.use.budgets.left(budget, world.spent) - kept) / H100E
            rows[budget.id, budget.account, "whole"] = budget.h100e_hours * 3600
            rows[budget.id, budget.account, "left"] = left
    metrics.BUDGETS.show(rows)
