"""What the agent knows about its runs, one small JSON file each, written before each step.

A record is on the disk before anything happens outside because of it, so an agent that
was killed at any instant finds out what may exist: a run whose record says `submitting`
is looked for, never simply started. Source: notes/ray.md §4, "write ahead".
"""

import fcntl
import os
from enum import StrEnum
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from scheduler.core.model import RunState, StopReason
from scheduler.wire.sites import DesiredLease, ObservedRun, Wanted

_RENEWED = ("token", "wanted", "bind_by", "grace_seconds", "stop_reason", "stop_at")


class Phase(StrEnum):
    """How far a run got, as what may exist outside of this record."""

    RESERVED = "reserved"  # nothing
    LAUNCHING = "launching"  # processes of its cluster; none of the user's
    SUBMITTING = "submitting"  # perhaps the user's program
    SUBMITTED = "submitted"  # the user's program: Ray took it
    ENDED = "ended"  # perhaps remains; the outcome is known
    FENCED = "fenced"  # nothing any more


class Ending(StrEnum):
    """Why the agent itself puts an end to a run: the hub's reasons, and two of its own."""

    CANCELLED = StopReason.CANCELLED
    RECALLED = StopReason.RECALLED
    SHARES = StopReason.SHARES
    RESERVED = StopReason.RESERVED
    TIME_LIMIT = StopReason.TIME_LIMIT
    BIND_EXPIRED = StopReason.BIND_EXPIRED
    DRAINED = StopReason.DRAINED
    IDLE = StopReason.IDLE
    ENDED_IDLE = StopReason.ENDED_IDLE
    UNLISTED = "unlisted"  # the hub no longer knows the lease


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class NodeProcess(_Kept):
    """One `ray start` of a run. `created`, in ticks since boot, tells it from a later one."""

    node: str
    ip: str
    pid: int
    created: int


class Engine(_Kept):
    """Where a run's Ray cluster is: address and token of its head, and its processes."""

    address: str
    secret: str | None = None
    folder: str = ""
    index: int = 0
    ports: tuple[int, ...] = ()
    processes: tuple[NodeProcess, ...] = ()


class RunRecord(_Kept):
    """One run. `lease` is the newest that the hub gave; `started_at` is when work began."""

    lease: DesiredLease
    phase: Phase = Phase.RESERVED
    reserved_at: AwareDatetime
    submitted_at: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    silent_since: AwareDatetime | None = None
    signalled_at: AwareDatetime | None = None
    checkpointed_at: AwareDatetime | None = None
    ending: Ending | None = None
    outcome: RunState | None = None
    message: str = ""
    error_type: str | None = None
    exit_code: int | None = None
    driver_job_id: str | None = None
    driver_node: str | None = None
    engine: Engine | None = None

    @property
    def run(self) -> str:
        """Return the run's id, also its submission id at Ray."""
        return self.lease.run

    @property
    def is_over(self) -> bool:
        """Return whether the outcome is known."""
        return self.phase in (Phase.ENDED, Phase.FENCED)

    @property
    def stop_reason(self) -> Ending | None:
        """Return why the run ends before its time, or None while nobody wants that."""
        if self.ending is not None:
            return self.ending
        if self.lease.wanted is Wanted.STOP:
            return Ending(self.lease.stop_reason or StopReason.CANCELLED)
        return Ending.TIME_LIMIT if self.signalled_at else None

    @property
    def state(self) -> RunState:
        """Return the state as the hub is told it: lost is only said once it is fenced."""
        if self.is_over:
            outcome = self.outcome or RunState.LOST
            hidden = outcome is RunState.LOST and self.phase is not Phase.FENCED
            return RunState.UNKNOWN if hidden else outcome
        if self.silent_since is not None:
            return RunState.UNKNOWN
        if self.ending is not None or self.signalled_at is not None:
            return RunState.STOPPING
        return RunState.RUNNING if self.started_at else RunState.STARTING

    def renewed(self, order: DesiredLease) -> DesiredLease:
        """Return the lease with what a newer order may change.

        Where and how it runs stays: the hub says that wrongly of a lease it has forgotten.
        """
        changes = {name: getattr(order, name) for name in _RENEWED}
        return self.lease.model_copy(update=changes)

    def observed(self, now: AwareDatetime, log_bytes: int = 0) -> ObservedRun:
        """Return what the hub is told about the run."""
        return ObservedRun(
            run=self.run,
            token=self.lease.token,
            state=self.state,
            observed_at=now,
            started_at=self.started_at,
            message=self.message[-20_000:],
            error_type=self.error_type,
            exit_code=self.exit_code,
            driver_job_id=self.driver_job_id,
            driver_node=self.driver_node,
            fenced=self.phase is Phase.FENCED,
            checkpointed_at=self.checkpointed_at,
            log_bytes=log_bytes,
        )


