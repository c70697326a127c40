"""What a waiting job's explanation adds to its verdicts: who is ahead, when, what would help.

Changes are planned, and planning costs: one job at a time, in another thread, the fewer
changes the longer the queue, and an answer stands for a while.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from scheduler.api.deps import HubState
from scheduler.api.insights import Insight
from scheduler.core.counterfactual import Effort, Knob, Sooner, about, changes, sooner, told
from scheduler.core.cut import cut
from scheduler.core.diagnostics import Ahead, ahead
from scheduler.core.eta import Eta
from scheduler.core.forecast import Foresight
from scheduler.core.lifecycle import JobState
from scheduler.core.model import JobId, PriorityClass
from scheduler.core.policy import Policy
from scheduler.core.predict import Predictor
from scheduler.core.snapshot import Snapshot
from scheduler.core.world import World
from scheduler.db.planning import load_snapshot
from scheduler.wire.explanations import AheadView, EtaView, SoonerView
from scheduler.wire.jobs import Explanation

# What is tried, by how many jobs wait and run; where there are more, a part of the world is
# planned in (`core.cut`), so that an answer takes some seconds of one core at most.
_EFFORT = ((200, Effort()), (1_000, Effort(changes=5)), (3_000, Effort(changes=3)))
_EFFORT_OF_PART = Effort(changes=6, steps=20)
# Runs are never left out, for they hold GPUs and shares.
_MOST_RUNS = 20_000
_MOST_AHEAD = 10
_TOO_LONG = "{count} jobs run: that is too many to try changes of this job here."


async def state_of(hub: HubState) -> tuple[Policy, Snapshot]:
    """Return what the last cycle went by; where another process plans, what is stored.

    Raises:
        Refused: 503, there is no policy yet.
    """
    seen = await hub.looked_at()
    if seen is not None:
        return seen
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        return policy, await load_snapshot(conn, policy)


async def with_insight(hub: HubState, explanation: Explanation) -> Explanation:
    """Return the explanation of a waiting job with ETA, who is ahead, and what would help."""
    if explanation.state is not JobState.PENDING:
        return explanation
    found = await _insight(hub, explanation.job)
    now = hub.clock.now()
    eta = hub.etas.get(explanation.job)
    return explanation.model_copy(
        update={
            "eta": None if eta is None else eta_view(eta, now),
            "ahead": ahead_views(found.ahead, await hub.policy()),
            "sooner": tuple(
                SoonerView(
                    knob=one.knob.value,
                    before=one.before,
                    after=one.after,
                    starts_at=one.starts_at,
                    sentence=told(one, now),
                    change=_change(one),
                )
                for one in found.sooner
            ),
            "note": found.note,
        }
    )


async def _insight(hub: HubState, job: str) -> Insight:
    insights = hub.insights
    async with insights.turn:
        kept = insights.find(job, hub.clock.monotonic())
        if kept is not None:
            return kept
        policy, snapshot = await state_of(hub)
        found = await asyncio.to_thread(
            find_out, policy, snapshot, JobId(job), hub.clock.now(), hub.run_times
        )
        insights.keep(job, hub.clock.monotonic(), found)
        return found


def find_out(
    policy: Policy, snapshot: Snapshot, job_id: JobId, now: datetime, predictor: Predictor
) -> Insight:
    """Return who is ahead of a job and what would start it sooner, as far as that is cheap."""
    job = snapshot.jobs.get(job_id)
    if job is None:
        return Insight(note="The planner has not looked at it yet.")
    # Shares need what runs and what ran, not the queue: a long one would take its time.
    world = World(policy, replace(snapshot, jobs={}, nodes={}))
    before = ahead(world, list(snapshot.jobs.values()), job, now)
    count = len(snapshot.jobs) + len(snapshot.runs)
    foresight = Foresight(policy, predictor)
    effort = next((effort for most, effort in _EFFORT if count <= most), None)
    if effort is not None:
        found = sooner(foresight, snapshot, job_id, now, effort)
        return Insight(before, found, "" if found else _NOTHING)
    if len(snapshot.runs) > _MOST_RUNS:
        return Insight(before, note=_TOO_LONG.format(count=len(snapshot.runs)))
    part = cut(policy, snapshot, job, [change.job for change in changes(job, policy)])
    found = sooner(foresight, part.snapshot, job_id, now, _EFFORT_OF_PART)
    note = part.sentence() if found else f"{_NOTHING} {part.sentence()}"
    return Insight(before, found, note)


_NOTHING = "No change that was tried starts it sooner."


def _change(one: Sooner) -> dict[str, object]:
    """Return a change as the fields of a job request to set."""
    if one.job is None:
        return {}
    shape = one.job.shape
    made: dict[Knob, dict[str, object]] = {
        Knob.PREEMPTIBLE: {"preemptible": True},
        Knob.MODEL: {"gpu_models": sorted(shape.gpu_models)},
        Knob.TIER: {"tier": [shape.tier_min.value, shape.tier_max.value]},
        Knob.TIME_LIMIT: {"time_limit_seconds": int(one.job.time_limit.total_seconds())},
        Knob.NODES: {"nodes": shape.nodes},
        Knob.GPUS: {"gpus_per_node": shape.gpus_per_node},
        Knob.BACKGROUND: {"priority": PriorityClass.BACKGROUND.value, "preemptible": True},
    }
    return made[one.knob]


def ahead_views(found: Sequence[Ahead], policy: Policy) -> tuple[AheadView, ...]:
    """Return who is ahead, the largest crowds first where there are many."""
    sectors = {account.name: account.sector for account in policy.accounts}
    most = sorted(found, key=lambda one: -one.jobs)[:_MOST_AHEAD]
    return tuple(
        AheadView(
            account=one.account,
            sector=sectors.get(one.account),
            jobs=one.jobs,
            why=one.why,
            share=one.share,
            own_branch=one.own_branch,
            own_share=one.own_share,
            sentence=one.sentence(),
        )
        for one in found
        if one in most
    )


def eta_view(eta: Eta, now: datetime) -> EtaView:
    """Return an expected start with its interval, in words too."""
    # A minute is nothing to plan by, and "between within a minute and" is nothing to read.
    soon = eta.low - now < timedelta(minutes=1)
    low = "at once" if soon else about(eta.low - now)
    if eta.likely is None:
        said = f"It starts {low} at the earliest; later than can be told now."
    else:
        high = "open" if eta.high is None else about(max(eta.high - now, now - now))
        likely = about(max(eta.likely - now, now - now))
        said = f"It should start {likely} (four times in five between {low} and {high})."
    return EtaView(
        low=eta.low, likely=eta.likely, high=eta.high, informed=eta.informed, sentence=said
    )
