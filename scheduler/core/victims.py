"""Whose runs may end for whom, and what that throws away: legality and cost (R8, R9)."""

from collections.abc import Iterable
from datetime import datetime

from scheduler.core.index import Fit
from scheduler.core.model import AccountName, Job, Pool, QuotaClass, Run, RunId
from scheduler.core.quota import PoolQuota
from scheduler.core.world import World

RESTART_SECONDS = 300
"""What a victim loses besides the work since its checkpoint: getting going again (R9)."""

PREEMPTED_BEFORE_SECONDS = 3600
"""Each earlier preemption makes a victim dearer by so many seconds of its GPUs (R9)."""

WASTED_AT_MOST = 2
"""So often a job may lose its GPUs to shares that need fewer than it held (R8.1)."""

Cost = tuple[int, int, float, RunId]


def cost(run: Run, factor: int, now: datetime) -> Cost:
    """Return what ending a run throws away; ties: lower priority, then the newest start (R9)."""
    since = run.checkpointed_at or run.started_at or run.leased_at
    lost = max(0, int((now - since).total_seconds())) + RESTART_SECONDS
    lost += run.preemptions * PREEMPTED_BEFORE_SECONDS
    return (run.gpus * lost * factor, -run.priority.rank, -run.leased_at.timestamp(), run.id)


def may_help(world: World, job: Job, pool: Pool, fit: Fit, now: datetime) -> bool:
    """Return whether anybody's runs in a pool may have to end for a borrower's job (R8.1).

    There is background work, or shares may move now and somebody's is larger than the job's.
    """
    if world.in_background >> world.rooms.bits[pool.id] & 1:
        return True
    may_move = world.policy.rules.share_preemption and world.may_move(pool.id, now) > 0
    return may_move and world.quotas[pool.id].is_richer_than(job.account, fit.gpus)


def is_ripe(run: Run, world: World, now: datetime) -> bool:
    """Return whether a run may be a victim of shares by now: what is bounded in time (R9)."""
    rules, since = world.policy.rules, run.started_at or run.leased_at
    if not rules.share_preemption:
        return False
    # What this very cycle has started must not end in it, even without a least run time.
    if now <= since or now - since < rules.min_runtime:
        return False
    return run.preemptions < rules.immune_after or now - since >= rules.immune_for


def is_legal(quota: PoolQuota, run: Run, job: Job) -> bool:
    """Return whether the run may end for this in-quota job, as things stand (R8.1, R8.2).

    Background work and outsiders always; an account of the owner's only while its own
    branch is over its nominal, or where a gang borrows cells that it is not guaranteed (R11).
    """
    if run.quota_class is QuotaClass.BACKGROUND or not quota.path(run.account):
        return True
    return quota.is_over(run.account, job.account) or quota.is_wide(run.account, len(run.slots))


def has_larger_share(quota: PoolQuota, victim: AccountName, job: AccountName, gpus: int) -> bool:
    """Return whether an account's share is larger, strictly, than the borrower's (R8.1).

    Shares are instant use per weight, right below where the two accounts' paths meet: the
    job's branch with the job's GPUs against the victim's branch with its run.
    """
    parted = quota.parting(job, victim)
    if parted is None:
        return False
    mine, yours = parted
    return (mine.used + gpus) * yours.weight < yours.used * mine.weight


def stays_at_nominal(quota: PoolQuota, run: Run, job: AccountName) -> bool:
    """Return whether the run's accounts stay at or above their nominals without it (R8.2)."""
    parted = quota.parting(job, run.account)
    if parted is None:
        return False
    own = quota.path(run.account)
    below = own[: own.index(parted[1]) + 1]
    return all(level.used - run.gpus >= level.nominal for level in below)


def is_thrifty(victims: Iterable[Run], gpus: int) -> bool:
    """Return whether borrowers may end for a borrower without starting an endless round (R8.1).

    Comparing shares where two paths meet is not transitive: what a job frees beyond its own
    need lets a third grow into it, who then is the larger, and so on in a circle. So such
    waste is allowed to each job `WASTED_AT_MOST` times only. From then on a pool's charged GPUs
    never become fewer, so at last each move frees exactly what it takes. It then leaves all
    shares above the meeting point as they are, and makes the sorted shares right below it
    smaller: taken from the root down, they can do so only finitely often.
    """
    charged = [run for run in victims if run.quota_class is not QuotaClass.BACKGROUND]
    if sum(run.gpus for run in charged) <= gpus:
        return True
    return all(run.preemptions < WASTED_AT_MOST for run in charged)
