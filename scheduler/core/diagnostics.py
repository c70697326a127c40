"""What an operator asks of a scheduler: the tree of shares, and what orders each waiting job.

The tables are those of Slurm's `sshare` and `sprio`, in this planner's words: there is no
single number of priority here, so each factor that decides is told, in the order in which
it decides (R2): shares level by level down the tree where the policy's order is `fair`,
then priority class, then age with its handicap, then submission.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import assert_never

from scheduler.core import fairshare
from scheduler.core.model import AccountName, Job, JobId, PriorityClass
from scheduler.core.ordering import entry
from scheduler.core.policy import Order
from scheduler.core.world import World


@dataclass(frozen=True, slots=True)
class Share:
    """One account of the tree. `depth` is 0 at the root.

    `weight_share` is its part of its siblings' weights, `usage_share` its part of their
    decayed usage (both 1.0 for an only child); `used` is that usage in H100e-seconds, with
    its subtree (R3). `share` is usage per weight: among siblings the least goes first, and
    `place` is its place among those of them that wait or could, from 1.
    """

    account: AccountName
    parent: AccountName | None
    depth: int
    weight: int
    weight_share: float
    used: float
    usage_share: float
    share: float
    place: int
    waiting: int


def shares(world: World, jobs: Iterable[Job], now: datetime) -> tuple[Share, ...]:
    """Return the tree of accounts, each followed by what is below it, least share first.

    `jobs` are those that wait; the world may have been built without them, which is quick.
    """
    used = world.usage_at(now)
    waiting = _waiting(world, jobs)
    children: dict[AccountName | None, list[AccountName]] = {}
    for account in world.policy.accounts:
        children.setdefault(account.parent, []).append(account.name)
    found: list[Share] = []

    def add(parent: AccountName | None, depth: int) -> None:
        names = children.get(parent, [])
        weights = sum(world.index.weight(name) for name in names)
        total = sum(used.get(name, 0.0) for name in names)
        in_order = sorted(names, key=lambda name: (_share(world, used, name), name))
        for place, name in enumerate(in_order, start=1):
            weight, own = world.index.weight(name), used.get(name, 0.0)
            found.append(
                Share(
                    account=name,
                    parent=parent,
                    depth=depth,
                    weight=weight,
                    weight_share=weight / weights,
                    used=own,
                    usage_share=own / total if total else 0.0,
                    share=fairshare.share(own, weight),
                    place=place,
                    waiting=waiting.get(name, 0),
                )
            )
            add(name, depth + 1)

    add(None, 0)
    return tuple(found)


def _share(world: World, used: Mapping[AccountName, float], name: AccountName) -> float:
    return fairshare.share(used.get(name, 0.0), world.index.weight(name))


def _waiting(world: World, jobs: Iterable[Job]) -> dict[AccountName, int]:
    """Return how many jobs wait in each account's subtree."""
    counts: dict[AccountName, int] = {}
    for job in jobs:
        for name in world.index.chain(job.account):
            counts[name] = counts.get(name, 0) + 1
    return counts


@dataclass(frozen=True, slots=True)
class Factors:
    """What orders one waiting job. `place` is over all that wait, `account_place` in its account.

    `path` are the shares from the root's child down to its account. `goes_as_of` is its
    submission, later by `handicap`: what the policy's order counts against it (`short_first` x
    its predicted run time, or what its account holds now).
    """

    job: JobId
    user: str
    account: AccountName
    place: int
    account_place: int
    path: tuple[tuple[AccountName, float], ...]
    priority: PriorityClass
    submitted_at: datetime
    age: timedelta
    predicted: timedelta | None
    handicap: timedelta
    goes_as_of: datetime
    sequence: int
    not_before: datetime | None


def factors(world: World, jobs: Collection[Job], now: datetime) -> tuple[Factors, ...]:
    """Return these waiting jobs with what orders them, in the order in which they are tried.

    The order is of this moment: each start adds to what its account uses, so that accounts
    take turns; and jobs that are in quota are tried before others are (R2).
    """
    used = world.usage_at(now)
    counts: dict[AccountName, int] = {}
    found = []
    for place, job in enumerate(_in_order(world, jobs, used), start=1):
        counts[job.account] = counts.get(job.account, 0) + 1
        path = tuple((each, _share(world, used, each)) for each in _path(world, job.account))
        found.append(_factors(world, job, (place, counts[job.account]), path, now))
    return tuple(found)


def _in_order(
    world: World, jobs: Collection[Job], used: Mapping[AccountName, float]
) -> Iterable[Job]:
    """Return jobs as the policy's order tries them."""
    rules = world.policy.rules
    by_place = sorted(jobs, key=lambda job: entry(job, rules))
    match rules.order:
        case Order.FIFO:
            return by_place
        case Order.FAIR:
            shares = {
                name: [(_share(world, used, each), each) for each in _path(world, name)]
                for name in {job.account for job in jobs}
            }
            return sorted(by_place, key=lambda job: shares[job.account])
        case Order.BALANCED:
            return _by_age(world, by_place)
        case _:
            assert_never(rules.order)


