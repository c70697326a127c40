"""Jobs, for people: submit, list, look at, cancel, explain. Their logs are in job_logs.py."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples, ray_jobs_runtime_env
from scheduler.api.audited import who
from scheduler.api.auth import Caller
from scheduler.api.cleared import events_told_to, told_to
from scheduler.api.crossings import approval_of
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.explanations import with_insight
from scheduler.api.institutions import as_signed_in
from scheduler.api.led import below, leads_nothing, led, needs_reason
from scheduler.api.openapi import accepts, answers
from scheduler.api.submit import find_packages, submit
from scheduler.api.views import JobFacts, explanation, job_view, new_job_view
from scheduler.core.audit import Entry, Who
from scheduler.core.lifecycle import JobState
from scheduler.core.model import AccountName
from scheduler.core.policy import Policy
from scheduler.core.roles import Action
from scheduler.db import audit
from scheduler.db.jobs import (
    Owner,
    cancel_job,
    events_of,
    find_job,
    list_jobs,
    runs_of,
)
from scheduler.db.lending import recall_by_word
from scheduler.db.rows import JobRow, RunRow
from scheduler.db.waiting import holds_of, reservations_of
from scheduler.errors import Refused
from scheduler.wire.jobs import Explanation, JobPage, JobRequest, JobView

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

User = Annotated[Caller, Depends(current_user)]
JobKey = Annotated[
    str, Path(description="The job's id or its submission id", examples=["jq4k2mzx7wab"])
]


class JobQuery(BaseModel):
    """Which jobs to list; a parameter that is not here is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    state: JobState | None = None
    account: str | None = Field(default=None, max_length=120, examples=["arl-vision"])
    after: int | None = Field(
        default=None, ge=1, le=2**63 - 1, description="The `next` of the page before"
    )
    limit: int = Field(default=50, ge=1, le=500)
    scope: Literal["mine", "accounts"] | None = Field(
        default=None,
        description="accounts: of all accounts that you lead. Left out: with an `account` that"
        " you lead, everybody's of it and of those below it; else yours",
    )


class CancelQuery(BaseModel):
    """Why a job is ended; needed for another person's."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")


@router.post(
    "",
    status_code=201,
    response_model=JobView,
    openapi_extra=accepts(JobRequest, examples.JOB_REQUEST),
    responses=answers(examples.JOB_VIEW, 201, "Submitted")
    | answers(examples.JOB_VIEW, 200, "The job that the same request submitted before"),
)
async def submit_job(
    request: Request,
    user: User,
    idempotency_key: Annotated[
        str | None,
        Header(description="1 to 255 visible ASCII characters; the same key, the same job"),
    ] = None,
) -> Response:
    """Submit a job. When this answers, the job is stored durably."""
    asked = await body.read(request, JobRequest)
    hub = hub_of(request)
    # What a site can carry out is the same whichever front door a job came by.
    env, names = ray_jobs_runtime_env.check(asked.runtime_env)
    packages = await find_packages(hub, user.subject, names)
    asked = await as_signed_in(hub, user, asked.model_copy(update={"runtime_env": env}))
    job, created = await submit(hub, who(user), asked, idempotency_key, packages)
    return await job_answer(hub, job, user, created=created)


@router.get("", response_model=JobPage, responses=answers(examples.JOB_PAGE))
async def jobs(request: Request, user: User, query: Annotated[JobQuery, Query()]) -> Response:
    """List the caller's jobs, or those of accounts that the caller leads, newest first."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        mine = led(await hub.policies.current(conn), user, Action.SEE_JOBS)
        within = _within(await hub.policies.current(conn), user, query, mine)
        found = await list_jobs(
            conn,
            owner=_owner(user, query) if within is None else None,
            state=query.state,
            account=query.account if within is None else None,
            led=within,
            before=query.after,
            limit=query.limit + 1,
        )
        page = found[: query.limit]
        views = await views_in(hub, conn, page, user)
    more = str(page[-1].sequence) if len(found) > query.limit else None
    return body.reply(JobPage(jobs=views, next=more))


def _owner(user: Caller, query: JobQuery) -> Owner | None:
    return user.own if query.scope == "mine" else user.sees


def _within(
    policy: Policy, user: Caller, query: JobQuery, mine: frozenset[AccountName]
) -> frozenset[AccountName] | None:
    """Return the accounts whose jobs are asked for, whoever's they are; None: only the caller's.

    Raises:
        Refused: 403, accounts' jobs were asked for, and the caller leads none.
    """
    if query.scope == "mine" or user.sees is None:
        return None
    asked = mine if query.account is None else below(policy, query.account, mine)
    if query.scope == "accounts":
        if not mine:
            raise leads_nothing(user)
        return asked
    return asked if query.account is not None and asked else None


