"""Ray's Jobs API, so that unmodified Ray clients submit here.

Answers are exactly what Ray's client looks for: 200 and nothing else for success, one
plain line for an error, `/api/jobs/` with its slash. Ray answers an id that is taken
with 500; retries of Ray's client and of KubeRay rely on its words, so we keep both.

Source: ray 2.60.0, `dashboard/modules/job/job_head.py`.
"""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from scheduler.api import body
from scheduler.api.audited import RAY, who
from scheduler.api.auth import Caller
from scheduler.api.cleared import check_is_cleared, told_to
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.institutions import as_signed_in
from scheduler.api.jobs import cancel_audited, job_facts, ring_cancelled
from scheduler.api.openapi import accepts_media, answers
from scheduler.api.problems import printable
from scheduler.api.ray_jobs_request import parse
from scheduler.api.ray_jobs_runtime_env import PACKAGE_NAME, refuse
from scheduler.api.ray_jobs_views import (
    EXAMPLE_DETAILS,
    EXAMPLE_SUBMISSION,
    EXAMPLE_SUBMITTED,
    EXAMPLE_VERSION,
    Deleted,
    JobDetails,
    Logs,
    Stopped,
    Submitted,
    Version,
    details,
    ray_version,
    status,
)
from scheduler.api.submit import find_packages, submit
from scheduler.core.audit import Entry
from scheduler.db import audit
from scheduler.db.jobs import delete_job, find_job, list_jobs, runs_of
from scheduler.db.packages import find_package, save_package
from scheduler.db.rows import JobRow
from scheduler.db.sites import ray_versions
from scheduler.errors import Refused

router = APIRouter(prefix="/api", tags=["Ray's Jobs API"])

User = Annotated[Caller, Depends(current_user)]
JobKey = Annotated[
    str, Path(description="The job's submission id or id", examples=["raysubmit_a7Kd93hFqPzWm2xR"])
]
Protocol = Annotated[str, Path(description="Always `gcs`", examples=["gcs"])]
Package = Annotated[str, Path(examples=["_ray_pkg_0123456789abcdef.zip"])]
_PAGE = 500
# Ray's list has no pages; this keeps one answer from holding a whole year's jobs.
MAX_LISTED = 10_000
_LOG_PIECE = 256 * 1024
_LISTED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": [EXAMPLE_DETAILS]}}}
}


@router.get("/version", response_model=Version, responses=answers(EXAMPLE_VERSION))
async def version(request: Request, _: User) -> Response:
    """Say which version of the Jobs API this is, and which Ray every site can carry out."""
    async with hub_of(request).db.reading() as conn:
        oldest = ray_version(await ray_versions(conn))
    return body.reply(
        Version(
            version="4",
            ray_version=oldest,
            ray_commit="commonpool",
            session_name="session_commonpool",
        )
    )


@router.get(
    "/packages/{protocol}/{name}",
    response_class=Response,
    responses={200: {"description": "It is here"}},
)
async def package_is_here(
    request: Request, user: User, protocol: Protocol, name: Package
) -> Response:
    """Say whether the caller uploaded a package; another person's of that name does not count."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        found = await find_package(conn, user.subject, name)
    # The row may outlive the bytes, in a folder that was restored: then upload again.
    if protocol != "gcs" or found is None or not hub.files.package_path(found.sha256).is_file():
        uri = printable(f"{protocol}://{name}")
        return PlainTextResponse(f"Package {uri} does not exist", status_code=404)
    return Response()


@router.put(
    "/packages/{protocol}/{name}",
    response_class=Response,
    openapi_extra=accepts_media("application/zip", {"type": "string", "format": "binary"}),
    responses={200: {"description": "It is stored"}},
)
async def upload_package(
    request: Request, user: User, protocol: Protocol, name: Package
) -> Response:
    """Store a package for the caller. Its name is the client's; its identity is our SHA-256."""
    if protocol != "gcs":
        raise refuse("the package's protocol", protocol, "is not known", limit="gcs")
    if not PACKAGE_NAME.fullmatch(name):
        limit = "letters, digits and . _ + -, up to 119 of them"
        raise refuse("the package's name", name, "is not valid", limit=limit)
    hub = hub_of(request)
    sha256, size = await hub.files.put_package(request.stream(), hub.settings.max_package_bytes)
    async with hub.db.transaction() as conn:
        now, after = hub.clock.now(), {"sha256": sha256, "bytes": size}
        await save_package(conn, user.subject, name, sha256, size, now)
        by = who(user, source=RAY)
        entry = Entry(now, by, "package.upload", f"package:{name}", after=after)
        await audit.record(conn, [entry])
    return Response()


