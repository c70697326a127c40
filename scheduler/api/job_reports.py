"""What a job's GPUs did over its life, and what it costs: for its page and `commonpool explain`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body
from scheduler.api import examples_job_reports as examples
from scheduler.api.auth import Caller
from scheduler.api.cleared import check_is_cleared
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.jobs import JobKey, visible_job
from scheduler.api.openapi import answers
from scheduler.api.views import tier_of
from scheduler.core.job_cost import Price, Taken, prices
from scheduler.core.ledger import NANO
from scheduler.core.lenders import Parties
from scheduler.core.lifecycle import JobState
from scheduler.core.model import AccountName
from scheduler.core.policy import Policy
from scheduler.db.job_reports import GpuTotal, Stretch, stretches_of, taken_by, totals_of
from scheduler.db.jobs import runs_of
from scheduler.db.rollups import KEEP_DAYS
from scheduler.db.rows import JobRow, RunRow
from scheduler.fleet.latest import GpuNow
from scheduler.wire.job_reports import (
    GpuUse,
    JobCost,
    JobUtilisation,
    Payer,
    PoolPrice,
    RunCost,
    RunUse,
    UsePoint,
)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

User = Annotated[Caller, Depends(current_user)]
MOST_POINTS = 288
MOST_GPUS = 256
MOST_RUNS = 20
_HOUR = 3600 * NANO


@router.get(
    "/{job}/utilisation", response_model=JobUtilisation, responses=answers(examples.JOB_UTILISATION)
)
async def utilisation(request: Request, user: User, job: JobKey) -> Response:
    """Say how busy a job's GPUs were over time, attempt by attempt, and how busy they are now."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        found = await visible_job(hub, conn, job, user)
        policy = await hub.policies.current(conn)
        check_is_cleared(policy, user, found, "What its GPUs do")
        runs = (await runs_of(conn, [found.id])).get(found.id, [])[-MOST_RUNS:]
        told = [(await stretches_of(conn, run.id), await totals_of(conn, run.id)) for run in runs]
    return body.reply(
        JobUtilisation(
            job=found.id,
            at=hub.clock.now(),
            every_seconds=hub.settings.rollup_seconds,
            kept_days=KEEP_DAYS,
            runs=tuple(_run_use(hub, run, *each) for run, each in zip(runs, told, strict=True)),
        )
    )


