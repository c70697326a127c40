"""The planner at fleet scale: 75,000 nodes x 8 GPUs in 200 pools, 1,000,000 jobs, 1,000 accounts.

Prints what it takes to build the world, what a cycle costs after 100 events, and decisions per
CPU-second there and at 1,000 nodes with 10,000 jobs. All in CPU time of this process.
Targets (issue 3): 60 s and 6 GB; 50 ms; 20,000 decisions per CPU-second.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import gc
import random
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from scheduler.core.model import Job, PriorityClass, Tier
from scheduler.core.plan import plan
from scheduler.core.policy import Policy
from scheduler.core.snapshot import DropRun, Put, Snapshot
from scheduler.core.world import World
from tests import build
from tests.bench.bench_cycle import GANGS, LIMITS
from tests.build import MINUTE, NOON

EVENTS = 100


class Size(NamedTuple):
    """A fleet: institutions with as many accounts each, their own pools, and shared ones."""

    institutions: int
    accounts_each: int
    own_pools_each: int
    shared_pools: int
    nodes_per_pool: int
    users: int
    jobs: int


SMALL = Size(4, 5, 1, 1, 200, 60, 10_000)
LARGE = Size(50, 20, 3, 50, 375, 3000, 1_000_000)


def fleet(size: Size) -> Policy:
    """Return the policy: every account may borrow in its institution's and the shared pools."""
    accounts = [build.account("national", None)]
    shared = [
        build.pool(f"hub-{n}", "national", size.nodes_per_pool) for n in range(size.shared_pools)
    ]
    pools, quotas = list(shared), []
    whole = size.nodes_per_pool * 8
    for i in range(size.institutions):
        owner = f"inst-{i}"
        accounts.append(build.account(owner, "national"))
        names = [f"team-{i}-{j}" for j in range(size.accounts_each)]
        accounts += [build.account(name, owner) for name in names]
        own = [
            build.pool(f"hpc-{i}-{n}", owner, size.nodes_per_pool, tier=Tier.INSTITUTION)
            for n in range(size.own_pools_each)
        ]
        pools += own
        for pool in own:
            part = whole // size.accounts_each
            quotas += [build.quota(name, part, borrow=whole, where=pool.id) for name in names]
        for pool in shared:
            part = whole // size.institutions
            quotas.append(build.quota(owner, part, borrow=whole, where=pool.id))
            each = part // size.accounts_each
            quotas += [build.quota(name, each, borrow=whole, where=pool.id) for name in names]
    return build.policy(accounts, pools, quotas)


def waiting(size: Size, first: int, count: int, rng: random.Random) -> list[Job]:
    """Return jobs of 1 to 512 GPUs."""
    jobs = []
    for n in range(first, first + count):
        gang, gpus = rng.choice(GANGS)
        user = rng.randrange(size.users)
        team = user % (size.institutions * size.accounts_each)
        jobs.append(
            build.job(
                f"j{n}",
                f"team-{team // size.accounts_each}-{team % size.accounts_each}",
                gpus,
                gang,
                user=f"user-{user}",
                priority=rng.choices(list(PriorityClass)[:4], (1, 5, 10, 84))[0],
                submitted_at=NOON - MINUTE * rng.randrange(10_000),
                time_limit=rng.choice(LIMITS),
                preemptible=rng.random() < 0.8,
            )
        )
    return jobs


def measure(name: str, size: Size, rounds: int) -> None:
    """Build, plan once, then plan after events, and print what each took."""
    rng = random.Random(7)
    policy = fleet(size)
    nodes = [
        build.node(f"{pool.id}-{n}", pool.id, block=f"{pool.id}-{n // 20}")
        for pool in policy.pools
        for n in range(pool.node_count)
    ]
    snapshot: Snapshot = build.snapshot(nodes, waiting(size, 0, size.jobs, rng))
    print(
        f"{name}: {len(nodes):,} nodes x 8 GPUs in {len(policy.pools)} pools, {size.jobs:,} jobs, "
        f"{size.institutions * size.accounts_each:,} accounts, {size.users:,} users"
    )
    gc.collect()
    gc.freeze()
    began = time.process_time()
    world = World(policy, snapshot)
    built = time.process_time() - began
    print(f"  world from a snapshot  {built:8.2f} s, {_memory():.2f} GB resident")
    _cold(world)
    _warm(world, size, rounds, rng)


def _cold(world: World) -> None:
    jobs, began = len(world.jobs), time.process_time()
    first = plan(world, world.policy, NOON)
    planned = time.process_time()
    holds = len(first.holds)
    told = time.process_time()
    _say(
        "first plan, all free", jobs, (len(first.starts), planned - began), (holds, told - planned)
    )
    world.advance(first)


def _warm(world: World, size: Size, rounds: int, rng: random.Random) -> None:
    spent, starts = [], 0
    for number in range(rounds):
        events = [DropRun(run) for run in rng.sample(sorted(world.runs), EVENTS // 2)]
        new = size.jobs + number * EVENTS
        events += [Put(job) for job in waiting(size, new, EVENTS // 2, rng)]
        gc.collect()
        began = time.process_time()
        for event in events:
            world.apply(event)
        after = plan(world, world.policy, NOON + MINUTE * (number + 1))
        spent.append(1000 * (time.process_time() - began))
        world.advance(after)
        starts += len(after.starts)
    listed = ", ".join(f"{ms:.1f}" for ms in spent)
    print(
        f"  cycle after {EVENTS} events  {sorted(spent)[len(spent) // 2]:8.1f} ms CPU, median of "
        f"{listed}; {starts} starts"
    )


def _say(what: str, jobs: int, starts: tuple[int, float], holds: tuple[int, float]) -> None:
    spent = starts[1] + holds[1]
    print(
        f"  {what}   {1000 * spent:8.1f} ms: {starts[0]} starts in "
        f"{1000 * starts[1]:.1f} ms, {holds[0]} verdicts of all other jobs in "
        f"{1000 * holds[1]:.1f} ms: {jobs / spent:,.0f} jobs decided per CPU-second, "
        f"{(starts[0] + holds[0]) / spent:,.0f} starts and verdicts written out"
    )


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Print the figures with their setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="also the fleet of 600,000 GPUs")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    measure("small", SMALL, options.rounds)
    if options.large:
        measure("large", LARGE, options.rounds)


if __name__ == "__main__":
    main()
