"""When the GPUs that runs hold are back, by the runs' limits (R6)."""

from bisect import bisect_left, bisect_right
from datetime import datetime
from operator import itemgetter

from scheduler.core.model import RunId


class Returns:
    """When the GPUs that runs hold are back by their limits, brought forward as runs come and go.

    Rows are put in order of their ends when somebody first asks, and added up only as far as
    somebody asks: most ask for few GPUs, which are back with the first of many runs.
    """

    __slots__ = ("_rows", "_sums", "runs")

    def __init__(self) -> None:
        self.runs: dict[RunId, tuple[datetime, int]] = {}
        self._rows: list[tuple[datetime, int, RunId]] | None = None
        # GPUs that are back with each row and all before it, for as many rows as are added up.
        self._sums: list[int] = []

    def put(self, run: RunId, ends_by: datetime, gpus: int) -> None:
        """Expect the GPUs of one more run back."""
        self.runs[run] = (ends_by, gpus)
        if self._rows is not None:
            row = (ends_by, gpus, run)
            at = bisect_left(self._rows, row)
            self._rows.insert(at, row)
            del self._sums[at:]

    def drop(self, run: RunId) -> None:
        """Expect a run's GPUs back no more: they are back, or it counts no longer."""
        known = self.runs.pop(run, None)
        if known is not None and self._rows is not None:
            at = bisect_left(self._rows, (*known, run))
            del self._rows[at], self._sums[at:]

    def _in_order(self) -> list[tuple[datetime, int, RunId]]:
        if self._rows is None:
            self._rows = sorted((*known, run) for run, known in self.runs.items())
        return self._rows

    def when(self, gpus: int) -> datetime | None:
        """Return when so many are back; None: never."""
        rows, sums = self._in_order(), self._sums
        if not sums or sums[-1] < gpus:
            back = sums[-1] if sums else 0
            for at in range(len(sums), len(rows)):
                back += rows[at][1]
                sums.append(back)
                if back >= gpus:
                    break
        at = bisect_left(sums, gpus)
        return rows[at][0] if at < len(rows) else None

    def by(self, when: datetime) -> int:
        """Return how many are back by then."""
        rows, sums = self._in_order(), self._sums
        at = bisect_right(rows, when, key=_ENDS)
        for later in range(len(sums), at):
            sums.append(rows[later][1] + (sums[-1] if sums else 0))
        return sums[at - 1] if at else 0


_ENDS = itemgetter(0)
