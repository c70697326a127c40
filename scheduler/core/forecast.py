"""When would each waiting job start? The planner itself is asked, under virtual time.

`forecast` lets every run use its whole time limit: the latest starts that today's queue
foresees. `outlook` lets runs end as runs like them did before (`predict.py`), in a few
scenarios, and gives an interval that should hold in four cases of five (scheduling.md §5).
Whether it does is counted, and corrects it (`eta.py`).

Scenarios are drawn without chance: each run takes another quantile of its run times in each
scenario, spread evenly, so the same world gives the same forecast.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from zlib import crc32

from scheduler.core import instants
from scheduler.core.decisions import Plan, Start
from scheduler.core.eta import Eta
from scheduler.core.model import JobId, Run, RunId
from scheduler.core.plan import plan
from scheduler.core.policy import Policy
from scheduler.core.predict import HIGH, LIKELY, LOW, Predictor, Runtimes, quantile
from scheduler.core.snapshot import Snapshot
from scheduler.core.timeline import OVERDUE
from scheduler.core.world import World, requeued_job

STEPS = 20
SCENARIOS = 9
# Scenarios and steps by the length of the queue: a forecast costs about a cycle for each
# step of each scenario, so a long queue is looked at less far ahead and in fewer ways.
_EFFORT = ((100, 9, 60), (500, 5, 30), (5_000, 3, 6))
_LEAST_EFFORT = (1, 3)
GRAIN = 0.05
"""Ends that are closer together than this part of the time looked ahead are taken at once."""

Lasts = Callable[[Run, datetime], timedelta]
"""How much longer a run goes on from an instant, its time limit left aside."""

_GOLDEN = 0.6180339887498949  # the most even way to go on dividing a circle
_EVER = timedelta(days=3650)


def forecast(
    world: World, policy: Policy, now: datetime, limit_steps: int = STEPS
) -> Mapping[JobId, datetime]:
    """Return the latest expected starts of the jobs that wait now; a step costs about a cycle."""
    return _Ahead(policy, world.snapshot(), now, lambda _run, _at: _EVER, 0.0).starts(
        set(world.jobs), limit_steps
    )


def typical_starts(
    foresight: "Foresight", snapshot: Snapshot, now: datetime, wanted: Collection[JobId], steps: int
) -> Mapping[JobId, datetime]:
    """Return when jobs start if every run lasts as long as is likely; ends once all have."""
    lasts = foresight.lasts(lambda _job: LIKELY)
    return _Ahead(foresight.policy, snapshot, now, lasts, GRAIN).starts(set(wanted), steps)


def effort(jobs: int) -> tuple[int, int]:
    """Return how many scenarios, and steps in each, a queue of so many jobs is worth."""
    return next(
        ((scenarios, steps) for most, scenarios, steps in _EFFORT if jobs <= most), _LEAST_EFFORT
    )


def outlook(
    foresight: "Foresight",
    snapshot: Snapshot,
    now: datetime,
    scenarios: int = SCENARIOS,
    steps: int = STEPS,
) -> Mapping[JobId, Eta]:
    """Return the expected starts of the jobs that wait; costs scenarios x steps cycles."""
    found: dict[JobId, list[datetime | None]] = {job: [] for job in snapshot.jobs}
    for number in range(scenarios):
        lasts = foresight.lasts(_even(number))
        ahead = _Ahead(foresight.policy, snapshot, now, lasts, GRAIN)
        starts = ahead.starts(set(snapshot.jobs), steps)
        for job, all_starts in found.items():
            all_starts.append(starts.get(job))
    etas = {job: _eta(starts, foresight.informed) for job, starts in found.items()}
    return {job: eta for job, eta in etas.items() if eta is not None}


@dataclass(frozen=True, slots=True)
class Outlook:
    """One job's expected start, and the start itself as most scenarios have it; None: too far."""

    eta: Eta | None
    start: Start | None


def outlook_of(
    foresight: "Foresight", snapshot: Snapshot, now: datetime, job: JobId, effort: tuple[int, int]
) -> Outlook:
    """Return where and when one job should start; costs at most scenarios x steps cycles."""
    scenarios, steps = effort
    starts: list[datetime | None] = []
    decided: list[Start] = []
    for number in range(scenarios):
        lasts = foresight.lasts(_even(number))
        ahead = _Ahead(foresight.policy, snapshot, now, lasts, GRAIN)
        starts.append(ahead.starts({job}, steps).get(job))
        if job in ahead.decided:
            decided.append(ahead.decided[job])
    terms = Counter((start.pool, start.quota_class) for start in decided)
    usual = min(terms, key=lambda one: (-terms[one], one), default=None)
    start = next((one for one in decided if (one.pool, one.quota_class) == usual), None)
    return Outlook(_eta(starts, foresight.informed), start)


