"""A job as Ray's client reads it: `JobDetails`, with what Ray has no word for beside it.

Ray knows five states. A job that is queued, held, or was preempted and waits again is
PENDING; its message says which. Keys that Ray does not know are ignored by its clients,
so ours are in one of their own, `commonpool`.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from scheduler.api.views import JobFacts, reason, tier_of
from scheduler.core.lifecycle import JobState
from scheduler.core.model import QuotaClass
from scheduler.core.policy import Policy
from scheduler.db.rows import RunRow

_STATUS = {
    JobState.PENDING: "PENDING",
    JobState.STARTING: "PENDING",
    JobState.RUNNING: "RUNNING",
    JobState.STOPPING: "RUNNING",
    JobState.SUCCEEDED: "SUCCEEDED",
    JobState.FAILED: "FAILED",
    JobState.STOPPED: "STOPPED",
}
_CLASSES = {
    QuotaClass.IN_QUOTA: "in quota",
    QuotaClass.BORROWED: "borrowed",
    QuotaClass.BACKGROUND: "in the background",
}


class Version(BaseModel):
    """What Ray's client asks first. `version` is that of the Jobs API."""

    version: str
    ray_version: str
    ray_commit: str
    session_name: str


class Submitted(BaseModel):
    job_id: str
    submission_id: str


class Logs(BaseModel):
    logs: str


class Stopped(BaseModel):
    stopped: bool


class Deleted(BaseModel):
    deleted: bool


class DriverInfo(BaseModel):
    id: str
    node_ip_address: str
    pid: str


class Ours(BaseModel):
    """What Commonpool knows beyond Ray's own fields."""

    job: str
    state: JobState
    account: str
    user: str
    reason: str
    position: int | None = None
    starts_at: datetime | None = None
    attempt: int
    preemptions: int
    run: str | None = None
    site: str | None = None
    pool: str | None = None
    quota_class: str | None = None


class JobDetails(BaseModel):
    """Ray's message of this name (its `pydantic_models.py`), and ours beside it."""

    type: str = "SUBMISSION"
    job_id: str | None = None
    submission_id: str
    driver_info: DriverInfo | None = None
    status: str
    entrypoint: str
    message: str
    error_type: str | None = None
    start_time: int
    end_time: int | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    runtime_env: dict[str, Any] = Field(default_factory=dict)
    driver_agent_http_address: str | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None
    commonpool: Ours


# The oldest that takes all the entrypoint options that we do, and the newest we were tested with.
_OLDEST = (2, 8, 0)
_NEWEST = (2, 60, 0)

EXAMPLE_VERSION = {
    "version": "4",
    "ray_version": "2.60.0",
    "ray_commit": "commonpool",
    "session_name": "session_commonpool",
}
EXAMPLE_SUBMITTED = {
    "job_id": "raysubmit_a7Kd93hFqPzWm2xR",
    "submission_id": "raysubmit_a7Kd93hFqPzWm2xR",
}
EXAMPLE_SUBMISSION = {
    "entrypoint": "python train.py",
    "runtime_env": {"env_vars": {"EPOCHS": "3"}},
    "metadata": {"commonpool.nodes": "2", "commonpool.gpus_per_node": "8"},
}
EXAMPLE_DETAILS = {
    "type": "SUBMISSION",
    "job_id": None,
    "submission_id": "raysubmit_a7Kd93hFqPzWm2xR",
    "driver_info": None,
    "status": "PENDING",
    "entrypoint": "python train.py",
    "message": "queued: position 1 in arl-vision; national-hub has 8 GPUs free, and room on 1 "
    "of the 2 nodes that the job needs with 8 GPUs each; expected start 09:31 UTC",
    "error_type": None,
    "start_time": 1772443800000,
    "end_time": None,
    "metadata": {"commonpool.nodes": "2", "commonpool.gpus_per_node": "8"},
    "runtime_env": {"env_vars": {"EPOCHS": "3"}},
    "driver_agent_http_address": None,
    "driver_node_id": None,
    "driver_exit_code": None,
    "commonpool": {
        "job": "jq4k2mzx7wab",
        "state": "pending",
        "account": "arl-vision",
        "user": "dana",
        "reason": "It waits for the next planning cycle.",
        "position": 1,
        "starts_at": "2026-03-02T09:31:30Z",
        "attempt": 1,
        "preemptions": 0,
        "run": None,
        "site": None,
        "pool": None,
        "quota_class": None,
    },
}


