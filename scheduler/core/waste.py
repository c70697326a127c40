"""What accounts were leased against what their GPUs did with it (R18)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.core.model import AccountName


@dataclass(frozen=True, slots=True)
class Leased:
    """A lease of so many GPUs; `ended_at` None goes on."""

    account: AccountName
    gpus: int
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What reports said of an account's leased GPUs, in GPU-seconds; `busy` of those measured."""

    account: AccountName
    measured: float
    busy: float


@dataclass(frozen=True, slots=True)
class Waste:
    """An account's GPU-hours: leased, of those measured, and of those spent at work.

    At work is time times the share of multiprocessors that were active (SM activity).
    """

    account: AccountName
    leased: float
    measured: float
    used: float

    @property
    def share_used(self) -> float | None:
        """Return the part of measured time that was used; None where none was measured."""
        return self.used / self.measured if self.measured else None


def waste(
    leases: Iterable[Leased], seen: Iterable[Seen], since: datetime, until: datetime
) -> list[Waste]:
    """Return what each account was leased and did between two times, most unused first."""
    leased: dict[AccountName, float] = {}
    for lease in leases:
        span = min(lease.ended_at or until, until) - max(lease.started_at, since)
        seconds = max(span, timedelta(0)).total_seconds() * lease.gpus
        leased[lease.account] = leased.get(lease.account, 0.0) + seconds
    found = {one.account: one for one in seen}
    rows = [_row(name, seconds, found.get(name)) for name, seconds in leased.items() if seconds]
    return sorted(rows, key=lambda row: (row.used - row.measured, row.account))


def _row(account: AccountName, seconds: float, seen: Seen | None) -> Waste:
    # Rollups end a little before or after leases do: nobody used more than was theirs.
    measured = 0.0 if seen is None else min(seen.measured, seconds)
    used = 0.0 if seen is None else min(seen.busy, measured)
    return Waste(account, seconds / 3600, measured / 3600, used / 3600)