@router.get("/{job}", response_model=JobView, responses=answers(examples.JOB_VIEW))
async def job_by_id(request: Request, user: User, job: JobKey) -> Response:
    """Return a job by its id or submission id."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        found = await visible_job(hub, conn, job, user)
        (view,) = await views_in(hub, conn, [found], user)
    return body.reply(view)


@router.post("/{job}/cancel", response_model=JobView, responses=answers(examples.JOB_VIEW))
async def cancel(
    request: Request, user: User, job: JobKey, query: Annotated[CancelQuery, Query()]
) -> Response:
    """End a job: at once where it waits, after its grace where it runs. Twice is once.

    A lead who ends another person's job says why.
    """
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        mine = led(await hub.policies.current(conn), user, Action.CANCEL_JOB)
        found = await existing_job(conn, job, user, to_end=True, led=mine)
        reason = query.reason.strip()
        if user.ends is not None and found.user != user.subject and not reason:
            raise needs_reason()
        by = who(user, found.user)
        runs = await cancel_audited(conn, found, by, hub.clock.now(), reason)
        found = await existing_job(conn, found.id, user, to_end=True, led=mine)
    ring_cancelled(hub, found, runs)
    (view,) = await _views(hub, [found], user)
    return body.reply(view)


@router.post("/{job}/recall", response_model=JobView, responses=answers(examples.JOB_VIEW))
async def recall(request: Request, user: User, job: JobKey) -> Response:
    """Take an idle job's lease back: the background work on its GPUs ends by its notice (R18)."""
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        policy = await hub.policies.current(conn)
        found = await existing_job(conn, job, user)
        now = hub.clock.now()
        taken = await recall_by_word(conn, found.id, user.subject, now, policy)
        about = tuple(f"run:{guest.id}" for guest in taken.guests)
        by = who(user, found.user)
        entry = Entry(now, by, "job.recall", f"job:{found.id}", about=about)
        await audit.record(conn, [entry])
    sites = {f"site:{guest.site}" for guest in taken.guests}
    for bell in ("cycle", *sorted({*sites, *(f"job:{name}" for name in taken.jobs)})):
        hub.wake.ring(bell)
    (view,) = await _views(hub, [found], user)
    return body.reply(view)


@router.get(
    "/{job}/explanation", response_model=Explanation, responses=answers(examples.EXPLANATION)
)
async def explain(request: Request, user: User, job: JobKey) -> Response:
    """Say why a job is where it is: each pool's rule, who is ahead, when, what would help."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        found = await visible_job(hub, conn, job, user)
        policy = await hub.policies.current(conn)
        (facts,) = await job_facts(hub, conn, [found])
        events = await events_of(conn, found.id)
        verdicts = facts.hold.verdicts if facts.hold else ()
        approval = await approval_of(conn, policy, user, verdicts)
    history = events_told_to(policy, user, found, events)
    told = explanation(told_to(policy, user, facts), history, policy).model_copy(
        update={"approval": approval}
    )
    return body.reply(await with_insight(hub, told))


async def job_answer(hub: HubState, job: JobRow, user: Caller, *, created: bool) -> Response:
    """Return the answer to a submission: a new job, or the one that was there before."""
    if created:
        return body.reply(new_job_view(job), 201)
    (view,) = await _views(hub, [job], user)
    return body.reply(view)


async def cancel_audited(
    conn: AsyncConnection, job: JobRow, by: Who, now: datetime, reason: str = ""
) -> Sequence[RunRow]:
    """End a job and say so in the audit log, where it changes; return its runs."""
    said = f"{by.actor}: {reason}" if reason else by.actor
    state = await cancel_job(conn, job.id, now, said)
    runs = (await runs_of(conn, [job.id])).get(job.id, [])
    if state is not job.state:
        before, after = {"state": job.state.value}, {"state": state.value}
        name = f"job:{job.id}"
        entry = Entry(now, by, "job.cancel", name, before, after, reason=reason)
        await audit.record(conn, [entry])
    return runs


async def visible_job(hub: HubState, conn: AsyncConnection, key: str, caller: Caller) -> JobRow:
    """Return a job of the caller's, or one that a role of theirs shows.

    Raises:
        Refused: 404, as `existing_job`.
    """
    mine = led(await hub.policies.current(conn), caller, Action.SEE_JOBS)
    return await existing_job(conn, key, caller, led=mine)


async def existing_job(
    conn: AsyncConnection,
    key: str,
    caller: Caller,
    *,
    to_end: bool = False,
    led: Collection[str] = (),
) -> JobRow:
    """Return a job that the caller may see, or may end; of `led` accounts also another's.

    Raises:
        Refused: 404, in the same words whether it is absent or another's.
    """
    found = await find_job(conn, key, caller.ends if to_end else caller.sees, led)
    if found is None:
        raise Refused(
            title="Not found",
            detail="You have no job of that id or submission id.",
            status=404,
            field="job",
            value=key,
            next_step="`commonpool jobs` lists yours.",
        )
    return found


async def job_facts(
    hub: HubState, conn: AsyncConnection, rows: Sequence[JobRow]
) -> tuple[JobFacts, ...]:
    """Return what is known of jobs now, in a number of queries that does not grow with them."""
    waiting = [job for job in rows if job.state is JobState.PENDING]
    runs = await runs_of(conn, [job.id for job in rows])
    holds = await holds_of(conn, waiting)
    reservations = await reservations_of(conn, [job.id for job in waiting])
    return tuple(
        JobFacts(
            job,
            runs.get(job.id, ()),
            holds.get(job.id),
            reservations.get(job.id),
            hub.forecasts.get(job.id),
        )
        for job in rows
    )


def ring_cancelled(hub: HubState, job: JobRow, runs: Sequence[RunRow]) -> None:
    """Wake all who wait for what a cancelled job changes."""
    hub.wake.ring("cycle")
    hub.wake.ring(f"job:{job.id}")
    if runs and runs[-1].ended_at is None:
        hub.wake.ring(f"site:{runs[-1].site}")


async def _views(hub: HubState, rows: Sequence[JobRow], caller: Caller) -> tuple[JobView, ...]:
    async with hub.db.reading() as conn:
        return await views_in(hub, conn, rows, caller)


async def views_in(
    hub: HubState, conn: AsyncConnection, rows: Sequence[JobRow], caller: Caller
) -> tuple[JobView, ...]:
    """Return jobs as people see them, in the same order."""
    policy = await hub.policies.current(conn)
    facts = await job_facts(hub, conn, rows)
    return tuple(job_view(told_to(policy, caller, one), policy) for one in facts)
