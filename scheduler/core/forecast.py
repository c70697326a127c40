"""When would each waiting job start, if every run used its whole time limit?

The planner itself is asked, again and again, on a copy of the world under virtual time:
to the next end of a run, the run ends, plan again. Limits are an upper bound, so these
are the latest starts that today's queue foresees; jobs not reached within the steps have
none.
"""

from collections.abc import Mapping
from datetime import datetime

from scheduler.core.model import JobId, Run
from scheduler.core.plan import plan
from scheduler.core.policy import Policy
from scheduler.core.timeline import OVERDUE
from scheduler.core.world import World, requeued_job

STEPS = 20


def forecast(
    world: World, policy: Policy, now: datetime, limit_steps: int = STEPS
) -> Mapping[JobId, datetime]:
    """Return expected starts of the jobs that wait now; each step costs about one cycle."""
    wanted = set(world.jobs)
    ahead = World(policy, world.snapshot())
    starts: dict[JobId, datetime] = {}
    at = now
    for _ in range(limit_steps):
        decided = plan(ahead, policy, at)
        notices = {preempt.run: preempt.notice for preempt in decided.preempts}
        for start in decided.starts:
            wait = max((notices[run] for run in start.after), default=at - at)
            starts.setdefault(start.job, at + wait)
        ahead.advance(decided)
        if not ahead.jobs or not ahead.runs:
            break
        at = _end_next(ahead, at)
    return {job: start for job, start in starts.items() if job in wanted}


def _end_next(ahead: World, at: datetime) -> datetime:
    """Go to the next time at which runs end, end them, and requeue those that were recalled."""
    ends = {run.id: _ends(run, at) for run in ahead.runs.values()}
    soonest = min(ends.values())
    for run_id in sorted(run for run, end in ends.items() if end == soonest):
        run = ahead.runs[run_id]
        ahead.drop_run(run_id)
        if run.draining:
            ahead.put_job(requeued_job(run, None))
    return soonest


def _ends(run: Run, at: datetime) -> datetime:
    end = run.ends_by if run.stop_at is None else min(run.ends_by, run.stop_at)
    return end if end > at else at + OVERDUE