class DataFolderInUse(Exception):  # noqa: N818  # a state, told by its name
    """Another agent holds the data folder; two would start every run twice."""


class RecordStore:
    """The records of one site agent, in memory and on disk; one process at a time.

    `damaged` names runs whose file could not be read. They may have processes, so they
    are fenced and told as lost, never started again.
    """

    def __init__(self, data: Path) -> None:
        self._folder = data / "records"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _exclusive(data)
        self.records: dict[str, RunRecord] = {}
        self.damaged: set[str] = set()
        for file in sorted(self._folder.glob("*.json")):
            self._load(file)

    def _load(self, file: Path) -> None:
        try:
            record = RunRecord.model_validate_json(file.read_bytes())
        except (ValidationError, OSError):
            self.damaged.add(file.stem)
            return
        if record.run == file.stem:
            self.records[record.run] = record
        else:
            self.damaged.add(file.stem)

    def save(self, record: RunRecord) -> RunRecord:
        """Put a record on the disk so that it is there after a power cut, then in memory."""
        file = self.path(record.run)
        spare = file.with_suffix(".new")
        with spare.open("wb") as out:
            out.write(record.model_dump_json().encode())
            out.flush()
            os.fsync(out.fileno())
        spare.replace(file)
        _sync_folder(self._folder)
        self.records[record.run] = record
        return record

    def reserve(self, record: RunRecord) -> None:
        """Note a run of which nothing exists yet, in memory only: lost, it is begun again.

        The backend saves it before its first step, so no order waits for the disk twice.
        """
        self.records[record.run] = record

    def drop(self, run: str) -> None:
        """Forget a run."""
        self.path(run).unlink(missing_ok=True)
        _sync_folder(self._folder)
        self.records.pop(run, None)
        self.damaged.discard(run)

    def path(self, run: str) -> Path:
        """Return the file of a run's record."""
        return self._folder / f"{run}.json"

    def close(self) -> None:
        """Let another agent have the folder."""
        os.close(self._lock)


def _exclusive(data: Path) -> int:
    """Take the data folder's lock, which the kernel frees however the process ends.

    Raises:
        DataFolderInUse: another process has it.
    """
    lock = os.open(data / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        raise DataFolderInUse(
            f"{data} belongs to a running site agent (pid {holder or 'unknown'});"
            " stop that one, or give this one a folder of its own with --data"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Ledger:
    """One run's record for whoever carries the run out: read it, and write it before each step."""

    def __init__(self, store: RecordStore, run: str) -> None:
        self._store, self._run = store, run

    @property
    def record(self) -> RunRecord:
        """Return the record as it is now."""
        return self._store.records[self._run]

    @property
    def file(self) -> Path:
        """Return the record's file: it exists as long as the run is not forgotten."""
        return self._store.path(self._run)

    def write(self, **changes: object) -> RunRecord:
        """Store changed fields; they are on the disk when this returns."""
        return self._store.save(self.record.model_copy(update=changes))
