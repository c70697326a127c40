"""The planner for those who run it, and for those who wait: diag, shares, prio, queue."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from scheduler import metrics
from scheduler.api import body, examples
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, current_user, hub_of, require
from scheduler.api.explanations import eta_view, state_of
from scheduler.api.jobs import job_facts
from scheduler.api.openapi import answers
from scheduler.api.views import JobFacts, reason
from scheduler.compiled import planner
from scheduler.core import diagnostics
from scheduler.core.diagnostics import Factors
from scheduler.core.lifecycle import JobState
from scheduler.core.policy import Policy
from scheduler.core.roles import Action
from scheduler.core.snapshot import Snapshot
from scheduler.core.world import World
from scheduler.db.jobs import list_jobs
from scheduler.wire.accounts import Scope
from scheduler.wire.diagnostics import (
    DecisionCount,
    Diagnostics,
    EtaScore,
    PathShare,
    PhaseView,
    PrioPage,
    PrioView,
    QueuePage,
    QueueRow,
    ShareList,
    ShareView,
)

router = APIRouter(prefix="/v1", tags=["diagnostics"])

User = Annotated[Caller, Depends(current_user)]


class PageQuery(BaseModel):
    """Which piece of a list; a parameter that is not here is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    after: int | None = Field(
        default=None, ge=0, le=2**63 - 1, description="The `next` of the page before"
    )
    limit: int = Field(default=100, ge=1, le=500)


@router.get("/diagnostics", response_model=Diagnostics, responses=answers(examples.DIAGNOSTICS))
async def diag(
    request: Request, _: Annotated[Caller, Depends(require(Scope.ADMIN, action=Action.DIAGNOSE))]
) -> Response:
    """Say how planning goes: cycles, time by phase, queue depth, decisions, stale commits."""
    hub = hub_of(request)
    leads = await hub.looked_at() is not None
    policy, snapshot = await state_of(hub)
    return body.reply(_diagnostics(hub, policy, snapshot, leads))


@router.get("/shares", response_model=ShareList, responses=answers(examples.SHARE_LIST))
async def shares(request: Request, _: User) -> Response:
    """Return the tree of accounts by share: weights, decayed usage, who goes first."""
    hub = hub_of(request)
    now = hub.clock.now()
    policy, snapshot = await state_of(hub)
    found = await asyncio.to_thread(_shares, policy, snapshot, now)
    half_life = policy.rules.half_life.total_seconds()
    return body.reply(ShareList(at=now, half_life_seconds=half_life, shares=found))


@router.get("/prio", response_model=PrioPage, responses=answers(examples.PRIO_PAGE))
async def prio(request: Request, user: User, query: Annotated[PageQuery, Query()]) -> Response:
    """Return what orders waiting jobs, first to last; people see the factors of their own."""
    hub = hub_of(request)
    now = hub.clock.now()
    policy, snapshot = await state_of(hub)
    found = await asyncio.to_thread(_factors, policy, snapshot, now)
    after = query.after or 0
    own = [one for one in found if one.place > after and user.sees_job(one.user, one.account)]
    page = own[: query.limit]
    more = str(page[-1].place) if len(own) > query.limit else None
    return body.reply(PrioPage(at=now, jobs=tuple(_prio(one) for one in page), next=more))


@router.get("/queue", response_model=QueuePage, responses=answers(examples.QUEUE_PAGE))
async def queue(request: Request, user: User, query: Annotated[PageQuery, Query()]) -> Response:
    """List the caller's waiting jobs with planned and expected starts; an admin's is everyone's."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        found = await list_jobs(
            conn,
            owner=user.sees,
            state=JobState.PENDING,
            before=query.after,
            limit=query.limit + 1,
        )
        page = found[: query.limit]
        facts = await job_facts(hub, conn, page)
    more = str(page[-1].sequence) if len(found) > query.limit else None
    rows = tuple(_queue_row(hub, one, policy) for one in facts)
    return body.reply(QueuePage(jobs=rows, next=more))


def _light(policy: Policy, snapshot: Snapshot) -> World:
    """Return a world without queue and nodes, which shares do not look at: it is quick to make."""
    return World(policy, replace(snapshot, jobs={}, nodes={}))


def _shares(policy: Policy, snapshot: Snapshot, now: datetime) -> tuple[ShareView, ...]:
    found = diagnostics.shares(_light(policy, snapshot), snapshot.jobs.values(), now)
    return tuple(
        ShareView(
            account=one.account,
            parent=one.parent,
            depth=one.depth,
            weight=one.weight,
            weight_share=one.weight_share,
            h100e_seconds=one.used,
            usage_share=one.usage_share,
            share=one.share,
            place=one.place,
            waiting=one.waiting,
        )
        for one in found
    )


def _factors(policy: Policy, snapshot: Snapshot, now: datetime) -> tuple[Factors, ...]:
    return diagnostics.factors(_light(policy, snapshot), snapshot.jobs.values(), now)


def _prio(one: Factors) -> PrioView:
    return PrioView(
        job=one.job,
        user=one.user,
        account=one.account,
        place=one.place,
        account_place=one.account_place,
        path=tuple(PathShare(account=name, share=share) for name, share in one.path),
        priority=one.priority,
        submitted_at=one.submitted_at,
        age_seconds=one.age.total_seconds(),
        predicted_seconds=None if one.predicted is None else one.predicted.total_seconds(),
        handicap_seconds=one.handicap.total_seconds(),
        goes_as_of=one.goes_as_of,
        not_before=one.not_before,
    )


def _queue_row(hub: HubState, facts: JobFacts, policy: Policy) -> QueueRow:
    job, planned, eta = facts.job, facts.reservation, hub.etas.get(facts.job.id)
    return QueueRow(
        job=job.id,
        user=job.user,
        account=job.account,
        priority=job.priority,
        nodes=job.shape.nodes,
        gpus_per_node=job.shape.gpus_per_node,
        position=facts.position,
        planned_at=planned.start_at if planned else None,
        planned_pool=planned.pool if planned else None,
        planned_nodes=tuple(slot.node for slot in planned.slots) if planned else (),
        eta=None if eta is None else eta_view(eta, hub.clock.now()),
        reason=reason(facts, policy),
    )


def _diagnostics(hub: HubState, policy: Policy, snapshot: Snapshot, leads: bool) -> Diagnostics:
    return Diagnostics(
        at=hub.clock.now(),
        policy=policy.revision,
        leads=leads,
        planner=planner(),
        cycles={
            outcome: count for (outcome,), count in metrics.counts(metrics.CYCLES).items() if count
        },
        phases=tuple(
            PhaseView(
                phase=phase,
                count=time.count,
                last_seconds=time.last,
                mean_seconds=time.mean,
                max_seconds=time.longest,
            )
            for phase, time in metrics.CYCLE_SECONDS.times.items()
            if time.count
        ),
        decisions=tuple(
            DecisionCount(kind=kind, reason=reason, count=count)
            for (kind, reason), count in sorted(metrics.counts(metrics.DECISIONS).items())
            if count
        ),
        stale=sum(metrics.counts(metrics.STALE).values()),
        events=sum(metrics.counts(metrics.EVENTS).values()),
        waiting=len(snapshot.jobs),
        runs=len(snapshot.runs),
        nodes=len(snapshot.nodes),
        usable_nodes=sum(node.usable for node in snapshot.nodes.values()),
        gpus=sum(len(node.gpus) for node in snapshot.nodes.values()),
        accounts=len(policy.accounts),
        pools=len(policy.pools),
        etas=EtaScore(hits=hub.score.hits, misses=hub.score.misses, rate=hub.score.rate),
    )