@router.get("/{job}/cost", response_model=JobCost, responses=answers(examples.JOB_COST))
async def cost(request: Request, user: User, job: JobKey) -> Response:
    """Say what a job has cost, what it may come to, who is charged, and the price by tier."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        found = await visible_job(hub, conn, job, user)
        policy = await hub.policies.current(conn)
        runs = (await runs_of(conn, [found.id])).get(found.id, [])
        taken = await taken_by(conn, [run.id for run in runs])
    return body.reply(_cost(found, [run for run in runs if run.id in taken], taken, policy, hub))


def _run_use(
    hub: HubState,
    run: RunRow,
    stretches: Sequence[Stretch],
    totals: Mapping[tuple[str, int], GpuTotal],
) -> RunUse:
    has = [(slot.node, gpu) for slot in run.slots for gpu in slot.gpus]
    return RunUse(
        run=run.id,
        attempt=run.attempt,
        pool=run.pool,
        simulated=run.simulated,
        points=tuple(map(_point, _fewer(stretches))),
        gpus=tuple(
            _gpu_use(hub, node, gpu, totals.get((node, gpu)), is_open=run.ended_at is None)
            for node, gpu in has[:MOST_GPUS]
        ),
        gpus_in_all=len(has),
    )


def _fewer(stretches: Sequence[Stretch]) -> Iterator[Stretch]:
    """Yield at most `MOST_POINTS` stretches: as many neighbours as it takes are made one."""
    size = -(-len(stretches) // MOST_POINTS) or 1
    for start in range(0, len(stretches), size):
        whole, *rest = stretches[start : start + size]
        for other in rest:
            whole = whole.with_next(other)
        yield whole


def _point(one: Stretch) -> UsePoint:
    return UsePoint(
        at=one.at,
        seconds=one.seconds,
        gpus=one.gpus,
        sm_mean=_mean(one.busy, one.measured),
        sm_most=_rounded(one.most),
        memory_most_mib=one.memory_mib,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)  # it was kept in four bytes


def _mean(busy: float | None, measured: int) -> float | None:
    return None if busy is None or not measured else round(busy / measured, 4)


def _gpu_use(
    hub: HubState, node: str, gpu: int, total: GpuTotal | None, *, is_open: bool
) -> GpuUse:
    now = hub.fleet.now(node, gpu) if is_open else GpuNow()
    seat = hub.fleet.seat(node)
    sizes = seat.said.memory_mib if seat is not None and seat.said is not None else ()
    return GpuUse(
        node=node,
        gpu=gpu,
        sm_mean=_mean(total.busy, total.measured) if total else None,
        sm_most=_rounded(total.most) if total else None,
        memory_most_mib=total.memory_mib if total else None,
        sm_now=now.sm_active,
        memory_now_mib=now.memory_mib,
        memory_mib=sizes[gpu] if gpu < len(sizes) else None,
    )


def _cost(
    job: JobRow,
    runs: Sequence[RunRow],
    taken: Mapping[str, Taken],
    policy: Policy,
    hub: HubState,
) -> JobCost:
    now = hub.clock.now()
    account = next((one for one in policy.accounts if one.name == job.account), None)
    offers = (
        list(prices(policy, account, job.shape, job.time_limit, now))
        if account is not None and not job.state.is_terminal
        else []
    )
    leases = [taken[run.id] for run in runs]
    ended = sum(lease.charged(now) for lease in leases)
    in_the_end: int | None = sum(lease.at_limit(now) for lease in leases)
    if job.state is JobState.PENDING:
        in_the_end = ended + max(each.amount for each in offers) if offers else None
    return JobCost(
        job=job.id,
        account=job.account,
        payer=_payer(is_paid=job.shape.reservation is not None, is_free=job.shape.background),
        reservation=job.shape.reservation,
        budgets=_budgets(job, policy, now),
        charged_h100e_hours=_hours(ended),
        at_limit_h100e_hours=None if in_the_end is None else _hours(in_the_end),
        runs=tuple(_run_cost(run, taken[run.id], policy, now) for run in runs),
        prices=tuple(map(_price, offers)),
    )


def _payer(*, is_paid: bool, is_free: bool) -> Payer:
    if is_free:
        return Payer.NOBODY
    return Payer.RESERVATION if is_paid else Payer.ACCOUNT


def _budgets(job: JobRow, policy: Policy, now: datetime) -> tuple[str, ...]:
    if job.shape.background or job.shape.reservation is not None:
        return ()
    chain = Parties(policy).chain(AccountName(job.account))
    return tuple(
        sorted(
            one.id
            for one in policy.budgets
            if one.account in chain and one.valid_from <= now < one.valid_to
        )
    )


def _run_cost(run: RunRow, lease: Taken, policy: Policy, now: datetime) -> RunCost:
    return RunCost(
        run=run.id,
        attempt=run.attempt,
        tier=tier_of(policy, run.pool),
        pool=run.pool,
        gpus=lease.gpus,
        h100e_factor=lease.factor / 1000,
        quota_class=run.quota_class,
        guest=run.over is not None,
        payer=_payer(is_paid=lease.is_paid, is_free=not lease.is_charged and not lease.is_paid),
        since=lease.since,
        until=lease.until,
        h100e_hours=_hours(lease.so_far(now)),
        charged_h100e_hours=_hours(lease.charged(now)),
        at_limit_h100e_hours=_hours(lease.at_limit(now)),
    )


def _price(one: Price) -> PoolPrice:
    return PoolPrice(
        tier=one.pool.tier,
        pool=one.pool.id,
        gpu_model=one.pool.gpu_model,
        gpus=one.gpus,
        h100e_factor=one.factor / 1000,
        at_limit_h100e_hours=_hours(one.amount),
    )


def _hours(amount: int) -> float:
    return round(amount / _HOUR, 6)
