"""A part of the world that one job's chances can be planned in, where the whole is too much.

Kept are the pools that the job, or any change of it, could use; of its own account's queue
the jobs before it; and of each other account's the first, as many from each, for accounts
take turns. Jobs that can use none of these pools are in nobody's way here. All runs stay:
they hold GPUs and shares. Whoever was left out might still have gone first, so what is
planned here may come early; who asks is told what was cut.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest

from scheduler.core.index import PolicyIndex
from scheduler.core.model import AccountName, Job, PoolId
from scheduler.core.ordering import Entry, entry
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Snapshot

MOST_JOBS = 1_500
"""Waiting jobs that are planned together with the one that is asked about."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is left of a snapshot: so many `jobs` and `pools` of all.

    `own_left_out` are jobs before it in its own account's queue for which there was no room.
    """

    snapshot: Snapshot
    jobs: int
    all_jobs: int
    own_left_out: int
    pools: int
    all_pools: int

    def sentence(self) -> str:
        """Say in words what the plan looked at."""
        out = self.own_left_out
        left = f" (without {out:,} that are before it in its own)" if out else ""
        return (
            f"Planned with {self.jobs:,} of {self.all_jobs:,} waiting jobs, the first of each "
            f"account's queue{left}, on {self.pools} of {self.all_pools} pools: the real starts "
            "may be later."
        )


def cut(
    policy: Policy, snapshot: Snapshot, job: Job, variants: Iterable[Job], most: int = MOST_JOBS
) -> Cut:
    """Return what matters most to the job and its variants, with at most so many jobs."""
    index = PolicyIndex(policy)
    pools = frozenset(pool for one in (job, *variants) for pool in _pools(index, one))
    in_the_way = _Ways(index, pools)
    queues: dict[AccountName, list[Job]] = {}
    for other in snapshot.jobs.values():
        if other.id != job.id and in_the_way.of(other):
            queues.setdefault(other.account, []).append(other)
    before = _in_order(queues.pop(job.account, ()), policy)
    before = before[: bisect_left(before, _place(job, policy), key=lambda one: _place(one, policy))]
    own = before[: most // 2]
    others = [_in_order(queue, policy) for _, queue in sorted(queues.items())]
    kept = [*own, *_in_turns(others, most - len(own) - 1)]
    part = replace(
        snapshot,
        jobs={one.id: one for one in (*kept, job)},
        nodes={node.id: node for node in snapshot.nodes.values() if node.pool in pools},
    )
    return Cut(
        part,
        len(part.jobs),
        len(snapshot.jobs),
        len(before) - len(own),
        len(pools),
        len(policy.pools),
    )


def _pools(index: PolicyIndex, job: Job) -> Iterable[PoolId]:
    candidates = index.candidates(job.account, job.shape, job.time_limit)
    return (pool.id for pool in candidates.pools)


class _Ways:
    """Whether jobs could use any of some pools; kinds of jobs are few."""

    def __init__(self, index: PolicyIndex, pools: frozenset[PoolId]) -> None:
        self._index = index
        self._pools = pools
        self._known: dict[tuple[object, ...], bool] = {}

    def of(self, job: Job) -> bool:
        """Return whether the job could."""
        kind = (job.account, job.shape, self._index.limit_class(job.time_limit))
        if kind not in self._known:
            self._known[kind] = not self._pools.isdisjoint(_pools(self._index, job))
        return self._known[kind]


def _place(job: Job, policy: Policy) -> Entry:
    return entry(job, policy.rules)


def _in_order(queue: Iterable[Job], policy: Policy) -> list[Job]:
    return sorted(queue, key=lambda one: _place(one, policy))


def _in_turns(queues: Iterable[Sequence[Job]], most: int) -> Iterable[Job]:
    """Return the first of each queue, then the second of each, and so on."""
    turns = (one for turn in zip_longest(*queues) for one in turn if one is not None)
    return islice(turns, max(most, 0))
