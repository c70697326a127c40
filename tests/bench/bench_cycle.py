"""How long a cycle takes: 1,000 nodes x 8 GPUs, 10,000 waiting jobs, in CPU seconds.

Cold: the first plan on a world that was just built. Warm: the plan after 10 events.
Targets (issue 2): 500 ms and 50 ms.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scheduler.core.model import Tier
from scheduler.core.plan import plan
from scheduler.core.policy import Policy
from scheduler.core.snapshot import DropRun, Put, Snapshot
from scheduler.core.world import World
from tests import build
from tests.bench.fleet import Size, machines, waiting
from tests.build import MINUTE, NOON

EVENTS = 10
TEAMS = Size(4, 5, 1, 1, 0, 60, 0)  # of the policy below, as far as jobs know it


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


def main() -> None:
    """Print the figures with their setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = random.Random(7)
    policy = setting(options.nodes)
    snapshot = build.snapshot(machines(policy), waiting(TEAMS, 0, options.jobs, rng))
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
        new = options.jobs + number * EVENTS
        events = [DropRun(run) for run in rng.sample(sorted(world.runs), EVENTS // 2)]
        events += [Put(j) for j in waiting(TEAMS, new, EVENTS // 2, rng)]
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