def ray_version(at_sites: Sequence[str]) -> str:
    """Return the newest Ray whose features every site has, as clients may rely on it."""
    numbers = [_numbers(text) for text in at_sites]
    known = [number for number in numbers if number is not None]
    return ".".join(map(str, max(_OLDEST, min([_NEWEST, *known]))))


def _numbers(text: str) -> tuple[int, int, int] | None:
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})\.([0-9]{1,4})", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def details(facts: JobFacts, policy: Policy) -> JobDetails:
    """Return a job as Ray's client shows it."""
    job, run = facts.job, facts.runs[-1] if facts.runs else None
    return JobDetails(
        job_id=run.driver_job_id if run else None,
        submission_id=job.submission_id,
        driver_info=_driver(run),
        status=status(job.state),
        entrypoint=job.entrypoint,
        message=message(facts, policy),
        error_type=job.error_type,
        start_time=_milliseconds(job.started_at or job.submitted_at),
        end_time=None if job.ended_at is None else _milliseconds(job.ended_at),
        metadata=dict(job.metadata),
        runtime_env=dict(job.runtime_env),
        driver_node_id=run.driver_node if run else None,
        driver_exit_code=job.exit_code,
        commonpool=_ours(facts, policy),
    )


def status(state: JobState) -> str:
    """Return Ray's word for a state."""
    return _STATUS[state]


def message(facts: JobFacts, policy: Policy) -> str:
    """Return what a person should know about the job now, in one line where it has not ended."""
    if facts.job.state is JobState.PENDING:
        return queue_line(facts, policy)
    return reason(facts, policy)


def queue_line(facts: JobFacts, policy: Policy) -> str:
    """Say that a job waits: where in the queue, why, and when it should start."""
    job = facts.job
    where = f"position {facts.position} in {job.account}" if facts.position else job.account
    again = "queued" if job.attempt == 1 else f"queued again, attempt {job.attempt}"
    parts = [f"{again}: {where}", reason(facts, policy).rstrip(".")]
    if facts.starts_at:
        parts.append(f"expected start {facts.starts_at:%H:%M} UTC")
    return "; ".join(parts)


def start_line(run: RunRow, policy: Policy) -> str:
    """Say where a run was given GPUs, on whose account of quota, and by which decision."""
    nodes = ", ".join(slot.node for slot in run.slots)
    tier = tier_of(policy, run.pool)
    how = _CLASSES[run.quota_class] + (f" under {run.agreement}" if run.agreement else "")
    pool = f"pool {run.pool}" + (f" ({tier} tier)" if tier else "")
    simulated = ", simulated" if run.simulated else ""
    gpus = "1 GPU" if run.gpus == 1 else f"{run.gpus} GPUs"
    return (
        f"starting at site {run.site}: {pool}, {gpus} on {nodes}{simulated}, {how}; "
        f"{run.why.rstrip('.')}"
    )


def _driver(run: RunRow | None) -> DriverInfo | None:
    if run is None or run.driver_job_id is None:
        return None
    node = run.driver_node or (run.slots[0].node if run.slots else "")
    return DriverInfo(id=run.driver_job_id, node_ip_address=node, pid="")


def _ours(facts: JobFacts, policy: Policy) -> Ours:
    job, run = facts.job, facts.runs[-1] if facts.runs else None
    return Ours(
        job=job.id,
        state=job.state,
        account=job.account,
        user=job.user,
        reason=reason(facts, policy),
        position=facts.position,
        starts_at=facts.starts_at,
        attempt=job.attempt,
        preemptions=job.preemptions,
        run=run.id if run else None,
        site=run.site if run else None,
        pool=run.pool if run else None,
        quota_class=_CLASSES[run.quota_class] if run else None,
    )


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
