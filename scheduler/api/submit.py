"""The one way into the queue, for both front doors (`/v1/jobs` and Ray's `/api/jobs/`).

Admission, the row, its first event and the outbox are one unit, committed together with
what other requests submit at that moment; the cycle is woken after the commit.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.api.deps import HubState
from scheduler.core import admission
from scheduler.core.audit import Entry, Who
from scheduler.core.model import ReservationId
from scheduler.core.policy import Policy
from scheduler.core.thresholds import flop_words
from scheduler.db import audit
from scheduler.db.jobs import (
    DuplicateJob,
    NewJob,
    find_submitted,
    insert_jobs,
    pending_counts,
)
from scheduler.db.packages import find_package
from scheduler.db.rows import JobRow
from scheduler.errors import Refused
from scheduler.wire.jobs import JobRequest
from scheduler.wire.sites import PackageRef

_JOB_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
# As Ray makes them: no letters or digits that are read for one another.
_RAY_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ123456789"
# C0 without tab, newline and return; DEL; C1; half surrogate pairs, which no database takes.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_VISIBLE = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Submission:
    """A request as its front door understood it, and who sent it."""

    who: Who
    request: JobRequest
    idempotency_key: str | None = None
    packages: Sequence[PackageRef] = ()

    @property
    def user(self) -> str:
        """Return whose job it is to be."""
        return self.who.on_behalf_of or self.who.actor


async def submit(
    hub: HubState,
    who: Who,
    request: JobRequest,
    idempotency_key: str | None = None,
    packages: Sequence[PackageRef] = (),
) -> tuple[JobRow, bool]:
    """Return the job, durable, and whether it is new.

    The same `idempotency_key` or `submission_id` with the same request gives the first
    job back (False); that holds for requests at the same moment too.

    Raises:
        Refused: control characters, or admission says no (422); or the key or the id was
            used for another request (409).
        StorageUnavailable: nothing was stored.
    """
    check_text(request)
    if idempotency_key is not None and not _VISIBLE.fullmatch(idempotency_key):
        raise _bad_key(idempotency_key)
    submission = Submission(who, request, idempotency_key, packages)
    job, created = await hub.submissions.put(submission, partial(_store, hub))
    if created:
        hub.wake.ring("cycle")
    return job, created


async def find_packages(hub: HubState, user: str, names: Sequence[str]) -> tuple[PackageRef, ...]:
    """Return what a user uploaded under these names (`_ray_pkg_<hex>.zip`).

    Raises:
        Refused: 422, the user has uploaded no such package.
    """
    if not names:
        return ()
    async with hub.db.reading() as conn:
        found = [(name, await find_package(conn, user, name)) for name in names]
    for name, row in found:
        if row is None:
            raise Refused(
                title="No such package",
                detail="You have uploaded no package of that name.",
                field="runtime_env",
                value=name,
                next_step="Submit with `ray job submit --working-dir`, which uploads it first.",
            )
    return tuple(
        PackageRef(uri=f"gcs://{name}", sha256=row.sha256, size=row.size)
        for name, row in found
        if row is not None
    )


def check_text(request: JobRequest) -> None:
    """Refuse control characters: they would play tricks in a terminal that lists jobs.

    Lines and tabs are part of commands and of metadata, and stay.

    Raises:
        Refused: 422, with the field.
    """
    if not request.entrypoint.strip():
        raise _bad_text("entrypoint", request.entrypoint, "The entrypoint is blank.")
    texts = {"entrypoint": request.entrypoint, "name": request.name} | {
        f"metadata.{key}": f"{key}{text}" for key, text in request.metadata.items()
    }
    for field, text in texts.items():
        if _CONTROL.search(text):
            raise _bad_text(field, text, "The text holds control characters.")


async def _store(
    hub: HubState, conn: AsyncConnection, submissions: Sequence[Submission]
) -> Sequence[tuple[JobRow, bool] | Exception]:
    """Admit and store what was submitted at about the same moment, in a few statements."""
    policy = await hub.policies.current(conn)
    pending = dict(await pending_counts(conn, {one.user for one in submissions}))
    answers: dict[int, tuple[JobRow, bool] | Exception] = {}
    new: dict[int, NewJob] = {}
    for place, submission in enumerate(submissions):
        admitted = admission.check(
            ask_of(submission, policy), policy, pending[submission.user], hub.clock.now()
        )
        if isinstance(admitted, admission.Refusal):
            answers[place] = await _seen_before(conn, submission, admitted)
        else:
            new[place] = _new_job(hub, submission, admitted)
            pending[submission.user] += 1
    stored = await insert_jobs(conn, list(new.values())) if new else ()
    for (place, job), row in zip(new.items(), stored, strict=True):
        answers[place] = (
            _replayed(row, job.request_sha256) if isinstance(row, DuplicateJob) else (row, True)
        )
    entries = [
        _entry(submissions[place], row)
        for place, row in zip(new, stored, strict=True)
        if not isinstance(row, DuplicateJob)
    ]
    await audit.record(conn, entries)
    return [answers[place] for place in range(len(submissions))]


def _entry(submission: Submission, job: JobRow) -> Entry:
    """Return what the audit log says: what was asked for, and nothing that may hold a secret."""
    after = {
        "submission_id": job.submission_id,
        "account": job.account,
        "nodes": job.shape.nodes,
        "gpus_per_node": job.shape.gpus_per_node,
        "label": job.shape.label,
        "priority": job.priority.value,
        "time_limit_seconds": int(job.time_limit.total_seconds()),
        "request_sha256": job.request_sha256,
    }
    if job.training is not None:
        after |= {"model_line": job.training.line, "flop": flop_words(job.training.pflop)}
    return Entry(job.submitted_at, submission.who, "job.submit", f"job:{job.id}", after=after)


async def _seen_before(
    conn: AsyncConnection, submission: Submission, refusal: admission.Refusal
) -> tuple[JobRow, bool] | Refused:
    """What was accepted once is given back, whatever the policy says by now."""
    seen = await earlier(conn, submission)
    return refused(refusal) if seen is None else seen


async def earlier(
    conn: AsyncConnection, submission: Submission
) -> tuple[JobRow, bool] | Refused | None:
    """Return the job that has the submission's id or key, or the refusal of another's use of it."""
    seen = await find_submitted(
        conn, submission.user, submission.request.submission_id, submission.idempotency_key
    )
    if seen is None:
        return None
    return _replayed(seen, request_sha256(submission.request, submission.packages))


def ask_of(submission: Submission, policy: Policy) -> admission.Ask:
    """Return what admission looks at."""
    request = submission.request
    seconds = request.time_limit_seconds
    # So many H100e say by themselves how many GPUs there are to be.
    asks_for_gpus = "gpus_per_node" in request.model_fields_set or request.h100e
    reservation = request.reservation
    return admission.Ask(
        user=submission.user,
        account=request.account,
        nodes=request.nodes,
        gpus_per_node=request.gpus_per_node if asks_for_gpus else policy.rules.default_gpus,
        gpu_models=frozenset(request.gpu_models),
        tiers=request.tier,
        label=request.label,
        priority=request.priority,
        preemptible=request.preemptible,
        time_limit=None if seconds is None else timedelta(seconds=seconds),
        memory_gib=request.memory_gib,
        h100e=request.h100e,
        software=frozenset(request.software),
        reservation=None if reservation is None else ReservationId(reservation),
        name=request.name,
        model_line=request.model_line,
        training_flop=request.training_flop,
    )


def _new_job(hub: HubState, submission: Submission, admitted: admission.Admitted) -> NewJob:
    request = submission.request
    return NewJob(
        id="j" + _random(_JOB_ALPHABET, 11),
        user=submission.user,
        submission_id=request.submission_id or "raysubmit_" + _random(_RAY_ALPHABET, 16),
        idempotency_key=submission.idempotency_key,
        request_sha256=request_sha256(request, submission.packages),
        account=admitted.account.name,
        shape=admitted.shape,
        priority=admitted.priority,
        time_limit=admitted.time_limit,
        submitted_at=hub.clock.now(),
        entrypoint=request.entrypoint,
        name=request.name,
        predicted=predicted(hub, submission, admitted),
        training=admitted.training,
        runtime_env=request.runtime_env,
        metadata=request.metadata,
        entrypoint_options=_entrypoint_options(request),
        packages=tuple(package.model_dump() for package in submission.packages),
    )


def predicted(
    hub: HubState, submission: Submission, admitted: admission.Admitted
) -> timedelta | None:
    """Return the run time that is foreseen, in whole seconds; the limit ends it."""
    if hub.predictor is None:
        return None
    foreseen = hub.predictor(
        submission.user, admitted.account.name, admitted.shape.gpus, submission.request.name
    )
    if foreseen is None:
        return None
    seconds = int(min(foreseen, admitted.time_limit).total_seconds())
    return timedelta(seconds=max(1, seconds))


_OPTIONS = ("num_cpus", "num_gpus", "memory", "resources", "label_selector")


def _entrypoint_options(request: JobRequest) -> dict[str, object]:
    """Return what was set of Ray's own placement of the driver, without the prefix."""
    named = ((name, getattr(request, f"entrypoint_{name}")) for name in _OPTIONS)
    return {name: value for name, value in named if value is not None}


