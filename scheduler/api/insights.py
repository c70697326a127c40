"""What was found out about waiting jobs in the last moments: planning it again costs."""

import asyncio
from dataclasses import dataclass, field

from scheduler.core.counterfactual import Sooner
from scheduler.core.diagnostics import Ahead

KEEP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Insight:
    """What was found out about one waiting job."""

    ahead: tuple[Ahead, ...] = ()
    sooner: tuple[Sooner, ...] = ()
    note: str = ""


@dataclass
class Insights:
    """Answers of the last moments, and the turns to find out another, and to play the past.

    Playing may take minutes, for which nobody who asks why a job waits is to wait.
    """

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    plays: asyncio.Lock = field(default_factory=asyncio.Lock)
    _kept: dict[str, tuple[float, Insight]] = field(default_factory=dict)

    def find(self, job: str, now: float) -> Insight | None:
        """Return an answer that is recent enough."""
        kept = self._kept.get(job)
        return kept[1] if kept is not None and now - kept[0] < KEEP_SECONDS else None

    def keep(self, job: str, now: float, insight: Insight) -> None:
        """Keep an answer, and forget old ones."""
        self._kept = {
            name: kept for name, kept in self._kept.items() if now - kept[0] < KEEP_SECONDS
        }
        self._kept[job] = (now, insight)