def _by_age(world: World, by_place: Iterable[Job]) -> Iterable[Job]:
    """Yield the job of the account whose next one goes first, as `balance.ByAge` takes them."""
    queues: dict[AccountName, deque[Job]] = {}
    for job in by_place:
        queues.setdefault(job.account, deque()).append(job)
    heads = [(goes_as_of(world, queue[0]), name) for name, queue in queues.items()]
    heapify(heads)
    while heads:
        _, name = heappop(heads)
        yield queues[name].popleft()
        if queues[name]:
            heappush(heads, (goes_as_of(world, queues[name][0]), name))


def goes_as_of(world: World, job: Job) -> datetime:
    """Return when the job counts as having come, with every handicap of the policy's order."""
    rules = world.policy.rules
    at = entry(job, rules)[1]
    if rules.order is Order.BALANCED:
        at += rules.share_as_age * _part_held(world, job.account)
    return at


def _part_held(world: World, account: AccountName) -> float:
    """Return the part of all GPUs that the account and those above it hold now, by weight."""
    names = world.index.chain(account)[:-1]  # everybody is below the root
    held = sum(world.use.now.get(name, 0) / world.index.weight(name) for name in names)
    return held / max(1, world.use.capacity)


def _path(world: World, name: AccountName) -> tuple[AccountName, ...]:
    """Return the accounts from below the root down to this one."""
    chain = tuple(reversed(world.index.chain(name)))
    return chain[1:] or chain


def _factors(
    world: World,
    job: Job,
    places: tuple[int, int],
    path: tuple[tuple[AccountName, float], ...],
    now: datetime,
) -> Factors:
    at = goes_as_of(world, job)
    return Factors(
        job=job.id,
        user=job.user,
        account=job.account,
        place=places[0],
        account_place=places[1],
        path=path,
        priority=job.priority,
        submitted_at=job.submitted_at,
        age=max(now - job.submitted_at, timedelta(0)),
        predicted=job.predicted,
        handicap=at - job.submitted_at,
        goes_as_of=at,
        sequence=job.sequence,
        not_before=job.not_before,
    )


@dataclass(frozen=True, slots=True)
class Ahead:
    """Who goes before a job: another account by its share, or jobs of the same account.

    For an account: its share and that of the job's own branch at the level where the two
    part. For jobs of its own account both are None, and `why` says what decides.
    """

    account: AccountName
    jobs: int
    why: str
    share: float | None = None
    own_branch: AccountName | None = None
    own_share: float | None = None

    def sentence(self) -> str:
        """Return it in one plain sentence, with the factor between the shares."""
        jobs = "1 job" if self.jobs == 1 else f"{self.jobs} jobs"
        if self.share is None or self.own_share is None:
            return (
                f"{jobs} of {self.account} {'is' if self.jobs == 1 else 'are'} ahead: {self.why}."
            )
        if self.share > 0:
            times = f"{self.own_share / self.share:.1f} times as much per weight"
        else:
            times = f"{self.own_share / 3600:.1f} H100e-hours per weight, and {self.account} none"
        return f"{self.account} ({jobs}) goes first: {self.own_branch} has used {times}."


def ahead(world: World, jobs: Collection[Job], job: Job, now: datetime) -> tuple[Ahead, ...]:
    """Return who of `jobs` is ahead of one of them, from the root down to its own queue."""
    used = world.usage_at(now)
    others = (
        _by_share(world, jobs, job, used)
        if world.policy.rules.order is Order.FAIR
        else _by_place(world, jobs, job, used)
    )
    return (*others, *_in_own_queue(world, jobs, job))


def _by_place(
    world: World, jobs: Collection[Job], job: Job, used: Mapping[AccountName, float]
) -> Iterable[Ahead]:
    """Yield the other accounts' jobs that go first where shares do not decide."""
    counts: dict[AccountName, int] = {}
    for other in _in_order(world, jobs, used):
        if other.id == job.id:
            break
        counts[other.account] = counts.get(other.account, 0) + 1
    for name, count in sorted(counts.items()):
        if name != job.account:
            yield Ahead(name, count, "by age, with what each account holds now against it")


def _by_share(
    world: World, jobs: Collection[Job], job: Job, used: Mapping[AccountName, float]
) -> Iterable[Ahead]:
    waiting = _waiting(world, jobs)
    for branch in _path(world, job.account):
        own = _share(world, used, branch)
        parent = world.index.accounts[branch].parent if branch in world.index.accounts else None
        siblings = (a.name for a in world.policy.accounts if a.parent == parent and parent)
        for name in sorted(siblings):
            share = _share(world, used, name)
            if name != branch and waiting.get(name) and (share, name) < (own, branch):
                why = "it has used less per weight"
                yield Ahead(name, waiting[name], why, share, branch, own)


def _in_own_queue(world: World, jobs: Collection[Job], job: Job) -> list[Ahead]:
    rules = world.policy.rules
    key = entry(job, rules)
    before = [other for other in jobs if other.account == job.account and entry(other, rules) < key]
    higher = sum(other.priority.rank < job.priority.rank for other in before)
    older = sum(
        other.priority.rank == job.priority.rank and other.submitted_at <= job.submitted_at
        for other in before
    )
    shorter = len(before) - higher - older
    reasons = (
        (higher, "their priority class is higher"),
        (older, "they came earlier"),
        (shorter, "they are predicted to be shorter"),
    )
    return [Ahead(job.account, count, why) for count, why in reasons if count]
