"""What reading gives back: frozen values, no ORM objects, nothing that loads later."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping

from scheduler.core.explain import Reason, Verdict
from scheduler.core.lifecycle import JobState
from scheduler.core.model import (
    AgreementId,
    PoolId,
    PriorityClass,
    QuotaClass,
    RunState,
    Shape,
    Slot,
    StopReason,
)
from scheduler.core.training import Training
from scheduler.db.shapes import shape_of, slots_of


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job with all that was asked for. `packages` are `{uri, sha256, size}`."""

    sequence: int
    id: str
    user: str
    account: str
    submission_id: str
    idempotency_key: str | None
    request_sha256: str
    state: JobState
    shape: Shape
    priority: PriorityClass
    time_limit: timedelta
    submitted_at: datetime
    attempt: int
    preemptions: int
    not_before: datetime | None
    name: str
    predicted: timedelta | None
    training: Training | None
    entrypoint: str
    runtime_env: Mapping[str, Any]
    metadata: Mapping[str, str]
    entrypoint_options: Mapping[str, Any]
    packages: tuple[Mapping[str, Any], ...]
    started_at: datetime | None
    ended_at: datetime | None
    message: str
    error_type: str | None
    exit_code: int | None
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, open or ended. `why` is the sentence of the decision that started it."""

    id: str
    job_id: str
    attempt: int
    site: str
    pool: str
    quota_class: QuotaClass
    agreement: AgreementId | None
    state: RunState
    token: int
    slots: tuple[Slot, ...]
    gpus: int
    leased_at: datetime
    ends_by: datetime
    bind_by: datetime
    bind_within: timedelta
    started_at: datetime | None
    ended_at: datetime | None
    after: frozenset[str]
    draining: bool
    stop_reason: StopReason | None
    stop_at: datetime | None
    checkpointed_at: datetime | None
    idle_from: datetime | None
    lent: bool
    over: str | None
    seen_at: datetime | None
    why: str
    message: str
    error_type: str | None
    exit_code: int | None
    driver_job_id: str | None
    driver_node: str | None
    log_bytes: int
    simulated: bool
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class EventRow:
    """One line of a job's history."""

    id: int
    job_id: str
    at: datetime
    event: str
    run_id: str | None
    sentence: str


@dataclass(frozen=True, slots=True)
class HoldRow:
    """Why a job waits. `own`: its own verdict, not its group's. `position` counts from 1."""

    verdicts: tuple[Verdict, ...]
    decided_at: datetime
    position: int
    own: bool


@dataclass(frozen=True, slots=True)
class ReservationRow:
    """A planned start (R6)."""

    job_id: str
    pool: str
    slots: tuple[Slot, ...]
    start_at: datetime


@dataclass(frozen=True, slots=True)
class PackageRow:
    """A package of one tenant, as its Ray client named it, and what is really in it."""

    tenant: str
    name: str
    sha256: str
    size: int
    created_at: datetime


def _kept(kind: type[JobRow | RunRow], *computed: str) -> tuple[str, ...]:
    """Return the fields that are columns of the same name."""
    return tuple(field.name for field in fields(kind) if field.name not in computed)


_JOB = _kept(
    JobRow,
    "state",
    "shape",
    "priority",
    "time_limit",
    "predicted",
    "training",
    "metadata",
    "packages",
)
_RUN = _kept(RunRow, "quota_class", "state", "slots", "bind_within", "after", "stop_reason")


def job_row(row: RowMapping) -> JobRow:
    """Return a row of `jobs` as a value."""
    return JobRow(
        **{name: row[name] for name in _JOB},
        state=JobState(row["state"]),
        shape=shape_of(row),
        priority=PriorityClass(row["priority"]),
        time_limit=timedelta(seconds=row["time_limit_seconds"]),
        predicted=predicted_of(row),
        training=training_of(row["training"]),
        metadata=row["user_metadata"],
        packages=tuple(row["packages"]),
    )


def predicted_of(row: RowMapping) -> timedelta | None:
    """Return the run time that was foreseen for a row of `jobs`."""
    seconds = row["predicted_seconds"]
    return None if seconds is None else timedelta(seconds=seconds)


def training_of(value: Mapping[str, Any] | None) -> Training | None:
    """Return what a row of `jobs` trains, from its JSON column (R17)."""
    return None if value is None else Training(**value)


def training_json(training: Training | None) -> dict[str, Any] | None:
    """Return what the JSON column holds."""
    return None if training is None else asdict(training)


def run_row(row: RowMapping) -> RunRow:
    """Return a row of `runs` as a value."""
    return RunRow(
        **{name: row[name] for name in _RUN},
        quota_class=QuotaClass(row["quota_class"]),
        state=RunState(row["state"]),
        slots=slots_of(row["slots"]),
        bind_within=timedelta(seconds=row["bind_within_seconds"]),
        after=frozenset(row["after"]),
        stop_reason=StopReason(row["stop_reason"]) if row["stop_reason"] else None,
    )


def verdicts_json(verdicts: tuple[Verdict, ...]) -> list[list[Any]]:
    """Return verdicts as `[[reason, pool, [[name, value], …]], …]`."""
    return [[v.reason.value, v.pool, [list(pair) for pair in v.numbers]] for v in verdicts]


def verdicts_of(value: list[list[Any]]) -> tuple[Verdict, ...]:
    """Return the verdicts that a JSON column holds."""
    return tuple(
        Verdict(
            Reason(reason),
            None if pool is None else PoolId(pool),
            tuple((name, number) for name, number in numbers),
        )
        for reason, pool, numbers in value
    )
