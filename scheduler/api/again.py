"""A stored job once more: the same files and environment, with what is to be different.

The new job comes in by the one way there is, as one that is submitted now: it gets no age
from the old one, for an age that can be carried over could be made. Where it replaces a waiting
job, that one is ended once the new one is stored; a repeat with the same key does the rest.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples, examples_dry_run
from scheduler.api.audited import who
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.institutions import as_signed_in
from scheduler.api.jobs import (
    JobKey,
    cancel_audited,
    existing_job,
    job_answer,
    ring_cancelled,
)
from scheduler.api.openapi import accepts, answers
from scheduler.api.problems import validation_refused
from scheduler.api.submit import submit
from scheduler.core.lifecycle import JobState
from scheduler.db.jobs import find_submitted
from scheduler.db.rows import JobRow
from scheduler.errors import Refused
from scheduler.wire.drafts import SubmitAgain
from scheduler.wire.jobs import JobRequest, JobView
from scheduler.wire.sites import PackageRef

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "/{job}/again",
    status_code=201,
    response_model=JobView,
    openapi_extra=accepts(SubmitAgain, examples_dry_run.AGAIN_REQUEST),
    responses=answers(examples.JOB_VIEW, 201, "Submitted")
    | answers(examples.JOB_VIEW, 200, "The job that the same request submitted before"),
)
async def submit_again(
    request: Request,
    user: Annotated[Caller, Depends(current_user)],
    job: JobKey,
    idempotency_key: Annotated[
        str | None,
        Header(description="1 to 255 visible ASCII characters; the same key, the same job"),
    ] = None,
) -> Response:
    """Submit a stored job again, with its files; its age is not carried over."""
    asked = await body.read(request, SubmitAgain)
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        old = await existing_job(conn, job, user)
        repeat = idempotency_key is not None and await find_submitted(
            conn, user.subject, None, idempotency_key
        )
    if old.user != user.subject:
        raise _not_owner(old)
    if asked.replace and old.state is not JobState.PENDING and not repeat:
        raise _waits_no_more(old)
    packages = [PackageRef.model_validate(dict(package)) for package in old.packages]
    changed = await as_signed_in(hub, user, _changed(old, asked.change))
    new, created = await submit(hub, who(user), changed, idempotency_key, packages)
    if asked.replace:
        await _end(hub, old, user)
    return await job_answer(hub, new, user, created=created)


def _changed(old: JobRow, change: dict[str, Any]) -> JobRequest:
    """Return the stored job as a request, with other values in some fields.

    Raises:
        Refused: 422, a field that no job has, or a value that it cannot have.
    """
    if "runtime_env" in change:
        raise Refused(
            title="Not valid",
            detail="Files and environment are those of the stored job.",
            field="change.runtime_env",
            next_step="Submit a job of its own with other files: POST /v1/jobs.",
        )
    # A size of one kind takes the place of one of the other.
    gang = {"nodes", "gpus_per_node"}
    other = gang if "h100e" in change else {"h100e"} if gang & change.keys() else set()
    stored = {name: value for name, value in _stored(old).items() if name not in other}
    try:
        return JobRequest.model_validate({**stored, **change})
    except ValidationError as error:
        raise validation_refused(error.errors(include_url=False), JobRequest) from None


def _stored(old: JobRow) -> dict[str, Any]:
    shape = old.shape
    size: dict[str, Any] = {"nodes": shape.nodes, "gpus_per_node": shape.gpus_per_node}
    if shape.h100e:
        size = {"h100e": shape.h100e}
    options = {f"entrypoint_{name}": value for name, value in old.entrypoint_options.items()}
    return {
        "entrypoint": old.entrypoint,
        "name": old.name,
        "account": old.account,
        **size,
        "gpu_models": sorted(shape.gpu_models),
        "memory_gib": shape.memory_gib,
        "software": sorted(shape.software),
        "reservation": shape.reservation,
        "tier": [shape.tier_min, shape.tier_max],
        "label": shape.label,
        "priority": old.priority,
        "preemptible": shape.preemptible,
        "time_limit_seconds": int(old.time_limit.total_seconds()),
        "runtime_env": dict(old.runtime_env),
        "metadata": dict(old.metadata),
        **options,
    }


async def _end(hub: HubState, old: JobRow, user: Caller) -> None:
    async with hub.db.transaction() as conn:
        runs = await cancel_audited(conn, old, who(user, old.user), hub.clock.now())
    ring_cancelled(hub, old, runs)


def _waits_no_more(old: JobRow) -> Refused:
    return Refused(
        title="It waits no more",
        detail=f"Job {old.id} is {old.state.value}: only a job that waits can be replaced.",
        status=409,
        field="replace",
        value="true",
        limit="jobs that wait",
        next_step="Look at it again; submit without replace for a second job.",
    )


def _not_owner(old: JobRow) -> Refused:
    return Refused(
        title="Another's job",
        detail=f"Job {old.id} is {old.user}'s, whose files go with it.",
        status=403,
        field="job",
        value=old.id,
        next_step="Ask its owner to submit it again.",
    )
