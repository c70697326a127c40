"""R12 under a steady load: small jobs never stop coming, and still the large one starts."""

from datetime import datetime, timedelta
from random import Random

import pytest

from scheduler.core.model import QuotaClass
from scheduler.core.plan import plan
from scheduler.core.policy import Backfill, Order, Policy, Rules
from scheduler.core.snapshot import DropRun, Put
from scheduler.core.world import World, requeued_job
from tests import build
from tests.build import DAY, HOUR, MINUTE, NOON
from tests.core.small import TREE, started

CYCLE = 10 * MINUTE
HOLD_AFTER = 10 * HOUR
LONGEST = 2 * HOUR
NOTICE = 30 * MINUTE  # the national tier's, in `build.TIERS`
NODES = 4


def crowded(order: Order, shares: bool) -> Policy:
    """Two borrowers of a hub of 32 GPUs; only age brings a planned start."""
    rules = Rules(
        order=order,
        backfill=Backfill.HOLDS,
        reserve_nodes=100,
        hold_after=HOLD_AFTER,
        hold_gangs_after=HOLD_AFTER,
        share_preemption=shares,
    )
    rows = [build.quota(name, 0, borrow=8 * NODES) for name in ("a", "b")]
    return build.policy(TREE, [build.pool(nodes=NODES)], rows, rules=rules)


def end_runs(world: World, now: datetime) -> None:
    """Let go who is at its limit, and who was told to end; victims come back with their age."""
    for run in list(world.runs.values()):
        if run.draining or run.ends_by <= now:
            world.apply(DropRun(run.id))
            for other in [r for r in world.runs.values() if run.id in r.after]:
                fields = {name: getattr(other, name) for name in other.__slots__}
                world.apply(Put(type(other)(**{**fields, "after": other.after - {run.id}})))
            if run.draining:
                world.apply(Put(requeued_job(run, None)))


def started_at(policy: Policy, rng: Random, who: str, nodes: int) -> datetime | None:
    """Keep forty small jobs waiting, and return when the large one starts."""
    world, now, number = World(policy, build.snapshot(build.nodes(count=NODES))), NOON, 100
    for rank in range(1, NODES + 1):
        busy = build.run(f"r{rank}", "b", {f"hub-{rank}": [0]}, quota_class=QuotaClass.BORROWED)
        world.apply(Put(busy))
    world.apply(Put(build.job("j1", who, 8, nodes, time_limit=HOUR)))
    while now < NOON + 2 * DAY:
        end_runs(world, now)
        for _ in range(40 - len(world.jobs)):
            number += 1
            limit = timedelta(minutes=rng.randint(20, LONGEST // MINUTE))
            account = rng.choice("abb")
            job = build.job(f"j{number}", account, submitted_at=now, time_limit=limit)
            world.apply(Put(job))
        result = plan(world, policy, now)
        world.advance(result)
        if "j1" in started(result):
            return now
        now += CYCLE
    return None


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("nodes", "who"), [(NODES, "a"), (1, "b")])
def test_r12_nobody_starves_under_a_steady_load_of_small_jobs(order, seed, nodes, who):
    """Within hold_after + longest remaining limit + notice + teardown, and a cycle to see it.

    The gang needs all that its account may borrow, which the account's own small jobs also
    use: found by this test, for nothing kept the limit for it (as in Kueue #534).
    """
    policy = crowded(order, shares=bool(seed % 2))
    at = started_at(policy, Random(seed), who, nodes)
    assert at is not None
    assert at - NOON <= HOLD_AFTER + LONGEST + NOTICE + policy.rules.teardown + CYCLE
