"""Desired leases x records -> what to do next. Pure: no clock, no files, no network.

Level-triggered: it looks at what is, not at what changed, and asking again after its
actions were carried out asks for nothing more. The rules that keep a run single are
here: a run with a record is never begun again, an order with a lower fencing token is
as if it had not been given, and a damaged record is ended, not started.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agents.site.records import Ending, Phase, RunRecord
from scheduler.core.model import RunState, StopReason
from scheduler.wire.sites import DesiredLease, Wanted


@dataclass(frozen=True, slots=True)
class Begin:
    """Write the record of a run that this site has never had."""

    lease: DesiredLease


@dataclass(frozen=True, slots=True)
class Renew:
    """Keep the newer order (token, stop, bind time) with the run."""

    lease: DesiredLease


@dataclass(frozen=True, slots=True)
class Attend:
    """Carry on where the record stands: prepare, submit or adopt, then watch."""

    run: str


@dataclass(frozen=True, slots=True)
class Signal:
    """Ask the program to checkpoint."""

    run: str


@dataclass(frozen=True, slots=True)
class End:
    """Note that the run must end now, and why."""

    run: str
    why: Ending


@dataclass(frozen=True, slots=True)
class Close:
    """Stop what still runs, fence, and deliver the rest of the log."""

    run: str


@dataclass(frozen=True, slots=True)
class Entomb:
    """Record a run that must not start as ended: `fenced` says that it never had a process."""

    lease: DesiredLease
    outcome: RunState
    message: str
    fenced: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the record: the hub has stored the end."""

    run: str


@dataclass(frozen=True, slots=True)
class Discard:
    """End what a damaged record may have left, and drop it: the hub never knew it, or forgot."""

    run: str


Action = Begin | Renew | Attend | Signal | End | Close | Entomb | Forget | Discard


@dataclass(frozen=True, slots=True)
class Site:
    """The agent's own side: its records, and which runs a task of it is busy with.

    `forgotten` are runs that the hub has acknowledged; an order for one is an echo.
    """

    records: Mapping[str, RunRecord]
    attended: frozenset[str] = field(default_factory=frozenset)
    closing: frozenset[str] = field(default_factory=frozenset)
    damaged: frozenset[str] = field(default_factory=frozenset)
    forgotten: frozenset[str] = field(default_factory=frozenset)


def reconcile(
    orders: Mapping[str, DesiredLease] | None, site: Site, now: datetime
) -> tuple[Action, ...]:
    """Return what to do, in order. `orders` None: the hub has not been heard since the start.

    Then, and while the hub is away, runs go on to their time limit.
    """
    actions: list[Action] = []
    for run in sorted(site.records):
        lease = orders.get(run) if orders is not None else site.records[run].lease
        actions += _of_record(site.records[run], lease, site, now)
    for run in sorted(orders or {}):
        if run not in site.records:
            actions += _of_stranger((orders or {})[run], site, now)
    if orders is not None:
        unknown = site.damaged - set(orders) - set(site.records)
        actions += [Discard(run) for run in sorted(unknown)]
    return tuple(actions)


def _of_record(
    record: RunRecord, lease: DesiredLease | None, site: Site, now: datetime
) -> list[Action]:
    run = record.run
    if lease is not None and lease.token < record.lease.token:
        lease = record.lease  # An order from before: the newer one still holds.
    if record.is_over:
        return _of_ended(record, lease, site)
    if record.ending is not None:
        return [] if run in site.closing else [Close(run)]
    if lease is None:
        return [End(run, Ending.UNLISTED)]
    if record.renewed(lease) != record.lease:
        return [Renew(lease)]
    if why := _due_end(record, now):
        return [End(run, why)]
    actions: list[Action] = [] if run in site.attended else [Attend(run)]
    if record.signalled_at is None and _due_signal(record, now):
        actions.append(Signal(run))
    return actions


def _of_ended(record: RunRecord, lease: DesiredLease | None, site: Site) -> list[Action]:
    if record.phase is not Phase.FENCED:
        return [] if record.run in site.closing else [Close(record.run)]
    if lease is None or lease.wanted is Wanted.FORGET:
        return [Forget(record.run)]
    if lease.token > record.lease.token:
        return [Renew(lease)]  # The hub takes the end only under its present token.
    return []


def _of_stranger(lease: DesiredLease, site: Site, now: datetime) -> list[Action]:
    """Decide on a lease that has no record."""
    if lease.run in site.forgotten:
        return []
    if lease.wanted is Wanted.FORGET:
        return [Discard(lease.run)] if lease.run in site.damaged else []
    if lease.run in site.damaged:
        text = "its record at the site was unreadable; what was left of it was ended"
        return [Entomb(lease, RunState.LOST, text, fenced=False)]
    if lease.wanted is Wanted.STOP:
        outcome = _never_started(lease.stop_reason)
        return [Entomb(lease, outcome, "ended before it was started", fenced=True)]
    if now >= lease.bind_by:
        text = f"did not start by {lease.bind_by:%Y-%m-%d %H:%M:%S} UTC"
        return [Entomb(lease, RunState.LOST, text, fenced=True)]
    return [Begin(lease)]


def _never_started(reason: StopReason | None) -> RunState:
    match reason:
        case (
            StopReason.RECALLED
            | StopReason.SHARES
            | StopReason.RESERVED
            | StopReason.DRAINED
            | StopReason.IDLE
        ):
            return RunState.PREEMPTED
        case StopReason.BIND_EXPIRED:
            return RunState.LOST
        case StopReason.TIME_LIMIT:
            return RunState.FAILED
        case StopReason.CANCELLED | StopReason.ENDED_IDLE | None:
            return RunState.STOPPED


def _due_end(record: RunRecord, now: datetime) -> Ending | None:
    """Return why the run must end now, or None."""
    lease = record.lease
    if lease.wanted is not Wanted.RUN:  # FORGET for a run that goes on: it ends, unasked for.
        at_once = lease.stop_at is None or record.started_at is None
        if at_once or lease.wanted is Wanted.FORGET or now >= (lease.stop_at or now):
            return record.stop_reason or Ending.UNLISTED
    if record.started_at is None:
        return Ending.BIND_EXPIRED if now >= lease.bind_by else None
    if now >= _limit(record) + timedelta(seconds=lease.grace_seconds):
        return Ending.TIME_LIMIT
    return None


def _due_signal(record: RunRecord, now: datetime) -> bool:
    if record.started_at is None:
        return False
    return record.lease.wanted is Wanted.STOP or now >= _limit(record)


def _limit(record: RunRecord) -> datetime:
    started = record.started_at or record.reserved_at
    return started + timedelta(seconds=record.lease.time_limit_seconds)
