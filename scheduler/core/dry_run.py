"""What would become of a job if it were submitted now? Planned, priced, and nothing is changed.

The job as asked for, and as few other ways of asking as a person would compare: one tier
alone, and half the GPUs where that starts sooner. Each is admitted as a submission would be,
put behind all that waits on a copy of the world, and planned: with the next cycle first, and
where that does not start it, ahead in scenarios (`forecast.py`).

Three of them are of interest: the one that starts first, the one that is done first, and the
cheapest. The one to begin with is done first, unless it costs half as much again as the
cheapest (notes on portals, 4.3).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.core import admission
from scheduler.core.admission import Admitted, Ask, Refusal
from scheduler.core.cut import cut
from scheduler.core.decisions import Plan, Start
from scheduler.core.eta import Eta
from scheduler.core.explain import Verdict
from scheduler.core.forecast import Foresight, outlook_of
from scheduler.core.model import (
    AccountName,
    Budget,
    Job,
    JobId,
    PoolId,
    QuotaClass,
    Tier,
)
from scheduler.core.plan import plan
from scheduler.core.policy import Policy
from scheduler.core.predict import Level, Predictor
from scheduler.core.snapshot import Snapshot
from scheduler.core.terms import Purse
from scheduler.core.thresholds import UNNAMED
from scheduler.core.training import Training
from scheduler.core.ways import Basis, Way
from scheduler.core.world import World

NAME = JobId("dry-run")
"""The job's id on the copy of the world; no stored job's has a hyphen."""

DEARER = 1.5
"""What is done first is begun with unless it costs so many times what the cheapest does."""

_LEAST_GAIN = timedelta(minutes=1)
_MILLI_HOURS = 1000 * 3600  # thousandths of an H100e-second in an H100e-hour
# Scenarios and steps of each candidate, by how many jobs wait and run.
_EFFORT = ((200, (5, 80)), (1_000, (3, 30)), (3_000, (3, 8)))
_EFFORT_OF_PART = (3, 8)
_MOST_RUNS = 20_000
_NEXT_CYCLE_ALONE = (0, 0)


@dataclass(frozen=True, slots=True)
class Length:
    """How long the run should last, as an interval; `level` is what the past runs had in common.

    From a time that was stated, or from the limit alone, nothing is known but that one number.
    """

    low: timedelta
    likely: timedelta
    high: timedelta
    basis: Basis
    samples: int = 0
    level: Level | None = None


@dataclass(frozen=True, slots=True)
class QuotaEffect:
    """What a start does to its account's quota in the pool, in GPUs; None: it has none there.

    `budget` is the tightest one over the account, with what is `left` of it before and the
    most that the job may take of it (R4), in H100e-hours.
    """

    nominal: int | None
    used: int | None
    used_after: int | None
    budget: Budget | None
    left: float | None
    most: float | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way of asking, and what would become of it.

    `start` is where and on which terms it begins, by the next cycle where `starts_now`, else
    in most scenarios; None where none reached it. `eta` is when, `price` the H100e-hours of
    the likely run and `most` those of the whole limit: 0 for background work. `verdicts` say
    why the next cycle does not start it.
    """

    way: Way
    ask: Ask
    job: Job
    length: Length
    starts_now: bool
    start: Start | None = None
    eta: Eta | None = None
    tier: Tier | None = None
    gpus: int = 0
    price: float | None = None
    most: float | None = None
    quota: QuotaEffect | None = None
    verdicts: tuple[Verdict, ...] = ()

    @property
    def done(self) -> Eta | None:
        """Return when it should be over: both intervals' ends added, which is rather too wide."""
        if self.eta is None:
            return None
        likely, high = self.eta.likely, self.eta.high
        return Eta(
            self.eta.low + self.length.low,
            None if likely is None else likely + self.length.likely,
            None if high is None else high + self.length.high,
            self.eta.informed,
        )


