"""How long a cycle takes: 1,000 nodes x 8 GPUs, 10,000 waiting jobs, in CPU seconds.

Cold: the first plan on a world that was just built. Warm: the plan after 10 events.
Targets (issue 2): 500 ms and 50 ms.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import random
import sys
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scheduler.core.model import Job, PriorityClass, Tier
from scheduler.core.plan import plan
from scheduler.core.policy import Policy
from scheduler.core.snapshot import DropRun, Put, Snapshot
from scheduler.core.world import World
from tests import build
from tests.build import MINUTE, NOON

GANGS = [(1, 1), (1, 1), (1, 2), (1, 4), (1, 8), (1, 8), (2, 8), (4, 8), (8, 8), (16, 8), (64, 8)]
LIMITS = [timedelta(hours=h) for h in (1, 2, 4, 8, 12, 24)]
EVENTS = 10


def setting(nodes: int) -> Policy:
    """Return 20 teams in 4 institutions; each institution owns an eighth, the hub is shared."""
    accounts = [build.account("national", None)]
    quotas = []
    pools = [build.pool("hub", "national", nodes // 2)]
    for i in range(4):
        owner = f"inst-{i}"
        accounts.append(build.account(owner, "national"))
        pools.append(build.pool(f"hpc-{i}", owner, nodes // 8, tier=Tier.INSTITUTION))
        quotas.append(build.quota(owner, nodes, borrow=nodes * 3))
        for j in range(5):
            team = f"team-{i}-{j}"
            accounts.append(build.account(team, owner))
            quotas.append(build.quota(team, nodes // 5, borrow=nodes * 3))
            quotas.append(build.quota(team, nodes // 5, borrow=nodes, where=f"hpc-{i}"))
    return build.policy(accounts, pools, quotas)


def waiting(count: int, first: int, rng: random.Random) -> list[Job]:
    """Return jobs of 1 to 512 GPUs of 60 users in 20 accounts."""
    jobs = []
    for n in range(first, first + count):
        gang, gpus = rng.choice(GANGS)
        user = rng.randrange(60)
        team = f"team-{user % 4}-{user % 20 // 4}"
        jobs.append(
            build.job(
                f"j{n}",
                team,
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


def main() -> None:
    """Print the figures with their setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = random.Random(7)
    policy = setting(options.nodes)
    machines = [
        build.node(f"{pool.id}-{n}", pool.id, block=f"{pool.id}-{n // 20}")
        for pool in policy.pools
        for n in range(pool.node_count)
    ]
    snapshot = build.snapshot(machines, waiting(options.jobs, 0, rng))
    print(
        f"cycle: {options.nodes} nodes x 8 GPUs, {options.jobs} jobs of 1..512 GPUs, "
        "20 accounts, 60 users; CPU time of this process"
    )
    world = cold(policy, snapshot)
    warm(world, options, rng)


def cold(policy: Policy, snapshot: Snapshot) -> World:
    """Build a world, plan once, carry the plan out."""
    before = time.process_time()
    world = World(policy, snapshot)
    built = time.process_time()
    first = plan(world, policy, NOON)
    planned = time.process_time()
    print(f"  world build      {1000 * (built - before):7.1f} ms")
    print(
        f"  cold plan        {1000 * (planned - built):7.1f} ms (target 500): "
        f"{len(first.starts)} starts, {len(first.reserves)} reserves, {len(first.holds)} holds"
    )
    world.advance(first)
    return world


def warm(world: World, options: argparse.Namespace, rng: random.Random) -> None:
    """Apply some events and plan again, a few times over."""
    spent, starts, preempts = [], 0, 0
    for number in range(options.rounds):
        events = [DropRun(run) for run in rng.sample(sorted(world.runs), EVENTS // 2)]
        events += [Put(j) for j in waiting(EVENTS // 2, options.jobs + number * EVENTS, rng)]
        before = time.process_time()
        for event in events:
            world.apply(event)
        after = plan(world, world.policy, NOON + MINUTE * (number + 1))
        spent.append(1000 * (time.process_time() - before))
        world.advance(after)
        starts, preempts = starts + len(after.starts), preempts + len(after.preempts)
    rounds = ", ".join(f"{ms:.1f}" for ms in spent)
    print(
        f"  after {EVENTS} events  {sorted(spent)[len(spent) // 2]:7.1f} ms (target 50; median of "
        f"{rounds}): {starts} starts, {preempts} preempts, {len(world.jobs)} still wait"
    )


if __name__ == "__main__":
    main()
