"""Whose verdicts a cycle works out, so that telling a long queue leaves time to plan it.

A short queue is told whole in every cycle. Of a long one, accounts take turns: those whose
verdicts are too old, whatever it takes; then those with something new, such as a job that was
just submitted; then whoever was told longest ago, until the time for it is over. While nothing
else is to be done, everyone is told of the last change.
"""

from collections.abc import Collection, Iterable, Iterator

from scheduler.clock import Clock
from scheduler.core.model import AccountName

FEW = 1_000
"""So many waiting jobs are told in every cycle: 20 ms or so."""

# Of a cycle's other time: a fifth of the whole. Never less than a few accounts' worth.
_SHARE, _LEAST = 0.25, 0.01
# While nothing has changed, so that a new job is planned after no longer than this.
_IDLE = 0.2
OLDEST = 60.0
"""Seconds after which an account is told again, whatever it takes."""


class Telling:
    """Remembers when each account was last told. Times are of the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told_at: dict[AccountName, float] = {}  # who was told longest ago, first
        self._new: dict[AccountName, None] = {}  # in the order of coming
        self._changed_at = -float("inf")

    def reset(self) -> None:
        """Forget when anyone was told; all are new."""
        self._told_at.clear()
        self._new.clear()

    def heard(self, accounts: Iterable[AccountName], at: float) -> None:
        """Note that the world has changed, and for whom most of all."""
        self._changed_at = at
        self._new.update(dict.fromkeys(accounts))

    def turn(
        self, accounts: Collection[AccountName], jobs: int, began: float, *, idle: bool
    ) -> Iterator[AccountName]:
        """Yield accounts to tell, in order, until the time is over; `began` the cycle has."""
        now = self._clock.monotonic()
        spare = max(_LEAST, _IDLE if idle else 0.0, _SHARE * (now - began))
        due = [name for name, at in self._told_at.items() if now - at >= OLDEST]
        yield from due
        others = dict.fromkeys(name for name in self._new)
        others.update(dict.fromkeys(name for name in accounts if name not in self._told_at))
        others.update(dict.fromkeys(self._told_at))
        for name in due:
            others.pop(name, None)
        for name in others:
            if jobs > FEW and self._clock.monotonic() - now >= spare:
                return
            yield name

    def told(self, accounts: Collection[AccountName], waiting: Collection[AccountName]) -> None:
        """Note who was told in this cycle; who does not wait any more is forgotten."""
        now = self._clock.monotonic()
        for name in accounts:
            self._new.pop(name, None)
            self._told_at.pop(name, None)
            if name in waiting:
                self._told_at[name] = now

    def is_behind(self, waiting: Collection[AccountName]) -> bool:
        """Return whether anyone who waits has not been told of the last change."""
        oldest = next(iter(self._told_at.values()), self._changed_at)
        late = bool(self._new) or oldest < self._changed_at
        return late or not all(name in self._told_at for name in waiting)
