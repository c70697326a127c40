"""What a lease costs when it ends, as the hub settles it: balances and budgets (R3, R4)."""

from collections.abc import Iterator
from datetime import datetime

from scheduler.core import metering
from scheduler.core.model import QuotaClass, Run
from scheduler.core.snapshot import Event, Put, Spent
from scheduler.core.world import World


def bills(world: World, run: Run, since: datetime, until: datetime) -> Iterator[Event]:
    """Yield what is written down for GPUs in use from `since` to `until`; background is free."""
    if run.quota_class is QuotaClass.BACKGROUND or since == until:
        return
    factor = world.index.factor(run.pool, run.leased_at)
    lease = (run.gpus, factor, since, until)
    half_life = world.policy.rules.half_life
    before = world.usage.get(run.account)
    yield Put(metering.settle(before, run.account, lease, half_life))
    if world.policy.budgets:
        yield from _spent(world, run, since, until)


def _spent(world: World, run: Run, since: datetime, until: datetime) -> Iterator[Event]:
    """Yield what each budget of the account, or of one above, has paid for in its time."""
    payers = world.index.chain(run.account)
    factor = world.index.factor(run.pool, run.leased_at)
    for budget in world.policy.budgets:
        begin, end = max(since, budget.valid_from), min(until, budget.valid_to)
        if budget.account not in payers or begin >= end:
            continue
        used = round(metering.h100e_seconds(run.gpus, factor, begin, end))
        before = world.spent.get(budget.id)
        yield Put(Spent(budget.id, used + (before.h100e_seconds if before else 0)))