class Foresight:
    """How long runs go on, by what is known of runs like them."""

    def __init__(self, policy: Policy, predictor: Predictor) -> None:
        self.policy = policy
        self.informed = False
        self._predictor = predictor

    def lasts(self, part: Callable[[JobId], float]) -> Lasts:
        """Return the rest of each run by its quantile `part(job)`.

        Where nothing is known, any time up to the limit is as good as another.
        """

        def rest(run: Run, at: datetime) -> timedelta:
            found = self._runtimes(run, at)
            if found is None:
                return max(run.ends_by - at, timedelta(0)) * part(run.job)
            self.informed = True
            return timedelta(seconds=found.quantile(part(run.job)))

        return rest

    def _runtimes(self, run: Run, at: datetime) -> Runtimes | None:
        # A lease whose work has not begun has everything before it.
        elapsed = 0.0 if run.started_at is None else (at - run.started_at).total_seconds()
        return self._predictor.runtimes(run.user, run.account, run.gpus, run.name, elapsed)


def _even(scenario: int) -> Callable[[JobId], float]:
    def part(job: JobId) -> float:
        return (crc32(job.encode()) / 2**32 + scenario * _GOLDEN) % 1.0

    return part


def _eta(starts: list[datetime | None], informed: bool) -> Eta | None:
    """Return the interval of what was seen, by the same quantiles as run times; None: too far."""
    seen = sorted(start for start in starts if start is not None)
    if not seen:
        return None
    first = seen[0]
    # What was not reached is later than all that was.
    never = len(starts) - len(seen)
    after = [(start - first).total_seconds() for start in [*seen, *seen[-1:] * never]]
    low, likely, high = (
        first + timedelta(seconds=quantile(after, part)) for part in (LOW, LIKELY, HIGH)
    )
    reached = len(seen) / len(starts)
    return Eta(
        low, likely if reached > LIKELY else None, high if reached > HIGH else None, informed
    )


class _Ahead:
    """A copy of the world that runs ahead: plan, go to the next ends of runs, plan again."""

    def __init__(
        self, policy: Policy, snapshot: Snapshot, now: datetime, lasts: Lasts, grain: float
    ) -> None:
        self._world = World(policy, snapshot)
        self._now = self._at = now
        self._lasts = lasts
        self._grain = grain
        self._ends: list[tuple[datetime, RunId]] = []
        self._dates = deque(at for at in instants.dates(policy) if at > now)
        self.decided: dict[JobId, Start] = {}
        for run in snapshot.runs.values():
            self._foresee(run, now)

    def starts(self, wanted: set[JobId], steps: int) -> Mapping[JobId, datetime]:
        """Return the starts of wanted jobs, as far as so many steps lead, and dates between them.

        As many of the policy's dates are met besides, so that those of others take no steps.
        """
        found: dict[JobId, datetime] = {}
        dates = steps
        while steps > 0:
            decided = plan(self._world, self._world.policy, self._at)
            self._carry_out(decided, found)
            if wanted <= found.keys() or not self._world.jobs:
                break
            if dates and self._meet_date(decided):
                dates -= 1
                continue
            steps -= 1
            if not self._go_on(decided):
                break
        return {job: start for job, start in found.items() if job in wanted}

    def _carry_out(self, decided: Plan, found: dict[JobId, datetime]) -> None:
        notices = {preempt.run: preempt.notice for preempt in decided.preempts}
        self._world.advance(decided)
        for run in notices:
            self._foresee(self._world.runs[run], self._at)
        leased = {run.job: run for run in self._world.runs.values()} if decided.starts else {}
        for start in decided.starts:
            victims = (self._world.runs.get(run) for run in start.after)
            stops = [run.stop_at for run in victims if run is not None and run.stop_at is not None]
            begins_at = max([self._at, *stops])  # One that should have left by now may not have.
            found.setdefault(start.job, begins_at)
            self.decided.setdefault(start.job, start)
            self._foresee(leased[start.job], begins_at)

    def _foresee(self, run: Run, at: datetime) -> None:
        """Note when the run ends, the sooner of what is foreseen and what its limit allows."""
        limit = run.ends_by if run.leased_at < self._at else at + run.time_limit
        end = min(limit, at + self._lasts(run, at))
        if run.stop_at is not None:
            end = min(end, run.stop_at)
        heappush(self._ends, (end if end > at else at + OVERDUE, run.id))

    def _meet_date(self, decided: Plan) -> bool:
        """Go to the policy's next date, unless a run ends or a job is to start before it (R7)."""
        dates = self._dates
        while dates and dates[0] <= self._at:
            dates.popleft()
        planned = (reserve.start_at for reserve in decided.reserves)
        ends = (at for at, _ in self._ends[:1])
        before = min((at for at in (*planned, *ends) if at > self._at), default=None)
        if not dates or (before is not None and before < dates[0]):
            return False
        self._at = dates.popleft()
        return True

    def _go_on(self, decided: Plan) -> bool:
        """Go to the next time at which something happens; False where nothing ever will."""
        planned = [reserve.start_at for reserve in decided.reserves if reserve.start_at > self._at]
        if not self._ends:
            self._at = min(planned, default=self._at)
            return bool(planned)
        until = self._ends[0][0]
        until = max(until, self._at + (until - self._now) * self._grain)
        while self._ends and self._ends[0][0] <= until:
            self._at, run = heappop(self._ends)
            self._end(run)
        return True

    def _end(self, name: RunId) -> None:
        """End a run, and let it wait again if it was recalled."""
        run = self._world.runs.get(name)
        if run is None:
            return  # it was told to end sooner than first foreseen
        self._world.end_run(name)
        if run.draining:
            self._world.put_job(requeued_job(run, None))
