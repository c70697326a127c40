"""One end of the intervals that people are told: by how much it was wrong, and is to move.

An end is moved by a quantile of what it was wrong by for the latest jobs of the same kind,
or of the next wider kind that knows enough, and by a margin: each miss widens it and each hit
narrows it, so that in the long run one in ten misses, also where waits grow and all that
was learnt is of an easier time. Memory is bounded.

Source: split conformal prediction (V. Vovk et al., "Algorithmic Learning in a Random World",
2005); the margin is the integrator of conformal PID control (A. Angelopoulos, E. Candes,
R. Tibshirani, NeurIPS 2023), whose long-run rate needs no assumption about what comes.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Mapping, Sequence

from scheduler.core.predict import HIGH, quantile

LATEST = 100
"""Errors that each kind remembers."""

LEAST = 10
"""Errors without which nothing at all is corrected."""

LEAST_OF_KIND = 20
"""Errors that a kind must know before it is held to be another than the rest."""

MOST_KINDS = 2_000
"""Kinds that are remembered; the one that learnt nothing for longest goes first."""

EVERYTHING: Hashable = ()
"""The widest kind, which every job is of."""

_STEP = 0.05  # of the margin, in logarithms of waits; a larger one would follow chance
_LEAST_MARGIN, _MOST_MARGIN = -1.0, 4.0
_MOST = 6.0  # of a correction: an end is moved by a factor of 400 at most
_LEAST_SHRINK = -0.7  # and to the half at least

Kinds = Sequence[Hashable]
"""What a job is like, the nearest kind first and `EVERYTHING` last."""


class End:
    """What is known of one end of intervals; errors are above 0 where it was too narrow."""

    def __init__(self) -> None:
        self._margin = 0.0
        self._wrong_by: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def learn(self, kinds: Kinds, wrong_by: float) -> None:
        """Take in by how much the end was wrong for a job of these kinds."""
        for kind in kinds:
            known = self._wrong_by.setdefault(kind, deque(maxlen=LATEST))
            known.append(wrong_by)
            self._wrong_by.move_to_end(kind)
        while len(self._wrong_by) > MOST_KINDS:
            self._wrong_by.popitem(last=False)

    def count(self, *, missed: bool) -> None:
        """Let a miss widen what comes, and nine hits narrow it again."""
        margin = self._margin + _STEP * (missed - (1 - HIGH))
        self._margin = min(max(margin, _LEAST_MARGIN), _MOST_MARGIN)

    def corrections(self, overdue: Mapping[Hashable, Sequence[float]]) -> "Corrections":
        """Return what is known now; `overdue` are errors so far of jobs that still wait."""
        return Corrections(self._margin, self._wrong_by, overdue)


class Corrections:
    """By how much an end moves, by kind; each is worked out once."""

    def __init__(
        self,
        margin: float,
        wrong_by: Mapping[Hashable, Sequence[float]],
        overdue: Mapping[Hashable, Sequence[float]],
    ) -> None:
        self._margin = margin
        self._wrong_by = wrong_by
        self._overdue = overdue
        self._found: dict[Hashable, float | None] = {}

    def of(self, kinds: Kinds) -> float:
        """Return the correction of the nearest kind that knows enough; 0 where none does."""
        for kind in kinds:
            if kind not in self._found:
                self._found[kind] = self._work_out(kind)
            found = self._found[kind]
            if found is not None:
                return found
        return 0.0

    def _work_out(self, kind: Hashable) -> float | None:
        known = [*self._wrong_by.get(kind, ()), *self._overdue.get(kind, ())]
        if len(known) < (LEAST if kind == EVERYTHING else LEAST_OF_KIND):
            return None
        return min(max(quantile(sorted(known), HIGH) + self._margin, _LEAST_SHRINK), _MOST)
