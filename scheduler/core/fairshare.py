"""Recent usage: what an account has consumed, with the past fading away (R3).

A balance halves every `half_life`. It is stored with the instant at which it was true
and brought forward on reading: no background job, and how often it is read changes
nothing. Sums are exact (`math.fsum`), so their order cannot change who goes next.

Source: Slurm's multifactor priority (PriorityDecayHalfLife); the continuous form is the
solution of du/dt = rate - ln(2)/half_life * u.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import expm1, fsum, log
from typing import NamedTuple

from scheduler.core.index import PolicyIndex
from scheduler.core.model import AccountName, RunId
from scheduler.core.snapshot import Usage

TENTATIVE = timedelta(minutes=1)
"""A start counts at once as if it had run this long, so that equals take turns in a cycle."""


def settled(usage: Usage, now: datetime, half_life: timedelta) -> float:
    """Return a stored balance, brought forward to `now`; before `as_of` it stands as it is."""
    age = max(timedelta(0), now - usage.as_of)
    return usage.h100e_seconds * float(0.5 ** (age / half_life))


def accrued(h100e: float, since: datetime, now: datetime, half_life: timedelta) -> float:
    """Return the balance of `h100e` H100-equivalents in use from `since` to `now`."""
    age = max(timedelta(0), now - since)
    ceiling = h100e * half_life.total_seconds() / log(2)  # where a steady load settles
    return -ceiling * expm1(-log(2) * (age / half_life))


def share(h100e_seconds: float, weight: int) -> float:
    """Return usage per unit of weight: the account with the least goes first."""
    return h100e_seconds / weight


def subtree_usage(
    index: PolicyIndex, leaves: Mapping[AccountName, float]
) -> dict[AccountName, float]:
    """Return usage of every account with all that is below it.

    Added up by name: an order that is the same in every process.
    """
    total: dict[AccountName, float] = {}
    for leaf in sorted(leaves):
        used = leaves[leaf]
        for name in index.chain(leaf):
            total[name] = total.get(name, 0.0) + used
    return total


class ExactSum:
    """A sum of floats in which nothing is lost, so that what is taken out again leaves no trace.

    Kept as few floats that do not overlap, whose sum it is.
    Source: J. R. Shewchuk, "Adaptive Precision Floating-Point Arithmetic", 1997, grow-expansion.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[float] = []

    def add(self, more: float) -> None:
        """Add a number, which may be negative."""
        parts = []
        for part in self._parts:
            large, small = (more, part) if abs(more) > abs(part) else (part, more)
            more = large + small
            lost = small - (more - large)
            if lost:
                parts.append(lost)
        if more:
            parts.append(more)
        self._parts = parts

    @property
    def value(self) -> float:
        """Return the nearest float."""
        return fsum(self._parts)


_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_HALVINGS = 32
_MOST = 1000.0  # a float holds no larger power of two; leases do not begin so far ahead


class Fading(NamedTuple):
    """An instant in units that sums of runs can be kept in: see `Accruing`.

    `base` is the last of some instants, many half-lives apart, that are the same for everybody;
    `faded` is what is left at the instant of what was one there.
    """

    base: datetime
    faded: float

    @staticmethod
    def at(now: datetime, half_life: timedelta) -> "Fading":
        """Return the instant `now`."""
        step = _HALVINGS * half_life
        base = _EPOCH + (now - _EPOCH) // step * step
        return Fading(base, float(0.5 ** ((now - base) / half_life)))


class Accruing:
    """What one account's runs accrue, brought forward in constant time.

    With h the half-life, runs of rate c since s have accrued `sum(c) - sum(c x 2^((s-b)/h)) x
    2^(-(t-b)/h)`, times h/ln 2, for any instant b. The two sums are exact and change only as
    runs come and go, so reading does not look at runs but those that did since: what a cycle
    tries has gone again by then.
    """

    __slots__ = ("_base", "_changed", "_half_life", "_kept", "_parts", "_rates", "_runs")

    def __init__(self, half_life: timedelta) -> None:
        self._half_life = half_life
        self._runs: dict[RunId, tuple[float, datetime]] = {}
        self._base: datetime | None = None
        self._parts: dict[RunId, tuple[float, float]] = {}  # each run's in both sums
        self._rates, self._kept = ExactSum(), ExactSum()  # the second one as of the base
        self._changed: set[RunId] = set()

    def put(self, run: RunId, h100e: float, since: datetime) -> None:
        """Let a run accrue, with so many H100-equivalents since then."""
        self._runs[run] = (h100e, since)
        self._changed.add(run)

    def drop(self, run: RunId) -> None:
        """Let a run accrue no more."""
        if self._runs.pop(run, None) is not None:
            self._changed.add(run)

    def runs(self) -> Mapping[RunId, tuple[float, datetime]]:
        """Return each run's H100-equivalents and since when it holds them."""
        return self._runs

    def sums(self, base: datetime) -> tuple[float, float]:
        """Return the two sums, the second one as of `base`."""
        if self._base != base:
            self._base = base
            self._parts.clear()
            self._rates, self._kept = ExactSum(), ExactSum()
            self._changed = set(self._runs)
        for run in self._changed:
            self._count(run, base)
        self._changed.clear()
        return self._rates.value, self._kept.value

    def _count(self, run: RunId, base: datetime) -> None:
        before, known, after = self._parts.pop(run, None), self._runs.get(run), None
        if known is not None:
            h100e, since = known
            kept = h100e * float(2.0 ** min(_MOST, (since - base) / self._half_life))
            after = self._parts[run] = (h100e, kept)
        if after == before:
            return
        if before is not None:
            self._rates.add(-before[0])
            self._kept.add(-before[1])
        if after is not None:
            self._rates.add(after[0])
            self._kept.add(after[1])


class AllAccruing:
    """What the runs of every account accrue; `at` reads two numbers for each."""

    def __init__(self, half_life: timedelta) -> None:
        self._half_life = half_life
        self._of: dict[AccountName, Accruing] = {}
        self._base: datetime | None = None
        self._sums: dict[AccountName, tuple[float, float]] = {}
        self._changed: set[AccountName] = set()

    def put(self, account: AccountName, run: RunId, h100e: float, since: datetime) -> None:
        """Let a run of an account accrue, with so many H100-equivalents since then."""
        known = self._of.get(account)
        if known is None:
            known = self._of[account] = Accruing(self._half_life)
        known.put(run, h100e, since)
        self._changed.add(account)

    def drop(self, account: AccountName, run: RunId) -> None:
        """Let a run accrue no more."""
        self._of[account].drop(run)
        self._changed.add(account)

    def at(self, now: datetime) -> Iterator[tuple[AccountName, float]]:
        """Yield what each account's runs have accrued by `now`, in decayed H100e-seconds."""
        fading = Fading.at(now, self._half_life)
        if fading.base != self._base:
            self._base = fading.base
            self._changed.update(self._of)
        for account in self._changed:
            self._sums[account] = self._of[account].sums(fading.base)
        self._changed.clear()
        faded, per_rate = fading.faded, self._half_life.total_seconds() / log(2)
        for account, (rate, kept) in self._sums.items():
            # Whose lease begins a moment from now, by another clock, has not used less than 0.
            yield account, max(0.0, rate - kept * faded) * per_rate

    def runs(self) -> Iterator[tuple[AccountName, Mapping[RunId, tuple[float, datetime]]]]:
        """Yield each account's runs, for comparing worlds."""
        for account, known in self._of.items():
            yield account, known.runs()
