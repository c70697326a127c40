"""The simulator: the hub's part and the sites' part, played under a virtual clock.

Events go into a `World`; at each instant at which something happened, and whenever the
planner itself needs to look again, it is asked for a plan, which is carried out at once.
There is no other scheduling here: who starts, waits or is recalled is `core.plan`'s word,
as in the hub. What a site would report is worked out: a run ends when its work is done,
at its time limit, or at the end of its notice, and holds its GPUs until then.

Source: scheduling.md §2 ("one function"), R8.6, R9; `db/ending.py` is the hub's own way
of ending runs.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from heapq import heappop, heappush

from scheduler.core import instants
from scheduler.core.decisions import Plan, Preempt, Start
from scheduler.core.model import Job, JobId, Node, QuotaClass, Run, RunId, RunState
from scheduler.core.model import run_id as id_of_run
from scheduler.core.plan import plan
from scheduler.core.policy import Policy
from scheduler.core.predict import Predictor
from scheduler.core.recalls import Recall
from scheduler.core.snapshot import DropRun, Put, Snapshot
from scheduler.core.world import World, requeued_job
from scheduler.sim.attempt import Active, Costs
from scheduler.sim.billing import bills
from scheduler.sim.history import Attempt, Ended, EndedBy, History, Tally, Work

_NOTHING = timedelta(0)


class Engine:
    """One simulation. `cpu` tells CPU-seconds, `told` is called with the jobs that are over."""

    def __init__(
        self,
        policy: Policy,
        nodes: Sequence[Node],
        costs: Costs | None = None,
        predictor: Predictor | None = None,
        cpu: Callable[[], float] = lambda: 0.0,
        told: Callable[[int], None] = lambda _: None,
    ) -> None:  # each is a part of its own
        self.world = World(policy, Snapshot(nodes={node.id: node for node in nodes}))
        self._gpus = sum(len(node.gpus) for node in nodes)
        self._costs = costs or Costs()
        self._predictor = predictor
        self._cpu = cpu
        self._told = told
        self._works: Sequence[Work] = ()
        self._next = 0  # of the works: the first that was not submitted yet
        self._open: dict[JobId, Work] = {}
        self._attempts: dict[JobId, int] = {}
        self._kept: dict[JobId, timedelta] = {}
        self._active: dict[RunId, Active] = {}
        self._ends: list[tuple[datetime, int, RunId]] = []
        self._checkpoints: list[tuple[datetime, int, RunId]] = []
        self._order = 0  # breaks ties between events of one instant
        self._successors: dict[RunId, list[RunId]] = {}
        self._barred: dict[RunId, list[JobId]] = {}
        self._look_at: datetime | None = None
        # What time alone changes: the policy's dates, and when a job or run is old enough.
        self._dates, self._ages = instants.dates(policy), list[tuple[datetime, JobId | RunId]]()
        self._fresh: list[JobId] = []
        self._history: list[Attempt] = []
        self._ended: list[Ended] = []
        self._lost = 0.0
        self._tally = Tally()
        self._recalls: dict[RunId, Recall] = {}

    def run(self, works: Sequence[Work], begins_at: datetime) -> History:
        """Replay the jobs, which are in order of submission, until nothing more can happen."""
        self._works = works
        while (now := self._next_instant()) is not None:
            self._end_runs(now)
            self._submit(now)
            self._note_checkpoints(now)
            self._decide(now)
            self._told(len(self._ended))
        return History(
            begins_at,
            self._gpus,
            tuple(self._history),
            tuple(self._ended),
            tuple(self._open.values()),
            self._lost,
            self._tally,
            tuple(self._recalls.values()),
        )

    def _next_instant(self) -> datetime | None:
        """Return when something happens next, None where nothing ever will."""
        ends = self._ends
        while ends and not self._is_due(ends[0]):
            heappop(ends)
        known = [ends[0][0]] if ends else []
        if self._next < len(self._works):
            known.append(self._works[self._next].job.submitted_at)
        if self._look_at is not None and (self.world.jobs or self.world.runs):
            known.append(self._look_at)
        return min(known, default=None)

    def _is_due(self, event: tuple[datetime, int, RunId]) -> bool:
        """Return whether the run still ends then: it may have been told otherwise since."""
        active = self._active.get(event[2])
        return active is not None and active.end_at == event[0]

    def _submit(self, now: datetime) -> None:
        works = self._works
        while self._next < len(works) and works[self._next].job.submitted_at <= now:
            work = works[self._next]
            self._next += 1
            self._open[work.job.id] = work
            self._fresh.append(work.job.id)
            self.world.apply(Put(self._foreseen(work.job)))
            self._ripens(work.job.id, instants.ages(self.world.policy.rules, work.job))

    def _foreseen(self, job: Job) -> Job:
        if self._predictor is None:
            return job
        gpus = job.shape.gpus
        estimate = self._predictor.predict(job.user, job.account, gpus, job.name)
        if estimate is None:
            return job
        return replace(job, predicted=timedelta(seconds=estimate.mean))

    def _decide(self, now: datetime) -> None:
        before = self._cpu()
        decided = plan(self.world, self.world.policy, now)
        self.world.advance(decided)
        self._tally.planner_cpu += self._cpu() - before
        for preempt in decided.preempts:
            self._recall(preempt)
        for start in decided.starts:
            self._lease(start, now)
        self._look_at = self._look_again(decided)
        self._count(decided)

    def _count(self, decided: Plan) -> None:
        tally = self._tally
        tally.cycles += 1
        tally.starts += len(decided.starts)
        tally.preempts += len(decided.preempts)
        tally.planned.update(reserve.job for reserve in decided.reserves)
        tally.held.update(job for job in self._fresh if job in self.world.jobs)
        self._fresh.clear()

    def _recall(self, preempt: Preempt) -> None:
        active = self._active[preempt.run]
        active.run = self.world.runs[preempt.run]
        self._schedule(active)

    def _lease(self, start: Start, now: datetime) -> None:
        work = self._open[start.job]
        number = self._attempts.get(start.job, 0) + 1
        self._attempts[start.job] = number
        run = self.world.runs[id_of_run(start.job, number)]
        active = Active(
            work=work,
            run=run,
            overhead=self._costs.restart if number > 1 else _NOTHING,
            todo=work.duration - self._kept.get(start.job, _NOTHING),
            waits_for={victim for victim in start.after if victim in self._active},
        )
        self._active[run.id] = active
        for victim in active.waits_for:
            self._successors.setdefault(victim, []).append(run.id)
        if active.waits_for:
            self._note_recall(active, now)
            return
        # A site would report at once that it runs: since its lease, as the run says anyway.
        active.begun_at = now
        self._schedule(active)
        self._ripens(run.id, instants.victim_from(self.world.policy.rules, run))

    def _note_recall(self, active: Active, now: datetime) -> None:
        """Measure an owner's recall from here on, against the longest notice given (R10)."""
        run = active.run
        if run.quota_class is not QuotaClass.IN_QUOTA:
            return
        stops = (self._active[victim].run.stop_at for victim in active.waits_for)
        notice = max((stop - now for stop in stops if stop is not None), default=_NOTHING)
        promised = notice + self.world.policy.rules.teardown
        self._recalls[run.id] = Recall(run.account, run.pool, now, notice, promised)

    def _schedule(self, active: Active) -> None:
        """Foresee the run's end anew; what was foreseen before is passed over."""
        end_at = active.foresee()
        self._order += 1
        if end_at is not None:
            heappush(self._ends, (end_at, self._order, active.run.id))
        every = self._costs.checkpoint_every
        if every is not None and active.begun_at is not None and not active.run.draining:
            first = active.begun_at + active.overhead + every
            heappush(self._checkpoints, (first, self._order, active.run.id))

    def _note_checkpoints(self, now: datetime) -> None:
        """Report the last checkpoint of each run that wrote one: it makes a victim cheaper (R9)."""
        due, every = self._checkpoints, self._costs.checkpoint_every
        while every is not None and due and due[0][0] <= now:
            _, order, run_id = heappop(due)
            active = self._active.get(run_id)
            at = None if active is None else active.checkpointed_at(now, every)
            if active is None or at is None or active.run.draining:
                continue
            active.run = replace(active.run, checkpointed_at=at)
            self.world.apply(Put(active.run))
            heappush(due, (at + every, order, run_id))

    def _end_runs(self, now: datetime) -> None:
        ends = self._ends
        while ends and ends[0][0] <= now:
            event = heappop(ends)
            if self._is_due(event):
                self._end(self._active.pop(event[2]), now)

    def _end(self, active: Active, now: datetime) -> None:
        """End a run: GPUs free, usage settled, successors bound, the job over or requeued."""
        run = active.run
        self.world.apply(DropRun(run.id))
        begun_at = now if active.begun_at is None else active.begun_at
        for bill in bills(self.world, run, begun_at, now):
            self.world.apply(bill)
        attempt = Attempt(run.job, run.attempt, begun_at, now, active.ends_by, run.slots)
        self._history.append(attempt)
        successors = self._release_successors(run.id, now)
        if active.begun_at is None:
            self._unbar(run)  # the lease was never put to use
        worked = active.worked(now)
        if active.ends_by is EndedBy.PREEMPTED:
            gained = self._costs.kept(worked)
            self._requeue(active, gained, successors)
        else:
            gained = worked
            self._finish(active, gained, now)
        gpus = run.shape.gpus
        self._lost += gpus * (now - begun_at - gained).total_seconds()

    def _finish(self, active: Active, gained: timedelta, now: datetime) -> None:
        run = active.run
        work = self._open.pop(run.job)
        progress = self._kept.pop(run.job, _NOTHING) + gained
        self._ended.append(Ended(work, now, progress, run.attempt))
        self._attempts.pop(run.job)
        if self._predictor is not None:
            seconds = progress.total_seconds()
            self._predictor.observe(run.user, run.account, run.gpus, run.name, seconds)

    def _requeue(self, active: Active, gained: timedelta, successors: list[Active]) -> None:
        """Let the job wait again, with its age; not before those bind that it left for (R8.6)."""
        run = active.run
        self._kept[run.job] = self._kept.get(run.job, _NOTHING) + gained
        stops = [
            stop_at
            for successor in successors
            for victim in successor.waits_for
            if (stop_at := self._active[victim].run.stop_at) is not None
        ]
        for successor in successors:
            self._barred.setdefault(successor.run.id, []).append(run.job)
        job = requeued_job(run, max(stops, default=None))
        if self._costs.restart:
            # Its limit was for its work: getting going again comes on top.
            job = replace(job, time_limit=active.work.job.time_limit + self._costs.restart)
        self._fresh.append(run.job)
        self.world.apply(Put(job))
        self._ripens(job.id, instants.ages(self.world.policy.rules, job))

    def _release_successors(self, victim: RunId, now: datetime) -> list[Active]:
        """Bind the runs for which this was the last to leave; return those that wait on."""
        waiting = []
        for name in self._successors.pop(victim, ()):
            successor = self._active.get(name)
            if successor is None:
                continue
            successor.waits_for.discard(victim)
            if successor.waits_for:
                waiting.append(successor)
            else:
                self._bind(successor, now)
        return waiting

    def _bind(self, active: Active, now: datetime) -> None:
        """Begin to work on GPUs that were leased while others drained on them."""
        active.begun_at = now
        run = active.run
        recall = self._recalls.get(run.id)
        if recall is not None:
            self._recalls[run.id] = replace(recall, started_at=now)
        state = RunState.STOPPING if run.draining else RunState.RUNNING
        ends_by = now + run.time_limit
        active.run = replace(run, state=state, started_at=now, ends_by=ends_by)
        self.world.apply(Put(active.run))
        self._schedule(active)
        self._ripens(run.id, instants.victim_from(self.world.policy.rules, active.run))
        self._unbar(run)

    def _unbar(self, run: Run) -> None:
        """Let the jobs that left for this run compete again."""
        for job_id in self._barred.pop(run.id, ()):
            job = self.world.jobs.get(job_id)
            if job is not None and job.not_before is not None:
                self.world.apply(Put(replace(job, not_before=None)))

    def _ripens(self, name: JobId | RunId, when: Iterable[datetime]) -> None:
        for at in when:
            heappush(self._ages, (at, name))

    def _look_again(self, decided: Plan) -> datetime | None:
        """Return when the plan may be another although nothing happens before."""
        now, ages, world = decided.now, self._ages, self.world
        while ages and (ages[0][0] <= now or not self._is_there(ages[0][1])):
            heappop(ages)
        known = [reserve.start_at for reserve in decided.reserves]
        known += (at for at, _ in ages[:1])
        known += instants.counted_anew(world.turnovers.values())
        known += self._dates[bisect_right(self._dates, now) :][:1]
        return min((at for at in known if at > now), default=None)

    def _is_there(self, name: JobId | RunId) -> bool:
        return name in self.world.jobs or name in self.world.runs
