"""One row of the audit log for what a cycle decided: from it each start and recall is traced.

The decision's id is a digest of the decisions, the policy's revision and the instant, so the
same cycle planned again (`commonpool replay`) has the same id.
"""

from collections.abc import Iterator

from scheduler.core.audit import Entry, Who, digest
from scheduler.core.decisions import Plan, Preempt, Start
from scheduler.core.model import run_id
from scheduler.core.world import World

PLANNER = "planner"


def decided(world: World, plan: Plan, cycle: str) -> Entry | None:
    """Return the row of a plan that was carried out; None where it starts and recalls nothing."""
    if not plan.starts and not plan.preempts:
        return None
    after: dict[str, object] = {
        "policy_revision": plan.policy_revision,
        "starts": [_start(world, start) for start in plan.starts],
        "recalls": [_recall(preempt) for preempt in plan.preempts],
    }
    return Entry(
        at=plan.now,
        who=Who(PLANNER, PLANNER, session=cycle),
        action="plan.commit",
        object=f"cycle:{cycle}",
        after=after,
        reason=_reason(plan),
        decision=digest({"at": plan.now, **after}),
        about=tuple(_about(world, plan)),
    )


def _about(world: World, plan: Plan) -> Iterator[str]:
    for start in plan.starts:
        yield f"job:{start.job}"
        job = world.jobs.get(start.job)
        if job is not None:
            yield f"run:{run_id(job.id, job.attempt)}"
    for preempt in plan.preempts:
        yield f"run:{preempt.run}"
        run = world.runs.get(preempt.run)
        if run is not None:
            yield f"job:{run.job}"


def _start(world: World, start: Start) -> dict[str, object]:
    job = world.jobs.get(start.job)
    return {
        "job": start.job,
        "attempt": None if job is None else job.attempt,
        "account": None if job is None else job.account,
        "pool": start.pool,
        "gpus": sum(len(slot.gpus) for slot in start.slots),
        "nodes": [slot.node for slot in start.slots],
        "class": start.quota_class.name.lower(),
        "agreement": start.agreement,
        "why": start.why,
    }


def _recall(preempt: Preempt) -> dict[str, object]:
    return {
        "run": preempt.run,
        "by": preempt.by,
        "reason": preempt.reason.value,
        "notice_seconds": int(preempt.notice.total_seconds()),
        "why": preempt.why,
    }


def _reason(plan: Plan) -> str:
    starts, recalls = len(plan.starts), len(plan.preempts)
    said = [f"{starts} start{'s' * (starts != 1)}"] if starts else []
    said += [f"{recalls} recall{'s' * (recalls != 1)}"] if recalls else []
    return f"{' and '.join(said)} under policy revision {plan.policy_revision}"
