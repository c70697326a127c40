"""How things stand in the leader's world, as gauges: queues, leases, quotas, shares, budgets.

Everything is set in one go between two scrapes, on the event loop, so that no scrape sees
half of it. A process that does not lead shows zeros or nothing: sums over replicas are right.
"""

from collections import Counter
from datetime import datetime
from itertools import chain
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
    for named in _NAMED:
        named.clear()
    _jobs(world)
    _pools(world)
    _shares(world, now)
    _quotas(world)
    _agreements(world, now)
    _budgets(world, now)


def forget() -> None:
    """Show nothing: this process does not know how things stand."""
    for named in _NAMED:
        named.clear()
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
    jobs, gpus = Counter[str](), Counter[str]()
    for kind in kinds:
        jobs[kind.account] += len(kind.queue)
        gpus[kind.account] += len(kind.queue) * kind.shape.gpus
    for account, count in jobs.items():
        metrics.PENDING.labels(account).set(count)
        metrics.PENDING_GPUS.labels(account).set(gpus[account])


def _pools(world: World) -> None:
    runs, gpus = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for run in world.runs.values():
        key = (run.pool, run.quota_class.name.lower())
        runs[key] += 1
        gpus[key] += run.gpus
    up, free = Counter[str](), Counter[str]()
    for state in world.floor.nodes.values():
        if state.node.usable:
            up[state.node.pool] += state.healthy.bit_count()
            free[state.node.pool] += state.free.bit_count()
    for pool in world.policy.pools:
        for quota in metrics.QUOTA_CLASSES:
            metrics.LEASES.labels(pool.id, quota).set(runs[pool.id, quota])
            metrics.HELD_GPUS.labels(pool.id, quota).set(gpus[pool.id, quota])
        facts = {"policy": pool.capacity, "up": up[pool.id], "free": free[pool.id]}
        for fact, count in facts.items():
            metrics.POOL_GPUS.labels(pool.id, pool.site, pool.tier.value, fact).set(count)


def _shares(world: World, now: datetime) -> None:
    used = world.usage_at(now)
    for account in world.policy.accounts:
        siblings = world.index.children(account.parent) if account.parent else (account.name,)
        all_used = sum(used.get(name, 0.0) for name in siblings)
        weights = sum(world.index.weight(name) for name in siblings)
        mine = used.get(account.name, 0.0)
        metrics.USED.labels(account.name).set(mine)
        metrics.USE_RATIO.labels(account.name).set(mine / all_used if all_used else 0)
        metrics.WEIGHT_RATIO.labels(account.name).set(account.weight / weights)


def _quotas(world: World) -> None:
    """Show each account's part of each pool, leaves with what they lend.

    Nobody knows whose idle GPUs a borrower has: what is lent is divided among those who leave
    some of their nominals unused, by how much each leaves.
    """
    beyond = Counter[str]()
    for run in world.runs.values():
        if run.quota_class is not QuotaClass.IN_QUOTA and not run.draining:
            beyond[run.pool] += run.gpus
    of_pool: dict[PoolId, list[Level]] = {}
    for row in world.policy.quotas:
        of_pool.setdefault(row.pool, []).extend(world.quotas[row.pool].path(row.account)[:1])
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
            for fact, count in facts.items():
                metrics.QUOTA.labels(level.name, pool, fact).set(count)


def _lendable(level: Level) -> int:
    """Return what a leaf leaves unused and others may have."""
    return min(level.lend_max, max(0, level.nominal - level.used)) if level.is_leaf else 0


def _agreements(world: World, now: datetime) -> None:
    for signed in world.policy.agreements:
        if signed.valid_from <= now < signed.valid_to:
            for fact, gpus in (("cap", signed.cap), ("used", world.lent.get(signed.id, 0))):
                metrics.AGREEMENTS.labels(signed.id, signed.lender, fact).set(gpus)


def _budgets(world: World, now: datetime) -> None:
    for budget in world.policy.budgets:
        if budget.valid_from <= now < budget.valid_to:
            kept = world.use.budgets.reserved(budget, world.claims, now)
            left = (world.use.budgets.left(budget, world.spent) - kept) / H100E
            for fact, amount in (("whole", budget.h100e_hours * 3600), ("left", left)):
                metrics.BUDGETS.labels(budget.id, budget.account, fact).set(amount)
