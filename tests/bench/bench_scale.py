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

sys.path.insert(0, str(Path(__file__).parents[2]))

from scheduler.compiled import planner
from scheduler.core.plan import plan
from scheduler.core.snapshot import DropRun, Put, Snapshot
from scheduler.core.world import World
from scheduler.garbage import keep_what_is_there, look_seldom, undisturbed
from tests import build
from tests.bench.fleet import Size, fleet, machines, waiting
from tests.build import MINUTE, NOON

EVENTS = 100


SMALL = Size(4, 5, 1, 1, 200, 60, 10_000)
LARGE = Size(50, 20, 3, 50, 375, 3000, 1_000_000)


def measure(name: str, size: Size, rounds: int) -> None:
    """Build, plan once, then plan after events, and print what each took."""
    rng = random.Random(7)
    policy = fleet(size)
    nodes = machines(policy)
    snapshot: Snapshot = build.snapshot(nodes, waiting(size, 0, size.jobs, rng))
    print(
        f"{name}: {len(nodes):,} nodes x 8 GPUs in {len(policy.pools)} pools, {size.jobs:,} jobs, "
        f"{size.institutions * size.accounts_each:,} accounts, {size.users:,} users"
    )
    keep_what_is_there()
    began = time.process_time()
    world = World(policy, snapshot)
    built = time.process_time() - began
    keep_what_is_there()  # as the hub does
    print(f"  world from a snapshot  {built:8.2f} s, {_memory():.2f} GB resident")
    _cold(world)
    _warm(world, size, rounds, rng)


def _cold(world: World) -> None:
    jobs, began = len(world.jobs), time.process_time()
    with undisturbed():  # as the hub does
        first = plan(world, world.policy, NOON, told=True)
    spent = time.process_time() - began
    starts, verdicts = len(first.starts), len(first.holds)
    print(
        f"  first plan, all free   {1000 * spent:8.1f} ms CPU: {starts:,} starts, and {verdicts:,} "
        f"verdicts of all other jobs: {jobs / spent:,.0f} jobs decided per CPU-second, "
        f"{(starts + verdicts) / spent:,.0f} starts and verdicts written out"
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
        with undisturbed():
            after = plan(world, world.policy, NOON + MINUTE * (number + 1))
        spent.append(1000 * (time.process_time() - began))
        world.advance(after)
        starts += len(after.starts)
    listed = ", ".join(f"{ms:.1f}" for ms in spent)
    print(
        f"  cycle after {EVENTS} events  {sorted(spent)[len(spent) // 2]:8.1f} ms CPU, median of "
        f"{listed}; {starts} starts"
    )


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Print the figures with their setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="also the fleet of 600,000 GPUs")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    look_seldom()  # as the hub does
    print(f"planner: {planner()}")
    measure("small", SMALL, options.rounds)
    if options.large:
        measure("large", LARGE, options.rounds)


if __name__ == "__main__":
    main()
