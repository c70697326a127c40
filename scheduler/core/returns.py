"""When the GPUs that runs hold are back, by the runs' limits (R6)."""

from bisect import bisect_left, insort
from datetime import datetime

from scheduler.core.model import Run, RunId


class Returns:
    """When the GPUs that runs hold are back by their limits, brought forward as runs come and go.

    Rows are in order of their ends: who asks wants few GPUs back, and so looks at few of them.
    """

    __slots__ = ("_rows", "runs")

    def __init__(self) -> None:
        self.runs: dict[RunId, tuple[datetime, int]] = {}
        self._rows: list[tuple[datetime, int, RunId]] = []

    def put(self, run: Run) -> None:
        """Expect the GPUs of one more run back."""
        self.runs[run.id] = (run.ends_by, run.gpus)
        insort(self._rows, (run.ends_by, run.gpus, run.id))

    def drop(self, run: RunId) -> None:
        """Expect a run's GPUs back no more: they are back, or it counts no longer."""
        known = self.runs.pop(run, None)
        if known is not None:
            del self._rows[bisect_left(self._rows, (*known, run))]

    def when(self, gpus: int) -> datetime | None:
        """Return when so many are back; None: never."""
        for end_at, more, _ in self._rows:
            gpus -= more
            if gpus <= 0:
                return end_at
        return None

    def by(self, when: datetime) -> int:
        """Return how many are back by then."""
        back = 0
        for end_at, gpus, _ in self._rows:
            if end_at > when:
                break
            back += gpus
        return back
