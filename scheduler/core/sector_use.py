"""How many GPUs each sector had, hour by hour: what leases come to, whoever's they are.

A lease adds to the hours at its two ends and to the slope between them, so one costs the same
however long it is.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from scheduler.core.model import Sector

HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)
_WHOLE = HOUR // _MICROSECOND


class SectorUse:
    """Hours from `since`, which is a full hour, to `until`."""

    def __init__(self, since: datetime, until: datetime) -> None:
        """Begin with nothing used."""
        self.since, self.until = since, until
        self._hours = max(1, -(-(until - since) // HOUR))
        # GPU-microseconds of hours that a lease begins or ends in, and steps of whole hours.
        self._parts: dict[Sector, list[int]] = {}
        self._steps: dict[Sector, list[int]] = {}

    def add(self, sector: Sector, gpus: int, since: datetime, until: datetime | None) -> None:
        """Count a lease; None goes on."""
        start = (max(since, self.since) - self.since) // _MICROSECOND
        end = (min(until or self.until, self.until) - self.since) // _MICROSECOND
        if end <= start:
            return
        parts = self._parts.setdefault(sector, [0] * self._hours)
        steps = self._steps.setdefault(sector, [0] * (self._hours + 1))
        first, last = start // _WHOLE, (end - 1) // _WHOLE
        if first == last:
            parts[first] += gpus * (end - start)
            return
        parts[first] += gpus * ((first + 1) * _WHOLE - start)
        parts[last] += gpus * (end - last * _WHOLE)
        steps[first + 1] += gpus
        steps[last] -= gpus

    def means(self) -> dict[Sector, tuple[float, ...]]:
        """Return the mean GPUs of each hour, by sector; the last hour's is of what there was."""
        return {sector: tuple(self._means(sector)) for sector in sorted(self._parts)}

    def _means(self, sector: Sector) -> Iterable[float]:
        whole = 0
        lasts = [_WHOLE] * self._hours
        lasts[-1] = max(1, (self.until - self.since) // _MICROSECOND - (self._hours - 1) * _WHOLE)
        for hour, part in enumerate(self._parts[sector]):
            whole += self._steps[sector][hour]
            yield round((part + whole * lasts[hour]) / lasts[hour], 3)