@router.post(
    "/jobs/",
    response_model=Submitted,
    openapi_extra=accepts_media("application/json", {"type": "object"}, EXAMPLE_SUBMISSION),
    responses=answers(EXAMPLE_SUBMITTED),
)
async def submit_job(
    request: Request, user: User, idempotency_key: Annotated[str | None, Header()] = None
) -> Response:
    """Submit a job. When this answers, the job is stored durably."""
    hub = hub_of(request)
    asked = body.check_json(await request.body())
    parsed = parse(asked)
    packages = await find_packages(hub, user.subject, parsed.packages)
    try:
        by = who(user, source=RAY)
        meant = await as_signed_in(hub, user, parsed.request)
        job, created = await submit(hub, by, meant, idempotency_key, packages)
    except Refused as refused:
        if refused.status == 409 and refused.field == "submission_id":  # noqa: PLR2004  # Conflict
            return _taken(refused.value or "")
        raise
    if not created and (idempotency_key is None or job.idempotency_key != idempotency_key):
        return _taken(job.submission_id)
    return body.reply(Submitted(job_id=job.submission_id, submission_id=job.submission_id))


@router.get("/jobs/", response_model=list[JobDetails], responses=_LISTED)
async def list_all(request: Request, user: User) -> Response:
    """List the caller's jobs, newest first; an admin's list holds everyone's."""
    hub = hub_of(request)
    return StreamingResponse(_array(hub, user), media_type="application/json")


async def _array(hub: HubState, user: Caller) -> AsyncIterator[str]:
    """Write a JSON array page by page: a long list is never in memory at once."""
    before: int | None = None
    listed = 0
    yield "["
    while listed < MAX_LISTED:
        async with hub.db.reading() as conn:
            policy = await hub.policies.current(conn)
            page = await list_jobs(conn, owner=user.sees, before=before, limit=_PAGE)
            facts = await job_facts(hub, conn, page)
        texts = [details(told_to(policy, user, one), policy).model_dump_json() for one in facts]
        yield (", " if listed and texts else "") + ", ".join(texts)
        listed += len(page)
        if len(page) < _PAGE:
            break
        before = page[-1].sequence
    yield "]"


@router.get("/jobs/{job}", response_model=JobDetails, responses=answers(EXAMPLE_DETAILS))
async def job_details(request: Request, user: User, job: JobKey) -> Response:
    """Return a job by its submission id or id."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        found = await find_job(conn, job, user.sees)
        if found is None:
            return absent(job)
        policy = await hub.policies.current(conn)
        (facts,) = await job_facts(hub, conn, [found])
    return body.reply(details(told_to(policy, user, facts), policy))


@router.get(
    "/jobs/{job}/logs", response_model=Logs, responses=answers({"logs": "epoch 1: loss 0.71\n"})
)
async def logs(request: Request, user: User, job: JobKey) -> Response:
    """Return all that the job's attempts have printed so far, in order."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        found = await find_job(conn, job, user.sees)
        if found is None:
            return absent(job)
        check_is_cleared(await hub.policies.current(conn), user, found)
        runs = [run.id for run in (await runs_of(conn, [found.id])).get(found.id, [])]
    return StreamingResponse(_whole(hub, found, runs), media_type="application/json")


async def _whole(hub: HubState, job: JobRow, runs: Sequence[str]) -> AsyncIterator[str]:
    """Write a log as one JSON string, piece by piece."""
    offset = 0
    yield '{"logs": "'
    while True:
        data, offset = await hub.files.read_log(job.id, runs, offset, _LOG_PIECE)
        if not data:
            break
        yield json.dumps(data.decode(errors="replace"))[1:-1]
    yield '"}'


@router.post("/jobs/{job}/stop", response_model=Stopped, responses=answers({"stopped": True}))
async def stop(request: Request, user: User, job: JobKey) -> Response:
    """End a job: at once where it waits, after its grace where it runs."""
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        found = await find_job(conn, job, user.ends)
        if found is None:
            return absent(job)
        if found.state.is_terminal:
            return body.reply(Stopped(stopped=False))
        by = who(user, found.user, RAY)
        runs = await cancel_audited(conn, found, by, hub.clock.now())
    ring_cancelled(hub, found, runs)
    return body.reply(Stopped(stopped=True))


@router.delete("/jobs/{job}", response_model=Deleted, responses=answers({"deleted": True}))
async def delete(request: Request, user: User, job: JobKey) -> Response:
    """Forget a job that has ended: it is in no list any more, and its id stays used."""
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        found = await find_job(conn, job, user.ends)
        if found is None:
            return absent(job)
        now = hub.clock.now()
        if not await delete_job(conn, found.id, now):
            return _not_ended(found)
        by = who(user, found.user, RAY)
        await audit.record(conn, [Entry(now, by, "job.hide", f"job:{found.id}")])
    return body.reply(Deleted(deleted=True))


def absent(job: str) -> PlainTextResponse:
    """Return Ray's 404, the same whether the job is absent or another person's."""
    return PlainTextResponse(f"Job {printable(job)} does not exist", status_code=404)


def _taken(submission_id: str) -> PlainTextResponse:
    return PlainTextResponse(
        f"Job with submission_id {submission_id} already exists. "
        "Please use a different submission_id.",
        status_code=500,
    )


def _not_ended(job: JobRow) -> PlainTextResponse:
    return PlainTextResponse(
        f"Attempted to delete job '{job.submission_id}', "
        f"but it is in a non-terminal state {status(job.state)}.",
        status_code=500,
    )
