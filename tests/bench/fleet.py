"""Fleets and queues of any size, for measuring: institutions of accounts, jobs of 1 to 512 GPUs."""

import random
from datetime import timedelta
from typing import NamedTuple

from scheduler.core.model import Job, Node, PriorityClass, Tier
from scheduler.core.policy import Policy
from tests import build
from tests.build import MINUTE, NOON

GANGS = [(1, 1), (1, 1), (1, 2), (1, 4), (1, 8), (1, 8), (2, 8), (4, 8), (8, 8), (16, 8), (64, 8)]
LIMITS = [timedelta(hours=h) for h in (1, 2, 4, 8, 12, 24)]


class Size(NamedTuple):
    """A fleet: institutions with as many accounts each, their own pools, and shared ones."""

    institutions: int
    accounts_each: int
    own_pools_each: int
    shared_pools: int
    nodes_per_pool: int
    users: int
    jobs: int


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


def machines(policy: Policy) -> list[Node]:
    """Return the nodes of all pools, twenty to a block."""
    return [
        build.node(f"{pool.id}-{n}", pool.id, block=f"{pool.id}-{n // 20}")
        for pool in policy.pools
        for n in range(pool.node_count)
    ]
