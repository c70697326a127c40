"""The jobs that wait, by account and kind, so that a cycle walks over kinds and not over jobs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from scheduler.core.index import PolicyIndex
from scheduler.core.model import AccountName, Job, JobId, PoolId, QuotaClass, Shape
from scheduler.core.ordering import Age, Entry, Kind, entry
from scheduler.core.placement import bits
from scheduler.core.rooms import FitClass, Rooms
from scheduler.core.turns import Tree

if TYPE_CHECKING:
    from scheduler.core.quota import PoolQuota

_KindKey = tuple[AccountName, Shape, int, str]

# So many empty kinds are kept before they are forgotten: most get another job soon.
_SPARE = 1000


class Places(NamedTuple):
    """The kinds of an account that could start in a pass, and where: pools of each class, of all.

    Pools are a bit each.
    """

    kinds: tuple[Kind, ...]
    pools: tuple[tuple[FitClass, int], ...]
    shapes: frozenset[Shape]
    union: int


class Reach(NamedTuple):
    """Where an account's kinds could start, by pass; and if one is for an advance reservation."""

    places: Mapping[QuotaClass, Places]
    in_reservation: bool


class Waiting:
    """Pending jobs in their queues."""

    def __init__(
        self, index: PolicyIndex, rooms: Rooms, quotas: Mapping[PoolId, "PoolQuota"]
    ) -> None:
        self.jobs: dict[JobId, Job] = {}
        self._index = index
        self._rooms = rooms
        self._quotas = quotas
        self._kinds: dict[_KindKey, Kind] = {}
        # One value for all kinds of a shape: what every cycle looks at lies close together.
        self._shapes: dict[Shape, Shape] = {}
        self._kind_of: dict[JobId, Kind] = {}
        self._limit_classes: dict[timedelta, int] = {}
        # Kinds of an account, in the order of their keys; and of accounts, by name.
        self._of_account: dict[AccountName, list[Kind]] = {}
        self._accounts: list[AccountName] | None = None
        self._tree: Tree | None = None
        # Jobs of each shape by age, oldest first; some of them may have gone.
        self._ages: dict[Shape, list[Age]] = {}
        self._forgotten: set[JobId] = set()  # those that were found gone from there in a cycle
        # By pass, how many kinds with jobs there are of each shape that could start in it.
        self.kinds_of: dict[QuotaClass, Counter[Shape]] = {turn: Counter() for turn in QuotaClass}
        self._reach: dict[AccountName, Reach] = {}
        self._empty = 0
        self.later: dict[JobId, datetime] = {}  # jobs that may not start before then (R8.6)
        self.training: set[JobId] = set()  # jobs that thresholds look at (R17)

    def put(self, job: Job) -> None:
        """Let a job wait, or replace what is known about it."""
        self.drop(job.id)
        self._forgotten.discard(job.id)
        kind = self._kind_of[job.id] = self._kind(job)
        if job.not_before is not None:
            self.later[job.id] = job.not_before
        if job.training is not None:
            self.training.add(job.id)
        self.put_back(job, kind)
        self._let_age(job, kind)

    def put_back(self, job: Job, kind: Kind) -> None:
        """Let a job wait again that a cycle took (`take`)."""
        self.jobs[job.id] = job
        if not kind.queue:
            self._empty -= 1
            self._count(kind, 1)
        kind.queue.put(self.entry(job), job.time_limit)
        kind.fits.count(job.time_limit, 1)
        if job.id in self._forgotten:
            self._let_age(job, kind)

    def _let_age(self, job: Job, kind: Kind) -> None:
        heappush(kind.ages, (job.submitted_at, job.sequence, job.id))
        if len(kind.ages) > 64 + 4 * len(self.jobs):
            self._forget_gone(kind.ages)

    def drop(self, job_id: JobId) -> None:
        """Let a job wait no longer."""
        job = self.jobs.get(job_id)
        if job is not None:
            self.take(job, self._kind_of[job_id])
            self.forget(job_id)

    def take(self, job: Job, kind: Kind) -> None:
        """Let a job wait no longer, while what is known of it stays: a cycle puts it back."""
        del self.jobs[job.id]
        kind.queue.drop(self.entry(job))
        kind.fits.count(job.time_limit, -1)
        if not kind.queue:
            self._empty += 1
            self._count(kind, -1)

    def forget(self, job_id: JobId) -> None:
        """Forget what is known of a job that was taken."""
        self.later.pop(job_id, None)
        self.training.discard(job_id)
        del self._kind_of[job_id]

    def _count(self, kind: Kind, sign: int) -> None:
        """Take note that the first of a kind has come, or its last has gone."""
        self._reach.pop(kind.account, None)
        for turn, shapes in self.kinds_of.items():
            if kind.within(turn):
                shapes[kind.shape] += sign
                if not shapes[kind.shape]:
                    del shapes[kind.shape]

    def entry(self, job: Job) -> Entry:
        """Return the job's place among those of its account."""
        return entry(job, self._index.policy.rules)

    def kind_of(self, job: JobId) -> Kind:
        """Return the kind that a waiting job belongs to."""
        return self._kind_of[job]

    def _kind(self, job: Job) -> Kind:
        limits = self._limit_classes.get(job.time_limit)
        if limits is None:
            limits = self._index.limit_class(job.time_limit)
            self._limit_classes[job.time_limit] = limits
        user = self._index.users.get(job.user)
        person = job.user if user is not None and user.max_gpus is not None else ""
        key = (job.account, job.shape, limits, person)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = self._new(job, person)
            self._of_account.setdefault(job.account, []).append(kind)
            self._of_account[job.account].sort(key=lambda kind: kind.key)
            self._accounts = self._tree = None
            self._empty += 1
        return kind

    def _new(self, job: Job, person: str) -> Kind:
        candidates = self._index.candidates(job.account, job.shape, job.time_limit)
        shape = self._shapes.setdefault(job.shape, job.shape)
        kind = Kind(job.account, shape, candidates, self._rooms.of(shape), person)
        for bit, pool in zip(candidates.order, candidates.pools, strict=True):
            if self._quotas[pool.id].path(job.account) or self._index.signed(job.account, pool.id):
                kind.mask |= 1 << bit
            else:
                kind.strange |= 1 << bit
            if self._quotas[pool.id].can_be_in_quota(job.account, kind.gpus(bit)):
                kind.guaranteed |= 1 << bit
        places = [kind.order[bit] for bit in bits(kind.mask)]
        kind.in_turn = places == sorted(places)
        kind.ages = self._ages.setdefault(shape, [])
        return kind

    def tidy(self) -> None:
        """Forget empty kinds, if there are many: nothing that planning looks at changes."""
        self._forgotten.clear()
        if self._empty <= max(_SPARE, len(self._kinds) // 2):
            return
        self._kinds = {key: kind for key, kind in self._kinds.items() if kind.queue}
        self._shapes = {kind.shape: kind.shape for kind in self._kinds.values()}
        self._of_account = {}
        for kind in self._kinds.values():
            self._of_account.setdefault(kind.account, []).append(kind)
        for kinds in self._of_account.values():
            kinds.sort(key=lambda kind: kind.key)
        self._accounts = self._tree = None
        self._empty = 0

    def accounts(self) -> list[AccountName]:
        """Return the accounts that have, or lately had, jobs waiting, by name."""
        if self._accounts is None:
            self._accounts = sorted(self._of_account)
        return self._accounts

    def tree(self) -> Tree:
        """Return the same accounts, by who is above them."""
        if self._tree is None:
            self._tree = Tree.of(self._index, self.accounts())
        return self._tree

    def of(self, account: AccountName) -> list[Kind]:
        """Return an account's kinds, in the order of their keys; some may be empty."""
        return self._of_account.get(account, [])

    def reach(self, account: AccountName) -> Reach:
        """Return where an account's jobs could start."""
        known = self._reach.get(account)
        if known is None:
            kinds = [kind for kind in self.of(account) if kind.queue]
            known = self._reach[account] = Reach(
                {turn: _places(kinds, turn) for turn in QuotaClass},
                any(kind.shape.reservation is not None for kind in kinds),
            )
        return known

    def kinds(self) -> Iterator[Kind]:
        """Yield every kind that has jobs, by account and key."""
        for account in self.accounts():
            yield from (kind for kind in self._of_account[account] if kind.queue)

    def oldest(self, before: datetime, each: int) -> Iterable[Job]:
        """Return the oldest jobs of every shape that came before then, oldest first.

        Background work is not among them: nothing is ever held for it (R2).
        """
        found: list[Age] = []
        for shape, ages in self._ages.items():
            if shape.background or not ages or ages[0][0] > before:
                continue
            found += self._first(ages, each, before)
        return [self.jobs[job] for _, _, job in sorted(found)]

    def _first(self, ages: list[Age], each: int, before: datetime) -> list[Age]:
        first: list[Age] = []
        while ages and len(first) < each and ages[0][0] <= before:
            age = heappop(ages)
            job = self.jobs.get(age[2])
            if job is None:
                self._forgotten.add(age[2])
            elif job.submitted_at == age[0] and age not in first[-1:]:
                first.append(age)
        for age in first:
            heappush(ages, age)
        return first

    def _forget_gone(self, ages: list[Age]) -> None:
        ages[:] = {age for age in ages if age[2] in self.jobs}
        heapify(ages)

    def position(self, job_id: JobId) -> int | None:
        """Return a job's place in its account's queue, from 1; None where it does not wait."""
        job = self.jobs.get(job_id)
        if job is None:
            return None
        place = self.entry(job)
        return 1 + sum(kind.queue.before(place) for kind in self.of(job.account))

    def state(self) -> dict[object, object]:
        """Return every queue, and where its jobs have room: for comparing worlds."""
        self._rooms.bring_forward()
        return {
            key: (tuple(kind.queue), kind.fits.room, kind.mask, kind.guaranteed)
            for key, kind in self._kinds.items()
            if kind.queue
        }


def _places(kinds: Iterable[Kind], turn: QuotaClass) -> Places:
    """Return where kinds could start in a pass."""
    pools: dict[FitClass, int] = {}
    mine, union = tuple(kind for kind in kinds if kind.within(turn)), 0
    for kind in mine:
        within = kind.within(turn)
        pools[kind.fits] = pools.get(kind.fits, 0) | within
        union |= within
    return Places(mine, tuple(pools.items()), frozenset(kind.shape for kind in mine), union)
