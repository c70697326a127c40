"""What a job's GPUs did and what it costs, as the portal's test double tells it."""

from datetime import timedelta
from typing import Annotated

from fastapi import Depends

from scheduler.core.model import QuotaClass, Tier
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

FIVE = timedelta(minutes=5)


def use_of(hub, job):
    """Return two hours of each attempt; of an attempt's last GPU nobody measured anything."""
    return JobUtilisation(
        job=job.id,
        at=hub.now,
        every_seconds=300,
        kept_days=35,
        runs=tuple(_run_use(hub, run) for run in job.runs),
    )


def _run_use(hub, run):
    points = tuple(
        UsePoint(
            at=hub.now - (24 - number) * FIVE,
            seconds=300,
            gpus=run.gpus,
            sm_mean=0.1 + 0.03 * number if number != 7 else None,
            sm_most=0.3 + 0.025 * number if number != 7 else None,
            memory_most_mib=30_000 + 900 * number,
        )
        for number in range(24)
    )
    gpus = [
        GpuUse(
            node=run.nodes[place // 8 % len(run.nodes)],
            gpu=place % 8,
            sm_mean=0.52,
            sm_most=0.97,
            memory_most_mib=50_700,
            sm_now=0.61,
            memory_now_mib=48_000,
            memory_mib=81_559,
        )
        for place in range(run.gpus)
    ]
    nothing = dict.fromkeys(("sm_mean", "sm_most", "memory_most_mib", "sm_now", "memory_now_mib"))
    gpus[-1] = gpus[-1].model_copy(update=nothing)
    return RunUse(
        run=run.run,
        attempt=run.attempt,
        pool=run.pool,
        simulated=run.simulated,
        points=points if run.ended_at is None else (),
        gpus=tuple(gpus),
        gpus_in_all=run.gpus,
    )


def cost_of(hub, job):
    """Return a bill: background work is nobody's."""
    free = job.priority.value == "background"
    gpus = job.nodes * job.gpus_per_node
    rate = gpus * job.time_limit_seconds / 3600
    runs = tuple(_run_cost(hub, run, free) for run in job.runs)
    charged = sum(run.charged_h100e_hours for run in runs)
    prices = [
        PoolPrice(
            tier=tier,
            pool=pool,
            gpu_model=model,
            gpus=gpus,
            h100e_factor=factor,
            at_limit_h100e_hours=0 if free else round(rate * factor, 3),
        )
        for tier, pool, model, factor in (
            (Tier.INSTITUTION, "state-u-hpc", "A100", 0.315),
            (Tier.NATIONAL, "national-hub", "H100", 1.0),
        )
    ]
    over = job.state.is_terminal
    return JobCost(
        job=job.id,
        account=job.account,
        payer=Payer.NOBODY if free else Payer.ACCOUNT,
        budgets=() if free else ("arl-2026", "nation"),
        charged_h100e_hours=charged,
        at_limit_h100e_hours=charged if over else 0 if free else charged + rate,
        runs=runs,
        prices=() if over else tuple(prices),
    )


def _run_cost(hub, run, free):
    until = run.ended_at or hub.now
    took = round(run.gpus * (until - run.leased_at) / timedelta(hours=1), 6)
    free = free or run.quota_class is QuotaClass.BACKGROUND
    return RunCost(
        run=run.run,
        attempt=run.attempt,
        tier=run.tier,
        pool=run.pool,
        gpus=run.gpus,
        h100e_factor=1.0,
        quota_class=run.quota_class,
        guest=run.guest,
        payer=Payer.NOBODY if free else Payer.ACCOUNT,
        since=run.leased_at,
        until=run.ended_at,
        h100e_hours=took,
        charged_h100e_hours=0 if free else took,
        at_limit_h100e_hours=0 if free else took,
    )


def serve(app, hub, caller):
    """Add the endpoints about one job's GPUs and its bill."""
    who = Annotated[str, Depends(caller)]

    @app.get("/v1/jobs/{key}/utilisation")
    def utilisation(user: who, key: str) -> JobUtilisation:
        return use_of(hub, hub.own(user, key))

    @app.get("/v1/jobs/{key}/cost")
    def cost(user: who, key: str) -> JobCost:
        return cost_of(hub, hub.own(user, key))