@dataclass(frozen=True, slots=True)
class DryRun:
    """All candidates, the job as asked for first; the others by their place among them.

    None where no candidate's start could be foreseen. `note` says what was left out of planning.
    """

    admitted: Admitted
    candidates: tuple[Candidate, ...]
    starts_first: int | None
    done_first: int | None
    cheapest: int | None
    usual: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What would be submitted, by somebody who has so many jobs `pending`.

    `stated` is how long its owner thinks that it runs; `foreseen` is what the hub stores with
    a job by which queues may be ordered (R2); `trained` is what its model line has, in
    petaFLOP, without it (R17).
    """

    ask: Ask
    pending: int = 0
    stated: timedelta | None = None
    foreseen: Callable[[Admitted], timedelta | None] = lambda _admitted: None
    trained: int = 0


def dry_run(
    policy: Policy, snapshot: Snapshot, asked: Asked, now: datetime, predictor: Predictor
) -> DryRun | Refusal:
    """Return what would become of the job, or the refusal that a submission would meet."""
    admitted = admission.check(asked.ask, policy, asked.pending, now)
    if isinstance(admitted, Refusal):
        return admitted
    desk = _Desk(policy, snapshot, asked, now, predictor)
    first = desk.candidate(Way.AS_ASKED, asked.ask, admitted)
    found = [first, *_other_tiers(desk, admitted, first)]
    fewer = _fewer(desk, first)
    if fewer is not None:
        found.append(fewer)
    return _compared(admitted, found, desk.note)


class _Desk:
    """The copy of the world on which each candidate is tried."""

    def __init__(
        self,
        policy: Policy,
        snapshot: Snapshot,
        asked: Asked,
        now: datetime,
        predictor: Predictor,
    ) -> None:
        self.policy, self.asked, self.now = policy, asked, now
        self._predictor = predictor
        self._whole = snapshot
        self._foresight = Foresight(policy, predictor)
        self._sequence = max((job.sequence for job in snapshot.jobs.values()), default=0) + 1
        self.note = ""

    def candidate(self, way: Way, ask: Ask, admitted: Admitted) -> Candidate:
        """Try one way of asking."""
        job = self._job(admitted)
        snapshot, effort = self._part(job)
        world = World(self.policy, replace(snapshot, jobs={**snapshot.jobs, NAME: job}))
        decided = plan(world, self.policy, self.now)
        found = Candidate(way, ask, job, self._length(job), starts_now=False)
        start = next((one for one in decided.starts if one.job == NAME), None)
        if start is not None:
            eta = _at_once(decided, start, world)
            return self._priced(replace(found, starts_now=True, eta=eta), start, world)
        found = replace(found, verdicts=_verdicts(decided, job.account, job))
        ahead = outlook_of(self._foresight, world.snapshot(), self.now, NAME, effort)
        found = replace(found, eta=ahead.eta)
        return found if ahead.start is None else self._priced(found, ahead.start, world)

    def _job(self, admitted: Admitted) -> Job:
        # Behind all that waits, as the one submitted last.
        return Job(
            id=NAME,
            user=self.asked.ask.user,
            account=admitted.account.name,
            shape=admitted.shape,
            priority=admitted.priority,
            submitted_at=self.now,
            sequence=self._sequence,
            time_limit=admitted.time_limit,
            name=admitted.name,
            predicted=self.asked.foreseen(admitted),
            training=self._training(admitted),
        )

    def _training(self, admitted: Admitted) -> Training | None:
        """Return what the job trains, on top of what its line has (R17)."""
        training = admitted.training
        if training is None or training.line == UNNAMED:
            return training
        return replace(training, reaches=training.reaches + self.asked.trained)

    def _part(self, job: Job) -> tuple[Snapshot, tuple[int, int]]:
        """Return as much of the world as can be planned while somebody waits."""
        count = len(self._whole.jobs) + len(self._whole.runs)
        effort = next((effort for most, effort in _EFFORT if count <= most), None)
        if effort is not None:
            return self._whole, effort
        part = cut(self.policy, self._whole, job, ())
        self.note = part.sentence()
        if len(self._whole.runs) > _MOST_RUNS:
            return part.snapshot, _NEXT_CYCLE_ALONE
        return part.snapshot, _EFFORT_OF_PART

    def _length(self, job: Job) -> Length:
        limit = job.time_limit
        found = self._predictor.predict(job.user, job.account, job.shape.gpus, job.name)
        # Runs that have next to nothing in common with it say less than its owner does.
        near = found is not None and found.level in (Level.NAME, Level.USER, Level.SHAPE)
        if found is not None and (near or self.asked.stated is None):
            low, likely, high = (
                min(limit, timedelta(seconds=seconds))
                for seconds in (found.low, found.likely, found.high)
            )
            return Length(low, likely, high, Basis.HISTORY, found.samples, found.level)
        if self.asked.stated is None:
            return Length(limit, limit, limit, Basis.LIMIT)
        ask, stated = self.asked.ask, self.asked.stated
        if not ask.h100e:  # half the GPUs take twice as long
            stated = stated * (ask.nodes * ask.gpus_per_node) / job.shape.gpus
        stated = min(limit, stated)
        return Length(stated, stated, stated, Basis.STATED)

    def _priced(self, found: Candidate, start: Start, world: World) -> Candidate:
        gpus = sum(len(slot.gpus) for slot in start.slots)
        charged = not found.job.shape.background
        rate = gpus * world.index.factor(start.pool, self.now) if charged else 0
        price = rate * found.length.likely.total_seconds() / _MILLI_HOURS
        most = rate * found.job.time_limit.total_seconds() / _MILLI_HOURS
        pool = next(pool for pool in self.policy.pools if pool.id == start.pool)
        return replace(
            found,
            start=start,
            tier=pool.tier,
            gpus=gpus,
            price=price,
            most=most,
            quota=self._effect(found.job, start, gpus, most, world),
        )

    def _effect(self, job: Job, start: Start, gpus: int, most: float, world: World) -> QuotaEffect:
        kind = world.waiting.kind_of(job.id)
        tightest = Purse(world, self.now).tightest(kind)
        budget, left = (None, None) if tightest is None else tightest
        in_hours = None if left is None else left / _MILLI_HOURS
        counted = start.quota_class is not QuotaClass.BACKGROUND
        path = world.quotas[start.pool].path(job.account)
        if not path or not counted:
            return QuotaEffect(None, None, None, budget, in_hours, most if budget else None)
        own = path[0]
        return QuotaEffect(
            own.nominal, own.used, own.used + gpus, budget, in_hours, most if budget else None
        )


def _at_once(decided: Plan, start: Start, world: World) -> Eta:
    """Return when a start of the next cycle begins: once those who must leave have left."""
    now = decided.now
    told = [now + preempt.notice for preempt in decided.preempts if preempt.run in start.after]
    leaving = [run.stop_at for run in world.runs.values() if run.id in start.after and run.stop_at]
    begins_at = max([*told, *leaving], default=now)
    return Eta(begins_at, begins_at, begins_at)


def _verdicts(decided: Plan, account: AccountName, job: Job) -> tuple[Verdict, ...]:
    """Return the job's own verdict, or that of the group in which it waits."""
    mine = [hold for hold in decided.holds if hold.account == account]
    own = next((hold for hold in mine if hold.job == job.id), None)
    group = next((hold for hold in mine if hold.job is None and hold.shape == job.shape), None)
    found = own or group
    return () if found is None else found.verdicts