def request_sha256(request: JobRequest, packages: Sequence[PackageRef] = ()) -> str:
    """Return a digest that is equal for requests that mean the same, in whatever order."""
    asked = request.model_dump(mode="json")
    # A request that was first sent to a hub that did not know these fields is still the same.
    asked = {name: value for name, value in asked.items() if value or name not in _LATER}
    meant = [asked, [package.sha256 for package in packages]]
    canonical = json.dumps(meant, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


_LATER = frozenset(
    {"name", "memory_gib", "h100e", "software", "reservation", "model_line", "training_flop"}
)


def _replayed(duplicate: DuplicateJob, sha256: str) -> tuple[JobRow, bool] | Refused:
    existing = duplicate.existing
    if existing.request_sha256 == sha256:
        return existing, False
    name = "Idempotency-Key" if duplicate.by == "idempotency_key" else "submission_id"
    return Refused(
        title="Already used",
        detail=f"This {name} was used before, for job {existing.id}, which asked for other things.",
        status=409,
        field=name,
        value=getattr(existing, duplicate.by),
        limit="one job per value",
        next_step=f"Send a new {name}, or the same request as before.",
    )


def refused(refusal: admission.Refusal) -> Refused:
    """Return the answer to what admission refuses, in the wire's words."""
    return Refused(
        title="Not admitted",
        detail=refusal.detail,
        field=_WIRE_NAMES.get(refusal.field, refusal.field),
        value=refusal.value,
        limit=refusal.limit,
        next_step=refusal.next_step,
    )


_WIRE_NAMES = {"time_limit": "time_limit_seconds"}


def _bad_key(key: str) -> Refused:
    return Refused(
        title="Not valid",
        detail="An Idempotency-Key is 1 to 255 visible ASCII characters.",
        field="Idempotency-Key",
        value=key,
        limit="1 to 255 visible ASCII characters",
        next_step="Use a UUID, say.",
    )


def _bad_text(field: str, text: str, detail: str) -> Refused:
    return Refused(
        title="Not valid",
        detail=detail,
        field=field,
        value=text,
        limit="text with lines and tabs, without other control characters",
        next_step="Remove them.",
    )


def _random(alphabet: str, length: int) -> str:
    # A byte modulo the alphabet is a little uneven, which ids, unlike tokens, can bear.
    return "".join(alphabet[byte % len(alphabet)] for byte in secrets.token_bytes(length))
