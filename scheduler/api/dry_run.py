"""What would become of a job, before it is submitted: planned on what the last cycle went by.

Nothing is stored and nobody is woken. What a submission would refuse is refused here in the
same words; one dry run is planned at a time, in another thread, as changes of waiting jobs are.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples_dry_run, ray_jobs_runtime_env
from scheduler.api.audited import who
from scheduler.api.auth import Caller
from scheduler.api.crossings import approval_of
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.dry_run_views import LOOK_BACK_DAYS, dry_run_view
from scheduler.api.explanations import state_of
from scheduler.api.institutions import as_signed_in
from scheduler.api.openapi import accepts, answers
from scheduler.api.submit import (
    Submission,
    ask_of,
    check_text,
    earlier,
    find_packages,
    predicted,
    refused,
)
from scheduler.core.admission import Admitted, Ask, Refusal, check
from scheduler.core.dry_run import NAME, Asked, Candidate, DryRun, dry_run, recall_pool
from scheduler.core.policy import Policy
from scheduler.db.jobs import pending_count
from scheduler.db.recall_chances import Lent, lent_runs
from scheduler.db.training import line_total
from scheduler.errors import Refused
from scheduler.wire.dry_run import DryRunRequest, DryRunView

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "/dry-run",
    response_model=DryRunView,
    openapi_extra=accepts(DryRunRequest, examples_dry_run.DRY_RUN_REQUEST),
    responses=answers(examples_dry_run.DRY_RUN),
)
async def dry_run_job(request: Request, user: Annotated[Caller, Depends(current_user)]) -> Response:
    """Say where, when and for how much a job would run. Nothing is submitted by asking."""
    asked = await body.read(request, DryRunRequest)
    hub = hub_of(request)
    env, names = ray_jobs_runtime_env.check(asked.job.runtime_env)
    packages = await find_packages(hub, user.subject, names)
    job = await as_signed_in(hub, user, asked.job.model_copy(update={"runtime_env": env}))
    check_text(job)
    submission = Submission(who(user), job, None, packages)
    stated = asked.expected_seconds
    length = None if stated is None else timedelta(seconds=stated)
    return body.reply(await _tried(hub, user, submission, length))


async def _tried(
    hub: HubState, caller: Caller, submission: Submission, stated: timedelta | None
) -> DryRunView:
    policy, snapshot = await state_of(hub)
    now = hub.clock.now()
    async with hub.db.reading() as conn:
        same_as = await _same_as(conn, submission)
        pending = await pending_count(conn, submission.user)

    def foreseen(admitted: Admitted) -> timedelta | None:
        return predicted(hub, submission, admitted)

    ask = ask_of(submission, policy)
    trained = await _trained(hub, ask, policy, pending)
    asked = Asked(ask, pending, stated, foreseen, trained)
    async with hub.insights.turn:
        found = await asyncio.to_thread(dry_run, policy, snapshot, asked, now, hub.run_times)
    if isinstance(found, Refusal):
        raise refused(found)
    found = _corrected(hub, found, now)
    lent = await _lent(hub, found, now)
    async with hub.db.reading() as conn:
        approval = await approval_of(conn, policy, caller, found.candidates[0].verdicts)
    told = dry_run_view(found, policy, now, lent, same_as)
    return told.model_copy(update={"approval": approval})


async def _trained(hub: HubState, ask: Ask, policy: Policy, pending: int) -> int:
    """Return what the model line of a job has without it, in petaFLOP (R17)."""
    admitted = check(ask, policy, pending, hub.clock.now())
    if isinstance(admitted, Refusal) or admitted.training is None:
        return 0
    async with hub.db.reading() as conn:
        return await line_total(conn, admitted.training.institution, admitted.training.line)


async def _same_as(conn: AsyncConnection, submission: Submission) -> str | None:
    """Return the job that the same request submitted before.

    Raises:
        Refused: 409, its id was used for another request.
    """
    seen = await earlier(conn, submission)
    if isinstance(seen, Refused):
        raise seen
    return None if seen is None else seen[0].id


def _corrected(hub: HubState, found: DryRun, now: datetime) -> DryRun:
    """Move intervals by what earlier ones were wrong by, as those of waiting jobs are."""

    def moved(one: Candidate) -> Candidate:
        if one.eta is None or one.starts_now:
            return one
        told = hub.score.corrected({NAME: one.eta}, {NAME: one.job}, now)
        return replace(one, eta=told[NAME])

    return replace(found, candidates=tuple(moved(one) for one in found.candidates))


async def _lent(hub: HubState, found: DryRun, now: datetime) -> Mapping[str, Lent]:
    pools = {pool for one in found.candidates if (pool := recall_pool(one)) is not None}
    if not pools:
        return {}
    async with hub.db.reading() as conn:
        return await lent_runs(conn, pools, now - timedelta(days=LOOK_BACK_DAYS))
