"""What if the policy had been another one? The same history, played under both.

A history is what was asked for and how long each job really ran. It is played by the
simulator's engine, which is handed in, once with the policy as it is and once with some
changes; each account's waits, use and preemptions are told before and after. All nodes of
a policy count as up, so the two differ in the policy alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import assert_never

from scheduler.core import policy_checks
from scheduler.core.model import AccountName, AgreementId, Job, PoolId, Quota
from scheduler.core.policy import Policy


@dataclass(frozen=True, slots=True)
class PastJob:
    """A job as it was submitted, and for how long it ran in the end."""

    job: Job
    ran: timedelta


@dataclass(frozen=True, slots=True)
class QuotaChange:
    """Another quota of an account in a pool; None leaves a number as it is."""

    account: AccountName
    pool: PoolId
    nominal: int | None = None
    lend_max: int | None = None
    borrow_max: int | None = None


@dataclass(frozen=True, slots=True)
class WeightChange:
    """Another weight of an account."""

    account: AccountName
    weight: int


@dataclass(frozen=True, slots=True)
class CapChange:
    """Another cap of an agreement, in GPUs; 0 ends it."""

    agreement: AgreementId
    cap: int


@dataclass(frozen=True, slots=True)
class GpuChange:
    """Another number of GPUs in a pool: whole nodes."""

    pool: PoolId
    gpus: int


Change = QuotaChange | WeightChange | CapChange | GpuChange


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a change cannot be tried: `change` is its place in the list, from 0; None is all."""

    change: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Fared:
    """How an account's jobs fared; `account` None is all together. Times in seconds.

    `wait` is completion - submission - run time, so work lost to preemption is in it.
    """

    account: AccountName | None
    jobs: int
    unfinished: int
    mean_wait: float
    p95_wait: float
    gpu_hours: float
    preemptions: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One play of the history. `utilisation` is until the last submission, of all GPUs."""

    utilisation: float
    total: Fared
    accounts: tuple[Fared, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same history under the policy as it is, and as it might be."""

    jobs: int
    before: Outcome
    after: Outcome


Told = Callable[[int], None]
"""Is told how many jobs are over; whatever it raises ends the play."""

Play = Callable[[Policy, Sequence[PastJob], Told], Outcome]
"""Plays a history under a policy, all of whose nodes are up."""


def _nobody(_: int) -> None:
    """Tell nobody."""


def what_if(
    policy: Policy,
    changes: Sequence[Change],
    history: Sequence[PastJob],
    play: Play,
    told: Told = _nobody,
) -> Comparison | tuple[Unfit, ...]:
    """Return how all would have fared, or why the changes make no policy.

    `told` counts the jobs of both plays: twice as many as there are in the history.
    """
    changed = change_policy(policy, changes)
    if not isinstance(changed, Policy):
        return changed
    in_order = sorted(history, key=lambda past: (past.job.submitted_at, past.job.sequence))
    count = len(in_order)
    before = play(policy, in_order, told)
    return Comparison(count, before, play(changed, in_order, lambda over: told(count + over)))


def change_policy(policy: Policy, changes: Sequence[Change]) -> Policy | tuple[Unfit, ...]:
    """Return the policy with all changes, or everything that speaks against them."""
    unfit: list[Unfit] = []
    changed = policy
    for place, change in enumerate(changes):
        found = _change(changed, change)
        if isinstance(found, str):
            unfit.append(Unfit(place, found))
        else:
            changed = found
    if not unfit:
        known = {found.reason for found in policy_checks.problems(policy)}
        new = [found for found in policy_checks.problems(changed) if found.reason not in known]
        unfit = [Unfit(None, f"{_place(found.path)}: {found.reason}") for found in new]
    return tuple(unfit) or changed


def _place(path: Iterable[str | int]) -> str:
    return ".".join(str(part) for part in path)


def _change(policy: Policy, change: Change) -> Policy | str:
    match change:
        case QuotaChange():
            return _quota(policy, change)
        case WeightChange():
            return _weight(policy, change)
        case CapChange():
            return _cap(policy, change)
        case GpuChange():
            return _gpus(policy, change)
        case _:
            assert_never(change)


def _quota(policy: Policy, change: QuotaChange) -> Policy | str:
    if policy.account(change.account) is None:
        return f"no account is named '{change.account}'"
    if all(pool.id != change.pool for pool in policy.pools):
        return f"no pool is named '{change.pool}'"
    key = (change.account, change.pool)
    rows = {(row.account, row.pool): row for row in policy.quotas}
    if any(each is not None and each < 0 for each in (change.nominal, change.lend_max)):
        return "a quota is never negative"
    # What is lent follows what is guaranteed, as it does where a policy leaves it out.
    old = rows.get(key, Quota(*key, 0, 0, 0))
    nominal = old.nominal if change.nominal is None else change.nominal
    lends_all = old.lend_max == old.nominal
    lend_max = change.lend_max
    if lend_max is None:
        lend_max = nominal if lends_all else min(old.lend_max, nominal)
    borrow_max = old.borrow_max if change.borrow_max is None else change.borrow_max
    if borrow_max < 0:
        return "a quota is never negative"
    rows[key] = Quota(*key, nominal, lend_max, borrow_max)
    return replace(policy, quotas=tuple(rows.values()))


def _weight(policy: Policy, change: WeightChange) -> Policy | str:
    if policy.account(change.account) is None:
        return f"no account is named '{change.account}'"
    if change.weight < 1:
        return f"a weight of {change.weight} is less than 1"
    accounts = tuple(
        replace(account, weight=change.weight) if account.name == change.account else account
        for account in policy.accounts
    )
    return replace(policy, accounts=accounts)


def _cap(policy: Policy, change: CapChange) -> Policy | str:
    if all(row.id != change.agreement for row in policy.agreements):
        return f"no agreement is named '{change.agreement}'"
    if change.cap < 0:
        return "a cap is never negative; 0 ends the agreement"
    agreements = tuple(
        replace(row, cap=change.cap) if row.id == change.agreement else row
        for row in policy.agreements
        if change.cap or row.id != change.agreement
    )
    return replace(policy, agreements=agreements)


def _gpus(policy: Policy, change: GpuChange) -> Policy | str:
    pool = next((pool for pool in policy.pools if pool.id == change.pool), None)
    if pool is None:
        return f"no pool is named '{change.pool}'"
    nodes, rest = divmod(change.gpus, pool.gpus_per_node)
    if rest or not nodes:
        return (
            f"{change.gpus} GPUs are no whole nodes of {pool.id}, which have {pool.gpus_per_node}"
        )
    pools = tuple(
        replace(row, node_count=nodes) if row.id == change.pool else row for row in policy.pools
    )
    return replace(policy, pools=pools)
