"""Which data may go where: labels as a small lattice of levels and compartments (R14).

A label dominates another where its level is at least as high and it has every compartment of
the other; whoever holds it may handle both. Default deny: a label that the policy does not
place is dominated by itself alone, and nobody holds one that they were not given.

Source: D. E. Denning, "A lattice model of secure information flow", CACM 19(5), 1976;
scheduling.md R14.
"""

from collections.abc import Iterable

from scheduler.core.model import Label


def dominates(high: Label, low: Label) -> bool:
    """Return whether what is cleared for `high` is cleared for `low` too; a partial order."""
    return high.level >= low.level and high.compartments >= low.compartments


class Lattice:
    """The labels of one policy, by name."""

    def __init__(self, labels: Iterable[Label] = ()) -> None:
        self._labels = {label.name: label for label in labels}

    def dominates(self, high: str, low: str) -> bool:
        """Return whether `high` covers `low`; a name outside the lattice covers only itself."""
        if high == low:
            return True
        above, below = self._labels.get(high), self._labels.get(low)
        return above is not None and below is not None and dominates(above, below)

    def covers(self, held: Iterable[str], label: str) -> bool:
        """Return whether any of the labels held, a pool's or a person's, dominates the label."""
        return any(self.dominates(one, label) for one in held)
