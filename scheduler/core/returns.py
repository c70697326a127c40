"""When the GPUs that runs hold are back, by the runs' limits (R6)."""

from bisect import bisect_left, bisect_right, insort
from datetime import datetime
from itertools import accumulate
from operator import itemgetter

from scheduler.core.model import Run, RunId


class Returns:
    """When the GPUs that runs hold are back by their limits, brought forward as runs come and go.

    Rows are in order of their ends, and added up when somebody asks after a change.
    """

    __slots__ = ("_rows", "_sums", "runs")

    def __init__(self) -> None:
        self.runs: dict[RunId, tuple[datetime, int]] = {}
        self._rows: list[tuple[datetime, int, RunId]] = []
        self._sums: list[int] | None = None  # GPUs that are back with each row and all before it

    def put(self, run: Run) -> None:
        """Expect the GPUs of one more run back."""
        self.runs[run.id] = (run.ends_by, run.gpus)
        insort(self._rows, (run.ends_by, run.gpus, run.id))
        self._sums = None

    def drop(self, run: RunId) -> None:
        """Expect a run's GPUs back no more: they are back, or it counts no longer."""
        known = self.runs.pop(run, None)
        if known is not None:
            del self._rows[bisect_left(self._rows, (*known, run))]
            self._sums = None

    def _added_up(self) -> list[int]:
        if self._sums is None:
            self._sums = list(accumulate([gpus for _, gpus, _ in self._rows]))
        return self._sums

    def when(self, gpus: int) -> datetime | None:
        """Return when so many are back; None: never."""
        at = bisect_left(self._added_up(), gpus)
        return self._rows[at][0] if at < len(self._rows) else None

    def by(self, when: datetime) -> int:
        """Return how many are back by then."""
        at = bisect_right(self._rows, when, key=_ENDS)
        return self._added_up()[at - 1] if at else 0


_ENDS = itemgetter(0)
