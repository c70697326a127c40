"""The cycle on one screen: who starts, who ends for whom, who is promised a start, who waits.

Read this first; each rule of docs/scheduling.md is in the module that carries it out:

R1 quotas, agreements  quota.py terms.py    R9  cost of victims   victims.py
R2 classes and order   plan.py ordering.py  R10 owner first       preemption.py cycle.py
                       turns.py             R11 cells             cells.py pinning.py
R3 decayed usage       fairshare.py use.py  R12 nobody starves    plan.py holding.py
R4 budgets             budgets.py terms.py  R13 spill-over        index.py cycle.py
R5 gangs, named GPUs   placement.py         R14 labels            labels.py index.py
R6 limits, planned     holding.py           R15 hardware          hardware.py index.py
   starts, backfill    timeline.py          R16 compute law       compute_law.py
                       backfill.py          R17 thresholds        crossings.py
R7 reservations        windows.py           R18 utilisation       idleness.py waste.py
R8 legal preemption    victims.py           R19 health            health.py xids.py
                       preemption.py                              placement.py verdicts.py
                       preemptable.py       R10, R11 together     recalling.py
                       leaving.py

Three passes, by class (R2): in-quota starts, with an owner's recall where needed; then
borrowed ones; then background work. In each, the jobs that have waited too long come first
(R12), then accounts take turns by least share, and a kind of job that cannot start is tried
once: its head is told why, the rest wait behind it. Whom a pass need not try at all says
reach.py.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from heapq import heapify, heappop, heapreplace

from scheduler.core import guests, holding
from scheduler.core.backfill import longest_limit
from scheduler.core.balance import ByAge
from scheduler.core.cycle import Cycle
from scheduler.core.decisions import Plan, Start
from scheduler.core.model import AccountName, JobId, QuotaClass
from scheduler.core.ordering import Entry, Kind, in_order
from scheduler.core.policy import Backfill, Order, Policy
from scheduler.core.reach import Reach
from scheduler.core.turns import Tree, Turns
from scheduler.core.verdicts import Holds
from scheduler.core.world import EVERYBODY, World

_NOBODY = timedelta(0)
"""The longest time limit with which more of a kind may start, where nobody may."""

_FIRST = 16
"""After so many turns few shapes are left of which anybody would be promised a start."""


def plan(world: World, policy: Policy, now: datetime, *, told: bool = False) -> Plan:
    """Return what to do at `now`. The world is left as it was.

    Args:
        world: the working state, built for this policy.
        policy: the rules.
        now: the time of the cycle.
        told: whether all verdicts will be read: then they are worked out at once, which is
            cheaper than later. The plan is the same.

    Raises:
        ValueError: the world was built for another policy.
    """
    if policy is not world.policy and policy != world.policy:
        raise ValueError(
            f"the world was built for policy revision {world.policy.revision}, "
            f"not for {policy.revision}: build it anew"
        )
    world.waiting.tidy()
    cycle = Cycle(world, now)
    try:
        cycle.end_for_windows()
        if world.jobs:
            usage = world.usage_at(now) if policy.rules.order is Order.FAIR else {}
            for turn in QuotaClass:
                _Pass(cycle, turn, usage).run()
            guests.seat(cycle, usage)
        holds = Holds(cycle)
        if told:
            holds.read()
    finally:
        cycle.rollback()
    return Plan(
        now=now,
        policy_revision=policy.revision,
        starts=tuple(cycle.starts),
        preempts=tuple(cycle.preempts),
        reserves=tuple(cycle.reserves.values()),
        holds=holds,
    )


def _groups(world: World) -> Tree:
    """Return who takes turns: accounts; without fair shares, everybody is in one queue."""
    if world.policy.rules.order is Order.FIFO:
        return Tree.of(world.index, [EVERYBODY])
    return world.waiting.tree()


class _Pass:
    """One class's turn: where each kind stands, its next job to try and its longest limit."""

    def __init__(self, cycle: Cycle, turn: QuotaClass, usage: Mapping[AccountName, float]) -> None:
        self._cycle = cycle
        self._turn = turn
        self._usage = usage
        self._jobs = cycle.world.jobs
        self._waiting = cycle.world.waiting
        self._heads: dict[AccountName, list[tuple[Entry, int, Kind]]] = {}
        self._limit: dict[Kind, timedelta] = {}
        self._is_over = False  # strictly first come, first served: one that waits has ended it
        cycle.wanted.begin(cycle.world.waiting.kinds_of[turn])
        self._reach = Reach(cycle, turn)
        self._may: set[Kind] = set()  # those that may start, as far as one look tells
        self._left: Counter[AccountName] = Counter()  # how many of them a group still has

    def run(self) -> None:
        """Let everyone take turns until nobody has anything left to try."""
        if self._cycle.rules.backfill is Backfill.HOLDS:
            self._serve_aged()
        if not self._waiting.kinds_of[self._turn] or self._cycle.is_over:
            return
        turns, served = self._turns(), 0
        all_of_them = self._cycle.rules.backfill is not Backfill.STRICT
        while not self._is_over and (group := turns.take()) is not None:
            turns.give_back(*self._serve(group))
            served += 1
            if all_of_them and (served == _FIRST or not self._cycle.wanted.is_any()):
                # From here on only those who may start, or be promised, something are of interest.
                turns.narrow(self._worth)
                all_of_them = self._cycle.wanted.is_any()

    def _turns(self) -> Turns | ByAge:
        world = self._cycle.world
        if self._cycle.rules.order is Order.BALANCED:
            return ByAge(world, self._next_of)
        return Turns(world.index, self._usage, _groups(world))

    def _next_of(self, group: AccountName) -> datetime | None:
        """Return when the group's next job came, with its handicap."""
        heads = self._heads_of(group)
        return heads[0][0][1] if heads else None

    def _serve_aged(self) -> None:
        """Start or promise a start to those who have waited longer than `hold_after` (R12)."""
        rules = self._cycle.rules
        if self._turn is QuotaClass.BACKGROUND or not rules.hold_depth:
            return
        before = self._cycle.now - rules.aged_after(2)  # gangs, which wait the least
        left = {True: rules.hold_depth, False: rules.hold_depth}
        for job in self._waiting.oldest(before, rules.hold_depth):
            is_gang = job.shape.nodes > 1
            if not left[is_gang] or not self._cycle.is_aged(job):
                continue
            left[is_gang] -= 1
            kind = self._waiting.kind_of(job.id)
            if not kind.within(self._turn) or not self._is_ready(kind, job.id):
                continue
            if self._cycle.try_start(kind, job, self._turn) is None:
                holding.reserve(self._cycle, kind, job, self._turn, aged=True)

    def _serve(self, group: AccountName) -> tuple[float, bool]:
        """Try a group's jobs in order until one starts; return its usage, and if more may."""
        heads = self._heads_of(group)
        while heads and not self._is_over:
            place, number, kind = heads[0]
            if not self._left[group] and not self._is_of_interest(kind):
                heappop(heads)
                continue
            start = self._try(kind, place)
            following = self._next(kind, place)
            if following is None:
                heappop(heads)
                self._left[group] -= kind in self._may
            else:
                heapreplace(heads, (following, number, kind))
            if start is not None:
                return self._cycle.tentative_usage(start), bool(heads)
            if self._cycle.rules.order is Order.BALANCED:
                break  # somebody else's next job may have come before
        return 0.0, bool(heads)

    def _is_of_interest(self, kind: Kind) -> bool:
        """Return whether a kind's head matters where nobody behind it may start."""
        return kind in self._may or holding.wants(self._cycle, kind)

    def _try(self, kind: Kind, place: Entry) -> Start | None:
        # Asked again: since it was queued, its user may have reached a limit elsewhere.
        if kind.user and not self._cycle.user_has_room(kind):
            return None
        start = None
        if kind in self._may:
            start = self._cycle.try_start(kind, self._jobs[place[3]], self._turn)
        if start is None:
            self._block(kind, place)
        return start

    def _heads_of(self, group: AccountName) -> list[tuple[Entry, int, Kind]]:
        heads = self._heads.get(group)
        if heads is None:
            heads = self._heads[group] = self._queue(group) if self._worth((group,)) else []
        return heads

    def _worth(self, groups: Collection[AccountName]) -> set[AccountName]:
        """Return those of the accounts that may have anything to start, or to be promised."""
        if EVERYBODY in groups or self._cycle.rules.backfill is Backfill.STRICT:
            return set(groups)
        found = self._reach.some(groups)
        wanted = self._cycle.wanted.shapes
        if wanted and self._turn is not QuotaClass.BACKGROUND:
            turn, reach = self._turn, self._waiting.reach
            found |= {a for a in groups if not wanted.isdisjoint(reach(a).places[turn].shapes)}
        return found

    def _queue(self, group: AccountName) -> list[tuple[Entry, int, Kind]]:
        """Return the heads of a group's kinds that may start, and of those to be promised a start.

        Where one may start in quota, all of them: what those before it wait for is not for it.
        """
        cycle, backfill = self._cycle, self._cycle.rules.backfill
        if group == EVERYBODY:
            mine = [kind for kind in self._waiting.kinds() if kind.within(self._turn)]
        else:
            mine = list(self._waiting.reach(group).places[self._turn].kinds)
        strict = backfill is Backfill.STRICT
        may = mine if strict else [kind for kind in mine if self._may_start(kind)]
        self._may.update(may)
        self._left[group] = len(may)
        keeps_quota = backfill is Backfill.HOLDS and self._turn is QuotaClass.IN_QUOTA
        if not strict and not (keeps_quota and may):
            mine = [kind for kind in mine if kind in self._may or holding.wants(cycle, kind)]
        placed = ((self._next(kind, None), number, kind) for number, kind in enumerate(mine))
        heads = [(place, number, kind) for place, number, kind in placed if place is not None]
        heapify(heads)
        return heads

    def _may_start(self, kind: Kind) -> bool:
        """Return whether a start is not ruled out at a glance."""
        if self._reach.kind(kind):
            return True
        if self._turn is QuotaClass.IN_QUOTA:
            return self._may_recall(kind)
        world, shares = self._cycle.world, self._cycle.rules.share_preemption
        preemptable = world.lent_out if shares else world.in_background
        return bool(kind.mask & preemptable) and holding.wants(self._cycle, kind)

    def _may_recall(self, kind: Kind) -> bool:
        """Return whether some pool has runs to recall, and nominal left for one more of these."""
        world = self._cycle.world
        below = world.below.pools(kind.account, kind.fits.least)
        mask = kind.guaranteed & world.lent_out & below
        for bit in in_order(kind, mask):
            own = world.quotas_by_bit[bit].path(kind.account)[0]
            if own.used + kind.fits.gpus[bit] <= own.nominal:
                return True
        return False

    def _block(self, kind: Kind, place: Entry) -> None:
        """Take note that a job waits: promise it a start, and let only shorter ones go on."""
        cycle = self._cycle
        limit = _NOBODY
        if kind in self._may and (cycle.held_back or cycle.over_budget):
            limit = longest_limit(cycle, kind, self._jobs[place[3]], self._turn)
        if kind not in self._limit:
            if cycle.rules.backfill is Backfill.STRICT:
                self._end_with(kind, place[3])
                return
            self._promise(kind, place)
        self._limit[kind] = limit

    def _end_with(self, kind: Kind, job: JobId) -> None:
        """End the pass for all behind a job, and the cycle unless it may borrow yet (R6)."""
        self._is_over = True
        if not (self._turn is QuotaClass.IN_QUOTA and kind.within(QuotaClass.BORROWED)):
            self._cycle.is_over, self._cycle.blocked_first = True, job

    def _promise(self, kind: Kind, place: Entry) -> None:
        holding.promise(self._cycle, kind, place[3], self._turn)
        behind: Entry | None = place
        for _ in range(1, self._cycle.rules.reserve_depth):
            behind = kind.queue.after(behind)
            if behind is None:
                return
            if self._cycle.held(self._jobs[behind[3]]) is None:
                holding.promise(self._cycle, kind, behind[3], self._turn)

    def _next(self, kind: Kind, place: Entry | None) -> Entry | None:
        """Return the kind's first job behind `place` that may be tried."""
        limit = self._limit.get(kind)
        if limit is not None and not limit:
            return None
        while (place := kind.queue.after(place, limit)) is not None:
            if self._is_ready(kind, place[3]):
                return place
        return None

    def _is_ready(self, kind: Kind, job: JobId) -> bool:
        """Return whether the job waits for no reason of its own, that no pool can change."""
        # Mostly no job has such a reason: then not even its name is looked at, far off in memory.
        later, training = self._waiting.later, self._waiting.training
        if later and later.get(job, self._cycle.now) > self._cycle.now:
            return False
        if training and job in training and self._cycle.held(self._jobs[job]) is not None:
            return False
        return not kind.user or self._cycle.user_has_room(kind)
