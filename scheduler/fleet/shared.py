"""Whose use it is on GPUs that several runs have: a host that idles, and the guest on it (R18).

Reports say it of such GPUs alone, so this is nearly always empty. The places are those that
`UseMemory` gives to GPUs.
"""

from scheduler.fleet.use import IDLE_MIB, IDLE_SM
from scheduler.wire.reports import RunUse, SaidReport

GROWTH_MIB = 128.0
"""A run whose memory on a GPU has grown by so much is at work, however short it was busy."""


class Shared:
    """What the last report said of each run on a shared GPU, and what it had there at first."""

    def __init__(self) -> None:
        self._runs: dict[int, dict[str, RunUse]] = {}
        self._first: dict[int, dict[str, float]] = {}

    def __bool__(self) -> bool:
        """Whether anything is known of any GPU: then every report may end some of it."""
        return bool(self._runs)

    def saw(self, report: SaidReport, base: int, count: int) -> None:
        """Take a report in."""
        for use in report.use:
            if use.index >= count:
                continue
            place = base + use.index
            if use.runs:
                self._put(place, use.runs)
            elif self._runs:
                self._forget(place)

    def _put(self, place: int, runs: tuple[RunUse, ...]) -> None:
        first = self._first.setdefault(place, {})
        for one in runs:
            if one.memory_mib is not None:
                first.setdefault(one.run, one.memory_mib)
        self._runs[place] = {one.run: one for one in runs}

    def _forget(self, place: int) -> None:
        self._runs.pop(place, None)
        self._first.pop(place, None)

    def leave(self, base: int, count: int) -> None:
        """Forget a node's GPUs."""
        for place in range(base, base + count):
            self._forget(place)

    def works(self, place: int, run: str) -> bool | None:
        """Return whether a run uses a GPU; None where the last report tells no runs apart there.

        A run without a process on the GPU does not. Where the driver does not say how busy a
        process is, its memory tells: more than a context takes, or more than at first.
        """
        told = self._runs.get(place)
        if told is None:
            return None
        mine = told.get(run)
        if mine is None:
            return False
        if mine.sm_active is not None and mine.sm_active > IDLE_SM:
            return True
        memory, first = mine.memory_mib, self._first[place].get(run)
        if memory is None or first is None:
            return False
        return memory > IDLE_MIB or memory - first > GROWTH_MIB