def _other_tiers(desk: _Desk, admitted: Admitted, first: Candidate) -> Iterator[Candidate]:
    """Yield the job on each single tier of those that it may use, but the one it gets anyway."""
    shape = admitted.shape
    if shape.reservation is not None or shape.tier_min is shape.tier_max:
        return
    there = sorted({pool.tier for pool in desk.policy.pools}, key=lambda tier: tier.rank)
    for tier in there:
        if not shape.tier_min.rank <= tier.rank <= shape.tier_max.rank or tier is first.tier:
            continue
        ask = replace(desk.asked.ask, tiers=(tier,))
        alone = admission.check(ask, desk.policy, desk.asked.pending, desk.now)
        if isinstance(alone, Admitted):
            yield desk.candidate(Way.TIER, ask, alone)


def _fewer(desk: _Desk, first: Candidate) -> Candidate | None:
    """Return the job on half the GPUs, where that starts sooner and its work still fits."""
    ask = desk.asked.ask
    if first.starts_now or ask.h100e or (ask.nodes, ask.gpus_per_node) == (1, 1):
        return None
    if ask.nodes > 1:
        less = replace(ask, nodes=ask.nodes // 2)
    else:
        less = replace(ask, gpus_per_node=ask.gpus_per_node // 2)
    alone = admission.check(less, desk.policy, desk.asked.pending, desk.now)
    if isinstance(alone, Refusal) or 2 * first.length.likely > alone.time_limit:
        return None
    found = desk.candidate(Way.FEWER, less, alone)
    before = first.eta.likely if first.eta else None
    likely = found.eta.likely if found.eta else None
    sooner = likely is not None and (before is None or before - likely >= _LEAST_GAIN)
    return found if sooner else None


def _compared(admitted: Admitted, found: Sequence[Candidate], note: str) -> DryRun:
    """Say which is which; of equal ones the first, so that fewer differ."""
    begin = [(one.eta.likely, at) for at, one in enumerate(found) if one.eta and one.eta.likely]
    dones = [(one.done, at) for at, one in enumerate(found)]
    end = [(done.likely, at) for done, at in dones if done is not None and done.likely is not None]
    reached = {at for _, at in end}
    costs = [
        (one.price, at) for at, one in enumerate(found) if one.price is not None and at in reached
    ]
    starts_first = min(begin, default=(None, None))[1]
    done_first = min(end, default=(None, None))[1]
    cheapest = min(costs, default=(None, None))[1]
    usual = done_first
    if done_first is not None and cheapest is not None:
        price, least = found[done_first].price or 0.0, found[cheapest].price or 0.0
        usual = cheapest if price > DEARER * least else done_first
    return DryRun(admitted, tuple(found), starts_first, done_first, cheapest, usual, note)


def recall_pool(found: Candidate) -> PoolId | None:
    """Return the pool whose recalls concern it; None where no owner can take its GPUs back."""
    if found.start is None or found.start.quota_class is QuotaClass.IN_QUOTA:
        return None
    return found.start.pool
